"""GET /api/expiry: how expiry is doing, as a page or as JSON."""

import secrets
from http import HTTPStatus

import azure.functions as func

from api_function.answers import error_answer, json_answer
from api_function.page import render
from api_function.route import Route
from shared.app import get_app
from shared.domain.errors import StorageUnavailableError
from shared.settings import SettingsError


async def status_page(req: func.HttpRequest) -> func.HttpResponse:
    """As HTML, or as JSON if the caller asks for that. 503 if the storage does not answer."""
    try:
        app = await get_app()
        async with app.in_time():
            status = await app.health.status()
    except (StorageUnavailableError, SettingsError) as error:
        return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    if req.params.get("format") == "json" or req.headers.get("accept") == "application/json":
        return json_answer(HTTPStatus.OK, status.as_json())
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
    }
    return func.HttpResponse(
        render(status, nonce), headers=headers, mimetype="text/html", charset="utf-8"
    )


ROUTES = (Route("expiry_status", "expiry", ("GET",), status_page, is_status_page=True),)
