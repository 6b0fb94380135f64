"""/api/v3/botstate/...: the Bot State service's operations, on the bot's own data.

docs/state-data.md says how to call them, and maps each rule of the old service.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Literal

import azure.functions as func

from shared.app import App, get_app
from shared.domain.errors import StateTooLargeError, StateUnreadableError, StorageUnavailableError
from shared.settings import Settings, SettingsError
from shared.state.codec import StateDecodeError
from shared.state.state_data import BotData, InvalidDataError, PreconditionFailedError

logger = logging.getLogger(__name__)

# State may be 700 KiB compressed, and text compresses to a tenth or so.
MAX_BODY_BYTES = 8 * 1024 * 1024

# Set by Easy Auth for callers it knows; it takes the header off what strangers send.
PRINCIPAL = "x-ms-client-principal-id"

_Work = Callable[[App, func.HttpRequest], Awaitable[object]]


def make_blueprint(settings: Settings) -> func.Blueprint:
    """The routes, protected as the setting StateApi says."""
    blueprint = func.Blueprint()
    # With Easy Auth the host needs no key; this folder then asks for Easy Auth's word.
    level = func.AuthLevel.FUNCTION if settings.state_api == "key" else func.AuthLevel.ANONYMOUS

    def route(name: str, path: str, work: dict[str, _Work]) -> None:
        async def state(req: func.HttpRequest) -> func.HttpResponse:
            return await _answer(req, work[req.method.upper()], settings.state_api)

        state = blueprint.function_name(name)(
            blueprint.route(f"v3/botstate/{path}", methods=list(work), auth_level=level)(state)
        )

    in_conversation = "{channelId}/conversations/{conversationId}"
    route(
        "state_users",
        "{channelId}/users/{userId}",
        {"GET": _get_user, "POST": _save_user, "DELETE": _delete_user},
    )
    route(
        "state_conversations",
        in_conversation,
        {"GET": _get_conversation, "POST": _save_conversation},
    )
    route(
        "state_private",
        in_conversation + "/users/{userId}",
        {"GET": _get_private, "POST": _save_private},
    )
    return blueprint


async def _get_user(app: App, req: func.HttpRequest) -> BotData:
    return await app.state_data.get_user(*_ids(req, "channelId", "userId"))


async def _save_user(app: App, req: func.HttpRequest) -> BotData:
    channel_id, user_id = _ids(req, "channelId", "userId")
    return await app.state_data.save_user(channel_id, user_id, _bot_data(req))


async def _delete_user(app: App, req: func.HttpRequest) -> object:
    channel_id, user_id = _ids(req, "channelId", "userId")
    return asdict(await app.erasure.erase(channel_id, user_id))


async def _get_conversation(app: App, req: func.HttpRequest) -> BotData:
    return await app.state_data.get_conversation(*_ids(req, "channelId", "conversationId"))


async def _save_conversation(app: App, req: func.HttpRequest) -> BotData:
    channel_id, conversation_id = _ids(req, "channelId", "conversationId")
    return await app.state_data.save_conversation(channel_id, conversation_id, _bot_data(req))


async def _get_private(app: App, req: func.HttpRequest) -> BotData:
    return await app.state_data.get_private(*_ids(req, "channelId", "conversationId", "userId"))


async def _save_private(app: App, req: func.HttpRequest) -> BotData:
    channel_id, conversation_id, user_id = _ids(req, "channelId", "conversationId", "userId")
    return await app.state_data.save_private(channel_id, conversation_id, user_id, _bot_data(req))


async def _answer(
    req: func.HttpRequest, work: _Work, protection: Literal["key", "entra", "off"]
) -> func.HttpResponse:
    if protection == "off":
        return func.HttpResponse(status_code=HTTPStatus.NOT_FOUND)
    if protection == "entra" and not req.headers.get(PRINCIPAL):
        return _json(HTTPStatus.UNAUTHORIZED, {"error": {"message": "sign in first"}})
    try:
        app = await get_app()
        async with app.with_storage():
            result = await work(app, req)
    except tuple(_STATUSES) as error:
        status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("state: answered %d: %s", status, error)  # noqa: TRY400 - it says it all
        return _json(status, {"error": {"message": str(error)}})
    if isinstance(result, BotData):
        result = {"data": result.data, "eTag": result.etag}
    return _json(HTTPStatus.OK, result)


class _BadRequestError(Exception):
    pass


_STATUSES: dict[type[Exception], HTTPStatus] = {
    _BadRequestError: HTTPStatus.BAD_REQUEST,
    InvalidDataError: HTTPStatus.BAD_REQUEST,
    PreconditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    StateTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    StateUnreadableError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StateDecodeError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StorageUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    SettingsError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def _ids(req: func.HttpRequest, *names: str) -> list[str]:
    """The ids, from the query if they are there: that is decoded once and whole.

    Of a path, hosts decode everything but %2F, so that is left to do here.
    """
    ids = []
    for name in names:
        in_path = req.route_params[name].replace("%2F", "/").replace("%2f", "/")
        ids.append(req.params.get(name) or in_path)
    if "|" in ids[0]:
        raise _BadRequestError("channelId must not contain '|'")
    return ids


def _bot_data(req: func.HttpRequest) -> BotData:
    content = req.get_body()
    if len(content) > MAX_BODY_BYTES:
        raise StateTooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _BadRequestError("the body is not valid JSON") from error
    if not isinstance(body, dict) or "data" not in body:
        raise _BadRequestError('the body must be an object with "data"')
    etag = body.get("eTag")
    if not isinstance(etag, str | None):
        raise _BadRequestError("eTag must be a string")
    return BotData(body["data"], etag or "")


def _refuse_constant(name: str) -> Any:
    """NaN and the infinities, which Python would read."""
    raise ValueError(name)


def _json(status: HTTPStatus, body: object) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body), status_code=int(status), mimetype="application/json")
