"""Reads a request's bytes as an Activity, or refuses them with a status and a reason."""

import json
from collections.abc import Mapping
from typing import Any

import botbuilder.schema
from azure.core.exceptions import DeserializationError
from botbuilder.schema import Activity
from msrest.serialization import Deserializer, Model

# Channels send far less: Teams at most 100 KB, Direct Line 256 KB with attachments inline.
MAX_BODY_BYTES = 256 * 1024

# The longest values of the fields that are stored to reach the user later. Ids of 2,000 characters
# exist.
_MAX_ID = 2_048
_MAX_WORD = 256
_LIMITS = {
    "channelId": _MAX_WORD,
    "serviceUrl": _MAX_ID,
    "locale": _MAX_WORD,
    "conversation.id": _MAX_ID,
    "conversation.tenantId": _MAX_WORD,
    "conversation.conversationType": _MAX_WORD,
    "from.id": _MAX_ID,
    "from.aadObjectId": _MAX_WORD,
    "from.role": _MAX_WORD,
    "recipient.id": _MAX_ID,
    "recipient.aadObjectId": _MAX_WORD,
    "recipient.role": _MAX_WORD,
}
_REQUIRED = ("type", "channelId", "serviceUrl", "conversation.id", "from.id")


class BadRequestError(Exception):
    """The request cannot be a channel's activity; `status` is the HTTP status to answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def read_activity(content_type: str, body: bytes) -> Activity:
    """Parse and check an inbound activity.

    Raises:
        BadRequestError: 415 for another content type than JSON, 413 for a body above
            MAX_BODY_BYTES, 400 for malformed JSON or an activity that lacks a field or has one of
            the wrong type; checked in this order.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequestError(415, "Content-Type must be application/json")
    if len(body) > MAX_BODY_BYTES:
        raise BadRequestError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    payload = _json_object(body)
    for path in _REQUIRED:
        if _value_at(payload, path) in (None, ""):
            raise BadRequestError(400, f"the activity has no {path}")
    for path, limit in _LIMITS.items():
        value = _value_at(payload, path)
        if value is not None and not isinstance(value, str):
            raise BadRequestError(400, f"{path} must be a string")
        if value is not None and len(value) > limit:
            raise BadRequestError(400, f"{path} is longer than {limit} characters")
    if "|" in payload["channelId"]:
        raise BadRequestError(400, "channelId must not contain '|'")
    return _activity(payload)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body)
        # A lone surrogate ("\\ud800") is JSON but not text: it can be neither stored nor sent.
        json.dumps(payload, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not valid JSON: {type(error).__name__}") from error
    if not isinstance(payload, dict):
        raise BadRequestError(400, "the body must be a JSON object")
    return payload


def _value_at(payload: Mapping[str, Any], path: str) -> Any:
    value: Any = payload
    done: list[str] = []
    for name in path.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise BadRequestError(400, f"{'.'.join(done)} must be an object")
        value = value.get(name)
        done.append(name)
    return value


def _activity(payload: dict[str, Any]) -> Activity:
    _check_type(payload, "Activity", "")
    try:
        activity: Activity = Activity.deserialize(payload)
    except (DeserializationError, RecursionError) as error:
        raise BadRequestError(400, "the activity cannot be read") from error
    return activity


def _check_type(value: Any, kind: str, path: str) -> None:
    """Refuse values of another JSON type than the schema's.

    The SDK's deserializer lets most of them pass, and the bot fails on them later. If it refuses
    one, it does not name the field. `kind` is the type's name in msrest's attribute maps.
    """
    if value is None:
        return
    if kind in _JSON_TYPES:
        _check_scalar(value, kind, path)
    elif kind.startswith("["):
        if not isinstance(value, list):
            raise BadRequestError(400, f"{path} must be a list")
        for index, item in enumerate(value):
            _check_type(item, kind[1:-1], f"{path}[{index}]")
    elif kind in _FIELDS:
        if not isinstance(value, dict):
            raise BadRequestError(400, f"{path} must be an object")
        for name, field_kind in _FIELDS[kind]:
            _check_type(value.get(name), field_kind, f"{path}.{name}" if path else name)


def _check_scalar(value: Any, kind: str, path: str) -> None:
    python_type, word = _JSON_TYPES[kind]
    if not isinstance(value, python_type):
        raise BadRequestError(400, f"{path} must be {word}")
    if kind == "iso-8601":
        try:
            Deserializer.deserialize_iso(value)
        except DeserializationError as error:
            raise BadRequestError(400, f"{path} is no ISO 8601 timestamp") from error


_JSON_TYPES: dict[str, tuple[type, str]] = {
    "str": (str, "a string"),
    "bool": (bool, "true or false"),
    "iso-8601": (str, "a string"),
}
# For each model of the schema: the names of its fields in JSON, and their types.
_FIELDS: dict[str, list[tuple[str, str]]] = {
    model: [(field["key"], field["type"]) for field in cls._attribute_map.values()]
    for model, cls in vars(botbuilder.schema).items()
    if isinstance(cls, type) and issubclass(cls, Model)
}
