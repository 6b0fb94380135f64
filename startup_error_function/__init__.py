"""What is served when the app cannot start: why, to whoever looks, and nothing else.

The Functions host stays up when function_app.py raises. It then answers 404 to everything, health
too. This folder imports nothing of the project, because that import may be what failed.
"""

import json
import logging
import sys
import traceback

import azure.functions as func

logger = logging.getLogger(__name__)

_NOT_STORED = {"Cache-Control": "no-store"}


def make_blueprint(error: BaseException) -> func.Blueprint:
    """GET health and POST messages, both 503.

    Args:
        error: why the app cannot start. Its attribute `without_values`, if it has one, is shown to
            callers; of any other error they see the class only. Wrong values may be secrets that
            were put in the wrong place.
    """
    shown = getattr(error, "without_values", "")
    part = getattr(error, "part", None)  # of the app's own code, which may be wrong anywhere
    what = part or ("settings" if shown else "start")
    reason = shown or f"the app cannot be loaded ({type(error).__name__}); the log says why"
    line = f"The app cannot start: {error}" if shown else f"{reason}: {error}"
    # The host drops what the log gets outside of a call, and keeps what is printed.
    print(line, file=sys.stderr, flush=True)  # noqa: T201
    if part or not shown:
        traceback.print_exception(error)
    blueprint = func.Blueprint()

    @blueprint.function_name("health")
    @blueprint.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    async def health(req: func.HttpRequest) -> func.HttpResponse:
        """Name what keeps the app from starting."""
        del req
        logger.error(line)
        return _unavailable({"status": "not ok", "failed": [what], "reason": reason})

    @blueprint.function_name("messages")
    @blueprint.route(route="messages", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
    async def messages(req: func.HttpRequest) -> func.HttpResponse:
        """Ask the channel to try again: nothing was read, and nothing is lost."""
        del req
        logger.error(line)
        return _unavailable({"error": {"message": "try again later"}})

    return blueprint


def _unavailable(body: object) -> func.HttpResponse:
    return func.HttpResponse(
        json.dumps(body), status_code=503, headers=_NOT_STORED, mimetype="application/json"
    )
