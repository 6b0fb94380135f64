"""Answers in JSON."""

import json
from collections.abc import Callable
from http import HTTPStatus

import azure.functions as func


def json_answer(
    status: int, body: object, *, default: Callable[[object], object] | None = None
) -> func.HttpResponse:
    """An answer whose body is JSON.

    Args:
        status: the HTTP status.
        body: a value for `json.dumps`; `default` converts values that it cannot write.
        default: as of `json.dumps`; without it, such values raise TypeError.
    """
    return func.HttpResponse(
        json.dumps(body, default=default), status_code=int(status), mimetype="application/json"
    )


def error_answer(status: int, message: str) -> func.HttpResponse:
    """An answer with an error message."""
    return json_answer(status, {"error": {"message": message}})


def length_required(req: func.HttpRequest) -> func.HttpResponse | None:
    """The answer to a request with a body of unknown length; None if the length is known.

    The host hands such a body over empty (azure-functions-host, 4926).
    """
    if req.headers.get("content-length") or req.get_body():
        return None
    return error_answer(
        HTTPStatus.LENGTH_REQUIRED,
        "the body must have a Content-Length: one that is sent in chunks does not arrive",
    )
