"""Answers in JSON."""

import json
from collections.abc import Callable

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
