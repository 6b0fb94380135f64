"""GET /api/health and /api/health/live: for probes, which have no key."""

from http import HTTPStatus

import azure.functions as func

from api_function.answers import json_answer
from api_function.route import Route
from shared.app import get_app
from shared.domain.errors import StorageUnavailableError
from shared.settings import SettingsError


async def live(req: func.HttpRequest) -> func.HttpResponse:
    """The process answers."""
    del req
    return json_answer(HTTPStatus.OK, {"status": "ok"})


async def ready(req: func.HttpRequest) -> func.HttpResponse:
    """Whether the storage answers and sweeps run; 503 names only what failed."""
    del req
    try:
        app = await get_app()
        async with app.in_time():
            failed = list(await app.health.failed_checks())
    except SettingsError:
        failed = ["settings"]
    except StorageUnavailableError:
        failed = ["storage"]
    if failed:
        body = {"status": "not ok", "failed": failed}
        return json_answer(HTTPStatus.SERVICE_UNAVAILABLE, body)
    return json_answer(HTTPStatus.OK, {"status": "ok"})


ROUTES = (
    Route("health", "health", ("GET",), ready, is_open=True),
    Route("health_live", "health/live", ("GET",), live, is_open=True),
)
