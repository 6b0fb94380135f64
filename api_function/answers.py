"""Answers in JSON."""

import json
from collections.abc import Callable, Mapping

import azure.functions as func

# An old answer must not be shown as a new one.
NOT_STORED = {"Cache-Control": "no-store"}


def json_answer(
    status: int,
    body: object,
    headers: Mapping[str, str] | None = None,
    *,
    default: Callable[[object], object] | None = None,
) -> func.HttpResponse:
    """An answer whose body is JSON.

    Args:
        status: the HTTP status.
        body: a value for `json.dumps`; `default` converts values that it cannot write.
        headers: besides Content-Type.
        default: as of `json.dumps`; without it, such values raise TypeError.
    """
    return func.HttpResponse(
        json.dumps(body, default=default),
        status_code=int(status),
        headers=dict(headers or {}),
        mimetype="application/json",
    )


def error_answer(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> func.HttpResponse:
    """An answer with an error message."""
    return json_answer(status, {"error": {"message": message}}, headers)
