"""Reads a request's bytes as an Activity, or refuses them with a status and a reason.

The result is what the SDK's own reader (msrest) makes of the same JSON. It takes a fraction of the
time (docs/decisions.md has the figures), and fields that cannot be read and that nobody reads are
left out.
"""

import json
import re
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import botbuilder.schema
from botbuilder.schema import Activity
from msrest.serialization import Model

# Channels send far less: Teams at most 100 KB, Direct Line 256 KB with attachments inline.
MAX_BODY_BYTES = 256 * 1024

# What may be nested in one another, the activity itself included. Real ones have less than ten.
MAX_DEPTH = 64

# Items of all lists that become objects of the SDK: each costs some microseconds.
MAX_ITEMS = 1_000

# The longest values of the fields that are stored to reach the user later. Ids of 2,000 characters
# exist.
_MAX_ID = 2_048
_MAX_WORD = 256
_ACCOUNT = {"id": _MAX_ID, "aadObjectId": _MAX_WORD, "role": _MAX_WORD}
_LIMITS = {
    "": {"channelId": _MAX_WORD, "serviceUrl": _MAX_ID, "locale": _MAX_WORD},
    "conversation": {"id": _MAX_ID, "tenantId": _MAX_WORD, "conversationType": _MAX_WORD},
    "from": _ACCOUNT,
    "recipient": _ACCOUNT,
}
_REQUIRED = {
    "": ("type", "channelId", "serviceUrl"),
    "conversation": ("id",),
    "from": ("id",),
    "recipient": (),
}

