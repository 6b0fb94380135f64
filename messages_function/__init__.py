"""POST /api/messages: an activity comes in, a turn is taken, an HTTP response goes out."""

import json
import logging

import azure.functions as func

from shared.app import get_app
from shared.connector.authentication import SigningKeysUnavailableError, UnauthorizedError
from shared.connector.inbound import BadRequestError, read_activity
from shared.conversations import StorageUnavailableError

logger = logging.getLogger(__name__)

blueprint = func.Blueprint()


@blueprint.function_name("messages")
@blueprint.route(route="messages", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def messages(req: func.HttpRequest) -> func.HttpResponse:
    """Take the turn of one activity.

    400, 413 and 415 name what is wrong with the request; 401 is a bad token; 503 means that
    nothing was sent and the channel may try again.
    """
    try:
        activity = read_activity(req.headers.get("content-type") or "", req.get_body())
        app = await get_app()
        caller = await app.authentication.authenticate(
            activity, req.headers.get("authorization") or ""
        )
        response = await app.turns.take(activity, caller)
    except BadRequestError as error:
        return _json(error.status, {"error": {"message": str(error)}})
    except UnauthorizedError:
        return _json(401, {"error": {"message": "the bearer token was not accepted"}})
    except (StorageUnavailableError, SigningKeysUnavailableError) as error:
        logger.error("messages: answered 503: %s", error)  # noqa: TRY400 - its cause says no more
        return _json(503, {"error": {"message": "try again later"}})
    if response is None:
        return func.HttpResponse(status_code=200)
    return _json(int(response.status), response.body)


def _json(status: int, body: object) -> func.HttpResponse:
    if body is None:
        return func.HttpResponse(status_code=status)
    # The SDK leaves some bodies as its own models, others as plain JSON.
    plain = body.serialize() if hasattr(body, "serialize") else body
    return func.HttpResponse(
        json.dumps(plain), status_code=status, mimetype="application/json", charset="utf-8"
    )
