"""/api/v3/botstate/...: the Bot State service's operations, on the bot's own data.

docs/state-data.md says how to call them, and maps each rule of the old service.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import azure.functions as func

from api_function.answers import error_answer, json_answer, length_required
from api_function.route import Route
from shared.app import App, get_app
from shared.domain.bounded_json import read_json
from shared.domain.errors import StateTooLargeError, StateUnreadableError, StorageUnavailableError
from shared.settings import SettingsError
from shared.state.codec import StateDecodeError
from shared.state.state_data import BotData, InvalidDataError, PreconditionFailedError

logger = logging.getLogger(__name__)

# State may be 700 KiB compressed, and text compresses to about a tenth.
MAX_BODY_BYTES = 8 * 1024 * 1024

# An answer is in memory as a whole, a few times. The command writes exports of any size.
MAX_EXPORT_BYTES = 16 * 1024 * 1024

_Work = Callable[[App, func.HttpRequest], Awaitable[object]]


async def _get_user(app: App, req: func.HttpRequest) -> BotData:
    return await app.state_data.get_user(*_ids(req, "channelId", "userId"))


async def _save_user(app: App, req: func.HttpRequest) -> BotData:
    channel_id, user_id = _ids(req, "channelId", "userId")
    return await app.state_data.save_user(channel_id, user_id, _bot_data(req))


async def _delete_user(app: App, req: func.HttpRequest) -> object:
    channel_id, user_id = _ids(req, "channelId", "userId")
    return asdict(await app.erasure.erase(channel_id, user_id))


async def _export_user(app: App, req: func.HttpRequest) -> str:
    channel_id, user_id = _ids(req, "channelId", "userId")
    pieces: list[str] = []
    size = 0
    async for piece in app.exports.of_user(channel_id, user_id):
        size += len(piece)  # in ASCII
        if size > MAX_EXPORT_BYTES:
            raise StateTooLargeError(
                f"the export is larger than {MAX_EXPORT_BYTES} bytes: use the command"
                " `python -m shared.cli export`"
            )
        pieces.append(piece)
    return "".join(pieces)


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


async def _answer(req: func.HttpRequest, work: _Work) -> func.HttpResponse:
    refusal = length_required(req) if req.method.upper() == "POST" else None
    if refusal:
        return refusal
    try:
        app = await get_app()
        async with app.with_storage():
            result = await work(app, req)
    except tuple(_STATUSES) as error:
        status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("state: answered %d: %s", status, error)  # noqa: TRY400 - the message is enough
        return error_answer(status, str(error))
    if isinstance(result, str):
        return func.HttpResponse(result, mimetype="application/json")
    if isinstance(result, BotData):
        result = {"data": result.data, "eTag": result.etag}
    return json_answer(HTTPStatus.OK, result)


class _BadRequestError(Exception):
    pass


class _UnsupportedMediaTypeError(Exception):
    pass


_STATUSES: dict[type[Exception], HTTPStatus] = {
    _BadRequestError: HTTPStatus.BAD_REQUEST,
    _UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidDataError: HTTPStatus.BAD_REQUEST,
    PreconditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    StateTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    StateUnreadableError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StateDecodeError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StorageUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    SettingsError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def _ids(req: func.HttpRequest, *names: str) -> list[str]:
    """The ids: from the query, which is decoded once and completely, or from the path.

    Hosts decode everything in a path but %2F, so it is decoded here.
    """
    ids = []
    for name in names:
        in_path = req.route_params[name].replace("%2F", "/").replace("%2f", "/")
        ids.append(req.params.get(name) or in_path)
    if "|" in ids[0]:
        raise _BadRequestError("channelId must not contain '|'")
    return ids


def _bot_data(req: func.HttpRequest) -> BotData:
    content_type = req.headers.get("content-type") or ""
    # Browsers send forms and plain text to any site; JSON only where the site allows it.
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _UnsupportedMediaTypeError("Content-Type must be application/json")
    content = req.get_body()
    if len(content) > MAX_BODY_BYTES:
        raise StateTooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        body = read_json(content, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _BadRequestError("the body is not valid JSON, too deep or too full") from error
    if not isinstance(body, dict) or "data" not in body:
        raise _BadRequestError('the body must be an object with "data"')
    etag = body.get("eTag")
    if not isinstance(etag, str | None):
        raise _BadRequestError("eTag must be a string")
    return BotData(body["data"], etag or "")


def _refuse_constant(name: str) -> Any:
    """Refuse NaN and the infinities, which Python would read."""
    raise ValueError(name)


def _route(name: str, path: str, **work: _Work) -> Route:
    async def state(req: func.HttpRequest) -> func.HttpResponse:
        return await _answer(req, work[req.method.upper()])

    return Route(name, f"v3/botstate/{path}", tuple(work), state)


_IN_CONVERSATION = "{channelId}/conversations/{conversationId}"

ROUTES = (
    _route(
        "state_users",
        "{channelId}/users/{userId}",
        GET=_get_user,
        POST=_save_user,
        DELETE=_delete_user,
    ),
    _route("state_export", "{channelId}/users/{userId}/export", GET=_export_user),
    _route(
        "state_conversations",
        _IN_CONVERSATION,
        GET=_get_conversation,
        POST=_save_conversation,
    ),
    _route(
        "state_private",
        _IN_CONVERSATION + "/users/{userId}",
        GET=_get_private,
        POST=_save_private,
    ),
)
