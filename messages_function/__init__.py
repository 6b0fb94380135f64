"""POST /api/messages: an activity comes in, a turn is taken, an HTTP response goes out."""

import logging
from datetime import date

import azure.functions as func
from msrest.serialization import Model

from api_function.answers import error_answer, json_answer, length_required
from shared.app import get_app
from shared.connector.authentication import SigningKeysUnavailableError, UnauthorizedError
from shared.connector.inbound import BadRequestError
from shared.connector.reception import receive
from shared.domain.errors import StorageUnavailableError
from shared.settings import SettingsError

logger = logging.getLogger(__name__)

blueprint = func.Blueprint()


@blueprint.function_name("messages")
@blueprint.route(route="messages", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def messages(req: func.HttpRequest) -> func.HttpResponse:
    """Take the turn of one activity, or let it wait (setting LongTurns) and answer 202.

    400, 411, 413 and 415 name the fault of the request. 401 is a bad token. 503 means that nothing
    was sent and the channel may try again.
    """
    return length_required(req) or await _answer(req)


async def _answer(req: func.HttpRequest) -> func.HttpResponse:
    try:
        app = await get_app()
        activity, caller = await receive(app.authentication, req.headers, req.get_body())
        response = await app.receive(activity, caller, req.get_body())
    except BadRequestError as error:
        return error_answer(error.status, str(error))
    except UnauthorizedError as error:
        logger.info("messages: answered 401: %s", error)  # escaped, and never the token
        return error_answer(401, "the bearer token was not accepted")
    except (StorageUnavailableError, SigningKeysUnavailableError, SettingsError) as error:
        logger.error("messages: answered 503: %s", error)  # noqa: TRY400 - its cause adds nothing
        return error_answer(503, "try again later")
    if response is None:
        return func.HttpResponse(status_code=200)
    if response.body is None:
        return func.HttpResponse(status_code=int(response.status))
    return json_answer(int(response.status), response.body, default=_plain)


def _plain(value: object) -> object:
    """JSON for the SDK's objects in an answer: models (serialize() refuses some), exceptions."""
    if isinstance(value, Model):
        fields = value._attribute_map  # noqa: SLF001 - msrest's models have no other way
        wire = {field["key"]: getattr(value, name) for name, field in fields.items()}
        return {name: item for name, item in wire.items() if item is not None}
    return value.isoformat() if isinstance(value, date) else str(value)
