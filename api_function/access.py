"""Who may call: the one place that decides it, by the settings StateApi and StatusPage.

| The setting | the host asks for | this module asks for |
|---|---|---|
| key | a function key | nothing more |
| entra | nothing | a caller whom Easy Auth knows from Entra ID, with the app role of the route |
| off | nothing | answers 404 to everybody |

Easy Auth (App Service authentication) sets the headers that are read here, and takes them out of
every request that comes with them. Source: learn.microsoft.com, "Work with user identities in Azure
App Service authentication".
"""

import base64
import json
from http import HTTPStatus

import azure.functions as func

from api_function.answers import error_answer
from api_function.route import Handler, Route
from shared.settings.api import Access, ApiSettings

PRINCIPAL_ID = "x-ms-client-principal-id"
PROVIDER = "x-ms-client-principal-idp"
PRINCIPAL = "x-ms-client-principal"

ENTRA_ID = "aad"

# Easy Auth may give a token's claim `roles` its longer name.
ROLE_CLAIMS = ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")

# An old answer must not be shown as a new one, a user's data must stay nowhere on the way, and no
# browser may take an answer for something else than it says. host.json has the same for answers
# that the host gives itself.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def protected(route: Route, settings: ApiSettings) -> tuple[func.AuthLevel, Handler]:
    """The host's demand on callers of this route, and the handler that checks the rest."""
    access = _access(route, settings)

    async def handler(req: func.HttpRequest) -> func.HttpResponse:
        answer = _refusal(route, access, req) or await route.handler(req)
        answer.headers.update(HEADERS)
        return answer

    return func.AuthLevel.FUNCTION if access == "key" else func.AuthLevel.ANONYMOUS, handler


def _access(route: Route, settings: ApiSettings) -> Access | None:
    """The value of the route's setting; None for a route that is open to everybody."""
    if route.is_open:
        return None
    return settings.status_page if route.is_status_page else settings.state_api


def _refusal(
    route: Route, access: Access | None, req: func.HttpRequest
) -> func.HttpResponse | None:
    """The answer to a caller who may not call this route; None if they may."""
    if access == "off":
        return func.HttpResponse(status_code=HTTPStatus.NOT_FOUND)
    if access != "entra":
        return None
    if not req.headers.get(PRINCIPAL_ID):
        return error_answer(HTTPStatus.UNAUTHORIZED, "sign in first")
    if req.headers.get(PROVIDER) != ENTRA_ID:
        return error_answer(HTTPStatus.FORBIDDEN, "sign in with Microsoft Entra ID")
    if route.role not in _roles(req.headers.get(PRINCIPAL) or ""):
        return error_answer(HTTPStatus.FORBIDDEN, f"you need the app role {route.role}")
    return None


def _roles(principal: str) -> set[str]:
    """The app roles in Easy Auth's header, which is JSON in base64; none if it is anything else."""
    try:
        content = json.loads(base64.b64decode(principal, validate=True))
    except (ValueError, RecursionError):
        return set()
    claims = content.get("claims") if isinstance(content, dict) else None
    if not isinstance(claims, list) or content.get("auth_typ") != ENTRA_ID:
        return set()
    found = [claim for claim in claims if isinstance(claim, dict)]
    values = [claim.get("val") for claim in found if claim.get("typ") in ROLE_CLAIMS]
    return {value for value in values if isinstance(value, str)}
