"""Who may call which route of the API."""

import base64
import json
from typing import Any

import azure.functions as func
import pytest

from api_function import ROUTES, make_blueprint
from api_function.access import HEADERS, protected
from api_function.answers import json_answer
from api_function.route import Route
from scripts.processes import ROOT
from shared.settings.api import ApiSettings

IN_CONVERSATION = "v3/botstate/{channelId}/conversations/{conversationId}"
STATUS_PAGE = {"expiry_status": ("expiry", {"GET"})}
STATE = {
    "state_users": ("v3/botstate/{channelId}/users/{userId}", {"GET", "POST", "DELETE"}),
    "state_export": ("v3/botstate/{channelId}/users/{userId}/export", {"GET"}),
    "state_conversations": (IN_CONVERSATION, {"GET", "POST"}),
    "state_private": (IN_CONVERSATION + "/users/{userId}", {"GET", "POST"}),
}
OPEN = {"health": ("health", {"GET"}), "health_live": ("health/live", {"GET"})}


ROLES = ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "roles")
LEVELS = {"key": "FUNCTION", "entra": "ANONYMOUS", "off": "ANONYMOUS"}


def settings(state_api: str, status_page: str) -> ApiSettings:
    values = {"StateApi": state_api, "StatusPage": status_page, "WEBSITE_AUTH_ENABLED": "true"}
    return ApiSettings.model_validate(values)


def triggers(state_api: str, status_page: str) -> dict[str, Any]:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ADMIN)
    app.register_functions(make_blueprint(settings(state_api, status_page)))
    return {str(each.get_function_name()): each.get_trigger() for each in app.get_functions()}


@pytest.mark.parametrize("state_api", LEVELS)
@pytest.mark.parametrize("status_page", LEVELS)
def test_the_host_asks_for_a_key_where_the_routes_own_setting_says_so(
    state_api: str, status_page: str
) -> None:
    found = {
        name: (each.route, {str(method.value) for method in each.methods}, each.auth_level.name)
        for name, each in triggers(state_api, status_page).items()
    }
    assert found == {
        **{name: (*route, LEVELS[state_api]) for name, route in STATE.items()},
        **{name: (*route, LEVELS[status_page]) for name, route in STATUS_PAGE.items()},
        **{name: (*route, "ANONYMOUS") for name, route in OPEN.items()},
    }


async def hello(req: func.HttpRequest) -> func.HttpResponse:
    return json_answer(200, {"caller": req.headers.get("x-ms-client-principal-id")})


async def asked(route: Route, access: ApiSettings, **headers: str) -> int:
    _, handler = protected(route, access)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = func.HttpRequest("GET", f"/api/{route.path}", headers=given, body=b"")
    answer = await handler(request)
    assert HEADERS.items() <= dict(answer.headers).items()
    return int(answer.status_code)


def encoded(principal: object) -> str:
    return base64.b64encode(json.dumps(principal).encode()).decode()


def signed_in(
    *roles: object, idp: str = "aad", auth_typ: object = "aad", claim: str = "roles"
) -> dict[str, str]:
    """The headers that Easy Auth sets."""
    claims = [{"typ": "name", "val": "Ann"}, *({"typ": claim, "val": role} for role in roles)]
    return {
        "x_ms_client_principal_id": "someone",
        "x_ms_client_principal_idp": idp,
        "x_ms_client_principal": encoded({"auth_typ": auth_typ, "claims": claims}),
    }


async def test_a_route_that_says_nothing_of_access_is_protected_as_state_is() -> None:
    route = Route("hello", "hello", ("GET",), hello)
    assert protected(route, settings("key", "off"))[0] is func.AuthLevel.FUNCTION
    assert await asked(route, settings("key", "off")) == 200  # the host has seen the key
    assert await asked(route, settings("off", "key")) == 404
    assert await asked(route, settings("off", "key"), **signed_in("BotState.ReadWrite")) == 404
    assert await asked(route, settings("entra", "key")) == 401
    empty = signed_in("BotState.ReadWrite") | {"x_ms_client_principal_id": ""}
    assert await asked(route, settings("entra", "key"), **empty) == 401


