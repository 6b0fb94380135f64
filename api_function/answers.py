"""Answers in JSON."""

import json
from collections.abc import Callable, Mapping

import azure.functions as func

# What was true a moment ago must not be shown as true now.
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
        status: of HTTP.
        body: what `json.dumps` can write; `default` turns the rest into such values.
        headers: besides Content-Type.
        default: as of `json.dumps`; without it, the rest raises TypeError.
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
    """An answer that says what is wrong."""
    return json_answer(status, {"error": {"message": message}}, headers)
