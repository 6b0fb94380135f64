"""Reads a request's bytes as an Activity, or refuses them with a status and a reason."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
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

# What the app and its dialogs read beside these: what cannot be read there is refused by name. Any
# other field that cannot be read is left out, and costs nobody the message.
_READ = {
    *(*_REQUIRED, *_LIMITS),
    *("id", "text", "name", "action", "replyToId", "deliveryMode", "timestamp"),
    *("from", "recipient", "conversation", "conversation.isGroup", "membersAdded"),
    *("membersAdded[]", "attachments", "attachments[]", "attachments[].contentType"),
}
_SURROGATE = re.compile("[\ud800-\udfff]")
# ISO 8601 allows 24:00, which Python's datetime does not know.
_MIDNIGHT_OF_THE_NEXT_DAY = re.compile(r"(\d{4}-\d\d-\d\d)T24:00:00(?:\.0+)?(Z|[+-]\d\d:\d\d)?")


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
        # Replaced, it might be the id of somebody else.
        if value is not None and _SURROGATE.search(value):
            raise BadRequestError(400, f"{path} must be text, without lone surrogates")
    if "|" in payload["channelId"]:
        raise BadRequestError(400, "channelId must not contain '|'")
    payload = _storable(payload)
    _take_tenant(payload)
    return _activity(payload)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not valid JSON: {type(error).__name__}") from error
    if not isinstance(payload, dict):
        raise BadRequestError(400, "the body must be a JSON object")
    return payload


def _storable(payload: dict[str, Any]) -> dict[str, Any]:
    """The same without lone surrogates: these are JSON but no text, and could not be sent on."""
    try:
        text = json.dumps(payload, ensure_ascii=False)
        if _SURROGATE.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            payload = json.loads(text)
    except RecursionError as error:
        raise BadRequestError(400, "the body is nested too deeply") from error
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


def _take_tenant(payload: dict[str, Any]) -> None:
    """Teams gives some activities their tenant in channelData only; notices need it."""
    data = payload.get("channelData")
    tenant = data.get("tenant") if isinstance(data, dict) else None
    tenant_id = tenant.get("id") if isinstance(tenant, dict) else None
    conversation = payload["conversation"]
    if (
        not conversation.get("tenantId")
        and isinstance(tenant_id, str)
        and 0 < len(tenant_id) <= _MAX_WORD
    ):
        conversation["tenantId"] = tenant_id


def _activity(payload: dict[str, Any]) -> Activity:
    try:
        activity: Activity = Activity.deserialize(_readable(payload, "Activity", ""))
    except (DeserializationError, RecursionError) as error:
        raise BadRequestError(400, "the activity cannot be read") from error
    return activity


def _readable(value: Any, kind: str, path: str) -> Any:
    """The value as the schema has it, without what cannot be read and nobody reads.

    The SDK's deserializer lets most wrong JSON types pass, and the bot fails on them later. If it
    refuses one, it does not name the field. `kind` is the type's name in msrest's attribute
    maps.

    Raises:
        BadRequestError: a field that is read cannot be.
    """
    if value is None:
        return None
    if kind in _SCALARS:
        return _SCALARS[kind](value, path)
    if kind.startswith("["):
        if not isinstance(value, list):
            raise BadRequestError(400, f"{path} must be a list")
        items = (
            _readable_or_none(item, kind[1:-1], f"{path}[{index}]")
            for index, item in enumerate(value)
        )
        return [item for item in items if item is not None]
    if kind.startswith("{") or kind in _FIELDS:
        if not isinstance(value, dict):
            raise BadRequestError(400, f"{path} must be an object")
        fields = {
            name: _readable_or_none(value[name], field_kind, f"{path}.{name}" if path else name)
            for name, field_kind in _FIELDS.get(kind, [])
            if name in value
        }
        return value | fields
    return value


def _readable_or_none(value: Any, kind: str, path: str) -> Any:
    try:
        return _readable(value, kind, path)
    except BadRequestError:
        if re.sub(r"\[\d+\]", "[]", path) in _READ:
            raise
        return None


def _string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise BadRequestError(400, f"{path} must be a string")
    return value


def _flag(value: Any, path: str) -> bool:
    """True or false, which some clients write as strings."""
    written = value.lower() if isinstance(value, str) else value
    if written in ("true", "false"):
        return bool(written == "true")
    if not isinstance(value, bool):
        raise BadRequestError(400, f"{path} must be true or false")
    return value


def _integer(value: Any, path: str) -> int:
    if not isinstance(value, int):
        raise BadRequestError(400, f"{path} must be a whole number")
    return value


def _moment(value: Any, path: str) -> str | None:
    """An ISO 8601 timestamp that the SDK can read; an empty one is none."""
    written = _string(value, path)
    if not written:
        return None
    midnight = _MIDNIGHT_OF_THE_NEXT_DAY.fullmatch(written)
    try:
        if midnight:
            next_day = date.fromisoformat(midnight[1]) + timedelta(days=1)
            written = f"{next_day.isoformat()}T00:00:00{midnight[2] or ''}"
        Deserializer.deserialize_iso(written)
    except (DeserializationError, ValueError, OverflowError) as error:
        raise BadRequestError(400, f"{path} is no ISO 8601 timestamp") from error
    return written


_SCALARS: dict[str, Callable[[Any, str], Any]] = {
    "str": _string,
    "bool": _flag,
    "int": _integer,
    "iso-8601": _moment,
}
# For each model of the schema: the names of its fields in JSON, and their types.
_FIELDS: dict[str, list[tuple[str, str]]] = {
    model: [(field["key"], field["type"]) for field in cls._attribute_map.values()]
    for model, cls in vars(botbuilder.schema).items()
    if isinstance(cls, type) and issubclass(cls, Model)
}