@pytest.mark.parametrize(
    ("is_status_page", "role", "other"),
    [
        (False, "BotState.ReadWrite", "BotStatus.Read"),
        (True, "BotStatus.Read", "BotState.ReadWrite"),
    ],
)
async def test_a_caller_of_entra_needs_the_app_role_of_the_route(
    role: str, other: str, *, is_status_page: bool
) -> None:
    route = Route("hello", "hello", ("GET",), hello, is_status_page=is_status_page)
    for claim in ROLES:
        assert await asked(route, settings("entra", "entra"), **signed_in(role, claim=claim)) == 200
    both = signed_in(other, role)
    assert await asked(route, settings("entra", "entra"), **both) == 200
    for roles in ((), (other,), (role.lower(),), (f"{role} ",), (None,), ([role],), ({role: 1},)):
        assert await asked(route, settings("entra", "entra"), **signed_in(*roles)) == 403
    for claim in ("groups", "role", "scp", "Roles", ""):
        refused = signed_in(role, claim=claim)
        assert await asked(route, settings("entra", "entra"), **refused) == 403


@pytest.mark.parametrize("idp", ["google", "facebook", "github", "AAD", "aad,aad", "", "openid"])
async def test_no_other_identity_provider_counts(idp: str) -> None:
    route = Route("hello", "hello", ("GET",), hello)
    role = "BotState.ReadWrite"
    assert await asked(route, settings("entra", "off"), **signed_in(role, idp=idp)) == 403
    assert await asked(route, settings("entra", "off"), **signed_in(role, auth_typ=idp)) == 403
    without = signed_in(role)
    del without["x_ms_client_principal_idp"]
    assert await asked(route, settings("entra", "off"), **without) == 403


@pytest.mark.parametrize(
    "principal",
    [
        "",
        "BotState.ReadWrite",
        "%%%",
        "\u00e9",
        encoded(None),
        encoded([]),
        encoded({}),
        encoded({"auth_typ": "aad", "claims": {"roles": "BotState.ReadWrite"}}),
        encoded({"auth_typ": "aad", "claims": [["roles", "BotState.ReadWrite"], None, 1]}),
        encoded({"auth_typ": "aad", "claims": [{"typ": ["roles"], "val": "BotState.ReadWrite"}]}),
        base64.b64encode(b"[" * 100_000).decode(),
        base64.b64encode(b"\xff").decode(),
    ],
)
async def test_a_malformed_principal_has_no_role(principal: str) -> None:
    route = Route("hello", "hello", ("GET",), hello)
    headers = signed_in() | {"x_ms_client_principal": principal}
    assert await asked(route, settings("entra", "off"), **headers) == 403


@pytest.mark.parametrize("access", LEVELS)
async def test_an_open_route_asks_nobody(access: str) -> None:
    route = Route("hello", "hello", ("GET",), hello, is_open=True)
    assert protected(route, settings(access, access))[0] is func.AuthLevel.ANONYMOUS
    assert await asked(route, settings(access, access)) == 200


@pytest.mark.parametrize("name", [*STATE, *STATUS_PAGE])
async def test_every_protected_route_refuses_a_stranger(name: str) -> None:
    (route,) = (route for route in ROUTES if route.name == name)
    assert await asked(route, settings("off", "off")) == 404
    assert await asked(route, settings("entra", "entra")) == 401


def test_the_hosts_own_answers_have_the_same_headers() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    assert host["extensions"]["http"]["customHeaders"] == HEADERS


async def test_nothing_is_given_out_by_default() -> None:
    for name in STATE:
        (route,) = (route for route in ROUTES if route.name == name)
        assert await asked(route, ApiSettings()) == 404
