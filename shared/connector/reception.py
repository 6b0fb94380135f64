"""The order in which a request is checked: what is cheap to refuse is refused first."""

from collections.abc import Mapping

from botbuilder.schema import Activity
from botframework.connector.auth import AuthenticateRequestResult

from shared.connector.authentication import InboundAuthentication
from shared.connector.inbound import activity_of, check_form, json_object, origin_of

# Almost all activities are smaller, and parsing that much takes a millisecond.
PARSED_FOR_ANYBODY_BYTES = 16 * 1024


async def receive(
    authentication: InboundAuthentication, headers: Mapping[str, str], body: bytes
) -> tuple[Activity, AuthenticateRequestResult]:
    """Check a request: its headers, its JSON, its token, and then the activity's fields.

    A caller without a token costs no more than the headers. One with a false token costs one
    `json.loads` of at most PARSED_FOR_ANYBODY_BYTES: of a larger body the token is checked first.

    Args:
        authentication: checks the caller.
        headers: of the request; their names in any case.
        body: of the request.

    Returns:
        The activity, and its caller.

    Raises:
        BadRequestError: the request cannot be a channel's activity.
        UnauthorizedError: the token is missing or not good for this activity.
        SigningKeysUnavailableError: the token could not be checked.
    """
    auth_header = headers.get("authorization") or ""
    check_form(headers.get("content-type") or "", max(len(body), _length_in(headers)))
    authentication.check_header(auth_header)
    if len(body) > PARSED_FOR_ANYBODY_BYTES:
        await authentication.verify(auth_header)
    payload = json_object(body)
    token = await authentication.verify(auth_header)  # it remembers the tokens that were good
    caller = authentication.caller(token, *origin_of(payload))
    return activity_of(payload), caller


def _length_in(headers: Mapping[str, str]) -> int:
    written = headers.get("content-length") or ""
    return int(written) if written.isdecimal() and len(written) < 20 else 0  # noqa: PLR2004 - digits of the largest size
