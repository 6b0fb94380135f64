"""Who may call which route of the API."""

from typing import Any

import azure.functions as func
import pytest

from api_function import ROUTES, make_blueprint
from api_function.access import protected
from api_function.answers import json_answer
from api_function.route import Route
from shared.settings.api import ApiSettings

IN_CONVERSATION = "v3/botstate/{channelId}/conversations/{conversationId}"
PROTECTED = {
    "expiry_status": ("expiry", {"GET"}),
    "state_users": ("v3/botstate/{channelId}/users/{userId}", {"GET", "POST", "DELETE"}),
    "state_conversations": (IN_CONVERSATION, {"GET", "POST"}),
    "state_private": (IN_CONVERSATION + "/users/{userId}", {"GET", "POST"}),
}
OPEN = {"health": ("health", {"GET"}), "health_live": ("health/live", {"GET"})}


def settings(state_api: str) -> ApiSettings:
    return ApiSettings.model_validate({"StateApi": state_api, "WEBSITE_AUTH_ENABLED": "true"})


def triggers(state_api: str) -> dict[str, Any]:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ADMIN)
    app.register_functions(make_blueprint(settings(state_api)))
    return {str(each.get_function_name()): each.get_trigger() for each in app.get_functions()}


@pytest.mark.parametrize(("state_api", "level"), [("key", "FUNCTION"), ("entra", "ANONYMOUS")])
def test_the_host_asks_for_a_key_on_every_route_but_health(state_api: str, level: str) -> None:
    found = {
        name: (each.route, {str(method.value) for method in each.methods}, each.auth_level.name)
        for name, each in triggers(state_api).items()
    }
    assert found == {
        **{name: (*route, level) for name, route in PROTECTED.items()},
        **{name: (*route, "ANONYMOUS") for name, route in OPEN.items()},
    }


async def hello(req: func.HttpRequest) -> func.HttpResponse:
    return json_answer(200, {"caller": req.headers.get("x-ms-client-principal-id")})


async def asked(route: Route, state_api: Any, **headers: str) -> int:
    _, handler = protected(route, state_api)
    request = func.HttpRequest("GET", f"/api/{route.path}", headers=headers, body=b"")
    return int((await handler(request)).status_code)


async def test_a_route_that_says_nothing_of_access_is_protected() -> None:
    route = Route("hello", "hello", ("GET",), hello)
    assert protected(route, "key")[0] is func.AuthLevel.FUNCTION
    assert await asked(route, "key") == 200  # the host has seen the key
    assert await asked(route, "off") == 404
    assert await asked(route, "entra") == 401
    assert await asked(route, "entra", **{"x-ms-client-principal-id": ""}) == 401
    assert await asked(route, "entra", **{"x-ms-client-principal-id": "me"}) == 200


@pytest.mark.parametrize("state_api", ["key", "entra", "off"])
async def test_an_open_route_asks_nobody(state_api: Any) -> None:
    route = Route("hello", "hello", ("GET",), hello, is_open=True)
    assert protected(route, state_api)[0] is func.AuthLevel.ANONYMOUS
    assert await asked(route, state_api) == 200


@pytest.mark.parametrize("name", PROTECTED)
async def test_every_protected_route_refuses_a_stranger(name: str) -> None:
    (route,) = (route for route in ROUTES if route.name == name)
    assert await asked(route, "off") == 404
    assert await asked(route, "entra") == 401
