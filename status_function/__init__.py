"""GET /api/expiry: how expiry is doing, as a page or as JSON. GET /api/health: for probes."""

import json
import secrets
from http import HTTPStatus

import azure.functions as func

from shared.app import get_app
from shared.domain.errors import StorageUnavailableError
from shared.settings import Settings, SettingsError
from state_function import PRINCIPAL
from status_function.page import render


def make_blueprint(settings: Settings) -> func.Blueprint:
    """The routes; the page is protected as the setting StateApi says, health is open to all."""
    blueprint = func.Blueprint()
    level = func.AuthLevel.FUNCTION if settings.state_api == "key" else func.AuthLevel.ANONYMOUS

    async def expiry(req: func.HttpRequest) -> func.HttpResponse:
        if settings.state_api == "off":
            return func.HttpResponse(status_code=HTTPStatus.NOT_FOUND)
        if settings.state_api == "entra" and not req.headers.get(PRINCIPAL):
            return _json(HTTPStatus.UNAUTHORIZED, {"error": {"message": "sign in first"}})
        return await _status(req)

    for name, path, level_of, work in (
        ("expiry_status", "expiry", level, expiry),
        ("health", "health", func.AuthLevel.ANONYMOUS, ready),
        ("health_live", "health/live", func.AuthLevel.ANONYMOUS, live),
    ):
        trigger = blueprint.route(path, methods=["GET"], auth_level=level_of)
        blueprint.function_name(name)(trigger(work))
    return blueprint


async def live(req: func.HttpRequest) -> func.HttpResponse:
    """The process answers."""
    del req
    return _json(HTTPStatus.OK, {"status": "ok"})


async def ready(req: func.HttpRequest) -> func.HttpResponse:
    """The storage answers and sweeps run; 503 names what does not, and no more."""
    del req
    try:
        failed = list(await (await get_app()).health.failed_checks())
    except SettingsError:
        failed = ["settings"]
    if failed:
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "not ok", "failed": failed})
    return _json(HTTPStatus.OK, {"status": "ok"})


async def _status(req: func.HttpRequest) -> func.HttpResponse:
    try:
        status = await (await get_app()).health.status()
    except (StorageUnavailableError, SettingsError) as error:
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": {"message": str(error)}})
    if req.params.get("format") == "json" or req.headers.get("accept") == "application/json":
        return _json(HTTPStatus.OK, status.as_json())
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return func.HttpResponse(
        render(status, nonce), headers=headers, mimetype="text/html", charset="utf-8"
    )


def _json(status: HTTPStatus, body: object) -> func.HttpResponse:
    return func.HttpResponse(
        json.dumps(body),
        status_code=int(status),
        mimetype="application/json",
        headers={"Cache-Control": "no-store"},
    )