# What the app and its dialogs read beside these: what cannot be read there is refused by name. Any
# other field that cannot be read is left out, and costs nobody the message.
_READ = {
    *(
        "type",
        *_LIMITS[""],
        "id",
        "text",
        "name",
        "action",
        "replyToId",
        "deliveryMode",
        "timestamp",
    ),
    *(f"{place}.{name}" for place, names in _LIMITS.items() if place for name in names),
    *("from", "recipient", "conversation", "conversation.isGroup", "membersAdded"),
    *("membersAdded[]", "attachments", "attachments[]", "attachments[].contentType"),
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Only text with one of these can have lone surrogates.
_PERHAPS_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
# The timestamps that the SDK's reader takes. ISO 8601 has more forms; no channel sends them.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)([.,]\d{1,30})?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)

_EDGES = (date.min.year, date.max.year)


class BadRequestError(Exception):
    """The request cannot be a channel's activity; `status` is the HTTP status to answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_form(content_type: str, length: int) -> None:
    """Refuse by the headers alone what cannot be an activity.

    Args:
        content_type: the header Content-Type.
        length: of the body, in bytes.

    Raises:
        BadRequestError: 415 for another content type than JSON, 413 above MAX_BODY_BYTES; checked
            in this order.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequestError(415, "Content-Type must be application/json")
    if length > MAX_BODY_BYTES:
        raise BadRequestError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON of a body, with no lone surrogates in it but in ids.

    Lone surrogates are JSON but no text, and could not be sent on. They are replaced; in an id they
    are kept, so that `activity_of` can refuse it: replaced, it might be the id of somebody else.

    Raises:
        BadRequestError: 400, it is no JSON object or nested too deeply.
    """
    try:
        text = body.decode("utf-8-sig", "surrogatepass")
        payload: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not valid JSON: {type(error).__name__}") from error
    if not isinstance(payload, dict):
        raise BadRequestError(400, "the body must be a JSON object")
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(payload):
        raise BadRequestError(400, f"the body is nested more than {MAX_DEPTH} deep")
    if _PERHAPS_SURROGATE.search(text):
        return _without_lone_surrogates(payload)
    return payload


def _is_deep(payload: dict[str, Any]) -> bool:
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if inner and isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _without_lone_surrogates(payload: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(payload, ensure_ascii=False)
    if not _LONE_SURROGATE.search(text):
        return payload
    for place, names in _LIMITS.items():
        fields = _fields_at(payload, place)
        for name in names:
            value = fields.get(name)
            if isinstance(value, str) and _LONE_SURROGATE.search(value):
                path = _path(place, name)
                raise BadRequestError(400, f"{path} must be text, without lone surrogates")
    storable: dict[str, Any] = json.loads(
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
    return storable


def origin_of(payload: dict[str, Any]) -> tuple[str, str]:
    """The activity's channelId and serviceUrl, which its caller's token is compared with.

    Raises:
        BadRequestError: 400, one is missing or no string.
    """
    for name in ("channelId", "serviceUrl"):
        value = payload.get(name)
        if value in (None, ""):
            raise BadRequestError(400, f"the activity has no {name}")
        if not isinstance(value, str):
            raise BadRequestError(400, f"{name} must be a string")
    return payload["channelId"], payload["serviceUrl"]


def activity_of(payload: dict[str, Any]) -> Activity:
    """Check the fields of an activity's JSON, and read it.

    Raises:
        BadRequestError: 400, a field is missing or wrong (the message names it), or there are more
            than MAX_ITEMS items.
    """
    for place, names in _REQUIRED.items():
        fields = _fields_at(payload, place)
        for name in names:
            if fields.get(name) in (None, ""):
                raise BadRequestError(400, f"the activity has no {_path(place, name)}")
        for name, limit in _LIMITS[place].items():
            value = fields.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise BadRequestError(400, f"{_path(place, name)} must be a string")
            if len(value) > limit:
                reason = f"{_path(place, name)} is longer than {limit} characters"
                raise BadRequestError(400, reason)
    if "|" in payload["channelId"]:
        raise BadRequestError(400, "channelId must not contain '|'")
    _take_tenant(payload)
    activity: Activity = _Reader().model(payload, "", kind="Activity")
    where = activity.conversation  # the SDK's name for the tenant is tenantID, which nobody sends
    where.tenant_id = where.tenant_id or payload["conversation"].get("tenantId") or None
    return activity


def read_activity(content_type: str, body: bytes) -> Activity:
    """Read the activity of a request whose caller nobody checks.

    Raises:
        BadRequestError: of `check_form`, `json_object` and `activity_of`, in this order.
    """
    check_form(content_type, len(body))
    return activity_of(json_object(body))


def _fields_at(payload: dict[str, Any], place: str) -> dict[str, Any]:
    """The fields of the activity, or of an object in it; none if the object is absent."""
    value = payload.get(place) if place else payload
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequestError(400, f"{place} must be an object")
    return value


def _path(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


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


class _UnreadableError(Exception):
    """A value is not what its field must be."""

    def __init__(self, path: str, must_be: str) -> None:
        super().__init__(f"{path} {must_be}")


class _Reader:
    """Reads the JSON of one activity. `path` is where a value stands, as errors name it."""

    def __init__(self) -> None:
        self._items = 0

    def model(self, value: Any, path: str, *, kind: str) -> Any:
        """One of the SDK's models, with what the schema does not know as additional properties."""
        if not isinstance(value, dict):
            raise _UnreadableError(path, "must be an object")
        cls, absent, fields = _MODELS[kind]
        # As the model's constructor does it, which takes longer than all the rest.
        attributes = absent.copy()
        others = attributes["additional_properties"] = {}
        for name, inner in value.items():
            field = fields.get(name)
            if field is None:
                others[name] = inner
            elif type(inner) is field[1]:
                attributes[field[0]] = inner
            elif inner is not None:
                attribute, _, read, options = field
                attributes[attribute] = self._or_none(read, inner, _path(path, name), options)
        model = cls.__new__(cls)
        model.__dict__ = attributes
        return model

    def _or_none(self, read: Any, value: Any, path: str, options: dict[str, Any]) -> Any:
        """The value; None if it cannot be read and nobody reads it.

        Raises:
            BadRequestError: a field that is read cannot be.
        """
        try:
            return read(self, value, path, **options)
        except _UnreadableError as error:
            if re.sub(r"\[\d+\]", "[]", path) in _READ:
                raise BadRequestError(400, str(error)) from error
            return None

    def models(self, value: Any, path: str, *, kind: str) -> list[Any]:
        """A list of models, without the items that cannot be read."""
        if not isinstance(value, list):
            raise _UnreadableError(path, "must be a list")
        self._count(len(value))
        options = {"kind": kind}
        items = (
            self._or_none(_Reader.model, item, f"{path}[{index}]", options)
            for index, item in enumerate(value)
            if item is not None
        )
        return [item for item in items if item is not None]

    def models_by_name(self, value: Any, path: str, *, kind: str) -> dict[str, Any]:
        """An object whose values are models; None where one cannot be read."""
        if not isinstance(value, dict):
            raise _UnreadableError(path, "must be an object")
        self._count(len(value))
        options = {"kind": kind}
        return {
            name: self._or_none(_Reader.model, item, f"{path}.{name}", options)
            for name, item in value.items()
        }

    def strings(self, value: Any, path: str) -> list[str]:
        """A list of strings, without the items that are none."""
        if not isinstance(value, list):
            raise _UnreadableError(path, "must be a list")
        return [item for item in value if isinstance(item, str)]

    def anything(self, value: Any, _: str) -> Any:
        """Free JSON, as it is."""
        return value

    def string(self, value: Any, path: str) -> str:
        """A string."""
        if not isinstance(value, str):
            raise _UnreadableError(path, "must be a string")
        return value

    def flag(self, value: Any, path: str) -> bool:
        """True or false, which some clients write as strings."""
        written = value.lower() if isinstance(value, str) else value
        if written in ("true", "false"):
            return bool(written == "true")
        if not isinstance(value, bool):
            raise _UnreadableError(path, "must be true or false")
        return value

    def integer(self, value: Any, path: str) -> int:
        """A whole number."""
        if not isinstance(value, int):
            raise _UnreadableError(path, "must be a whole number")
        return value

    def moment(self, value: Any, path: str) -> datetime | None:
        """An ISO 8601 timestamp; an empty one is none.

        It has no time zone if the text has none, as with the SDK's reader.
        """
        written = self.string(value, path)
        if not written:
            return None
        match = _MOMENT.fullmatch(written.upper())
        try:
            if match is None:
                raise _UnreadableError(path, "is no ISO 8601 timestamp")
            day, hour, fraction, zone = match.groups(default="")
            if hour == "24:00:00" and not fraction.strip(".,0"):
                # ISO 8601 allows it, and Python's datetime does not know it.
                day, hour = (date.fromisoformat(day) + timedelta(days=1)).isoformat(), "00:00:00"
            moment = datetime.fromisoformat(f"{day}T{hour}{fraction[:7]}{zone}")
            if moment.year in _EDGES:
                moment.utctimetuple()  # fails where only UTC leaves the years that there are
        except (ValueError, OverflowError) as error:
            raise _UnreadableError(path, "is no ISO 8601 timestamp") from error
        return moment

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > MAX_ITEMS:
            raise BadRequestError(400, f"the lists have more than {MAX_ITEMS} items")


_SCALARS: dict[str, Any] = {
    "str": _Reader.string,
    "bool": _Reader.flag,
    "int": _Reader.integer,
    "iso-8601": _Reader.moment,
    "object": _Reader.anything,
    "[str]": _Reader.strings,
}


# Values of these types are taken as they are, without a call.
_AS_IT_IS = {"str": str, "bool": bool}


class _Field(NamedTuple):
    """A field of a model: its attribute, and how it is read."""

    attribute: str
    as_it_is: type | None
    read: Any
    options: dict[str, Any]

    @classmethod
    def of(cls, attribute: str, kind: str) -> "_Field":
        """The field of a type of msrest's attribute maps."""
        read, options = _SCALARS.get(kind), {}
        if read is None:
            readers = {"[": _Reader.models, "{": _Reader.models_by_name}
            read, options = readers.get(kind[0], _Reader.model), {"kind": kind.strip("[]{}")}
        return cls(attribute, _AS_IT_IS.get(kind), read, options)


def _models(kind: str) -> dict[str, tuple[type[Model], dict[str, Any], dict[str, _Field]]]:
    """By name, a model of the schema and those in it.

    For each: its class, its attributes while all fields are absent, and its fields by their names
    in JSON.
    """
    found: dict[str, tuple[type[Model], dict[str, Any], dict[str, _Field]]] = {}
    wanted = [kind]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        cls: type[Model] = getattr(botbuilder.schema, name)
        fields = {
            field["key"]: _Field.of(attribute, field["type"])
            for attribute, field in cls._attribute_map.items()
        }
        found[name] = cls, vars(cls()), fields
        wanted += [field.options["kind"] for field in fields.values() if field.options]
    return found


_MODELS = _models("Activity")
