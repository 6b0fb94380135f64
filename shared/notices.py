"""The words the bot says about expiry, and the sending of an expiry notice."""

import logging
from collections.abc import Awaitable, Callable

from botbuilder.schema import Activity, ActivityTypes, ConversationReference, InputHints

from shared import telemetry
from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import CredentialError
from shared.conversations import Conversation
from shared.sweep import NoticeResult, Verdict

logger = logging.getLogger(__name__)

# Everything this project says of its own accord is here; a bot's dialogs have their own words.
WELCOME_BACK = "Welcome back!  Let's start over from the beginning."
EXPIRED = "This conversation has expired because I did not hear from you. Write to start over."
SOMETHING_WENT_WRONG = "Sorry, something went wrong on my side. Please try that again."
TOO_MANY_AT_ONCE = "Sorry, too much happened at once here. Please send that again."

# 401: our own credentials, so every other notice would fail the same way. The others of these
# say "not now"; any further 4xx says "never".
_UNAUTHORIZED = 401
_NOT_NOW = (408, 412, 429)


def notice_for(conversation: Conversation) -> Activity | None:
    """The notice as an activity, or None if the conversation has no reference to send it to.

    The session's id goes along in channelData, so that a channel or client that sees the same
    notice twice can tell.
    """
    if not conversation.reference:
        return None
    reference = ConversationReference.deserialize(dict(conversation.reference))
    notice = Activity(
        type=ActivityTypes.message,
        text=EXPIRED,
        input_hint=InputHints.accepting_input,
        channel_id=reference.channel_id,
        service_url=reference.service_url,
        conversation=reference.conversation,
        from_property=reference.bot,
        recipient=reference.user,
        channel_data={"expiredSession": conversation.session},
    )
    if conversation.locale:
        notice.locale = conversation.locale
    return notice


def notice_sender(connector: Connector) -> Callable[[Conversation], Awaitable[NoticeResult]]:
    """A `SendNotice` for the sweep that speaks through the connector."""

    async def send(conversation: Conversation) -> NoticeResult:
        notice = notice_for(conversation)
        if notice is None:
            return NoticeResult(Verdict.NOT_WANTED)
        with telemetry.tracer.start_as_current_span(
            "notice",
            links=telemetry.links_to(conversation.trace),
            attributes={"conversation": conversation.address.key},
        ):
            return await deliver(notice)

    async def deliver(notice: Activity) -> NoticeResult:
        try:
            await connector.for_service_url(notice.service_url).send(notice)
        except ConnectorError as error:
            return NoticeResult(_verdict(error), error.status, error.retry_after_seconds)
        except CredentialError:
            logger.exception("notice: no token to send with")
            return NoticeResult(Verdict.STOP)
        return NoticeResult(Verdict.DELIVERED, 200)

    return send


async def say_nothing(_: Conversation) -> NoticeResult:
    """The `SendNotice` for ExpiryNotice=off."""
    return NoticeResult(Verdict.NOT_WANTED)


def _verdict(error: ConnectorError) -> Verdict:
    if error.status == _UNAUTHORIZED:
        return Verdict.STOP
    if error.status is not None and 400 <= error.status < 500 and error.status not in _NOT_NOW:  # noqa: PLR2004 - the client errors of HTTP
        return Verdict.REFUSED
    return Verdict.TRY_LATER
