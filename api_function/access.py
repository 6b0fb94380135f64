"""Who may call: the one place that decides it, by the setting StateApi.

| StateApi | the host asks for | this module asks for |
|---|---|---|
| key | a function key | nothing more |
| entra | nothing | a caller whom Easy Auth knows; answers 401 to others |
| off | nothing | answers 404 to everybody |
"""

from http import HTTPStatus
from typing import Literal

import azure.functions as func

from api_function.answers import error_answer
from api_function.route import Handler, Route

# Easy Auth sets this header for callers it knows, and removes it from every other request.
PRINCIPAL = "x-ms-client-principal-id"


def protected(
    route: Route, state_api: Literal["key", "entra", "off"]
) -> tuple[func.AuthLevel, Handler]:
    """The host's demand on callers of this route, and the handler that checks the rest."""
    if route.is_open:
        return func.AuthLevel.ANONYMOUS, route.handler

    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        if state_api == "off":
            return func.HttpResponse(status_code=HTTPStatus.NOT_FOUND)
        if state_api == "entra" and not req.headers.get(PRINCIPAL):
            return error_answer(HTTPStatus.UNAUTHORIZED, "sign in first", route.headers)
        return await route.handler(req)

    return func.AuthLevel.FUNCTION if state_api == "key" else func.AuthLevel.ANONYMOUS, handler
