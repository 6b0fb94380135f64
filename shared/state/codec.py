"""State as JSON with tagged types, from an allow-list; nothing in a row is ever executed.

Plain JSON values stay as they are. Every other value is an object with a `$type`:

    {"$type": "decimal", "value": "1.5"}          Decimal, datetime, date, timedelta, bytes, ...
    {"$type": "ActivityTypes", "value": "message"} an enum of the Bot Framework
    {"$type": "Choice", "value": "Car", ...}       a Bot Framework object, or of a listed class
"""

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, KeysView, Mapping
from datetime import datetime, time
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from msrest.serialization import Model

from shared.domain import placeholders as ids_to_come
from shared.domain.bounded_json import MOST_DEPTH, check_depth, check_items, read_json
from shared.state.objects import CALL, NEW, PAIRS, UnstorableError, made_of, parts_of
from shared.state.state_types import (
    COLLECTIONS,
    VALUES,
    class_name,
    class_named,
    framework_fields,
    name_of,
    type_named,
)

TAG = "$type"

# The largest size of one row's state when unpacked: a small row must not fill the memory. The 700
# KiB of a row are less, where JSON is compressed to a fifth or a tenth as usual.
MAX_UNPACKED_BYTES = 16 * 1024 * 1024

# Larger bags are packed and unpacked beside the event loop.
LARGE_BYTES = 64 * 1024

# Numbers can be chosen so that they all have one hash. A set of n such values costs n * n steps.
_MOST_OF_ONE_HASH = 50


class StateTypeError(TypeError):
    """A value in the bot's state is of a type that the codec does not store."""


class StateDecodeError(ValueError):
    """Stored state is damaged, or names a type that is not on the allow-list."""


_VALUE_TAGS = {cls: tag for tag, (cls, _, _) in VALUES.items()}


def encode(value: Any) -> Any:
    """The value as JSON data.

    Raises:
        StateTypeError: something inside is of a type that is not on the allow-list.
    """
    try:
        return _encode(value, "state")
    except RecursionError:
        raise StateTypeError("state is nested too deeply, or refers to itself") from None


def decode(data: Any) -> Any:
    """The value that `encode` was given.

    Raises:
        StateDecodeError: a tag is unknown, or its value does not fit it.
    """
    try:
        return _decode(data)
    except StateDecodeError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise StateDecodeError(f"{type(error).__name__}: {error}") from error
    except RecursionError:
        raise StateDecodeError("nested too deeply") from None


def pack(bag: dict[str, Any]) -> bytes:
    """A state bag as compressed UTF-8 JSON; an empty bag is no bytes at all.

    Raises:
        StateTypeError: see `encode`.
    """
    return _pack(encode(bag)) if bag else b""


def pack_data(data: Mapping[str, Any], before: Mapping[str, Any]) -> bytes:
    """A bag of JSON data, as `unpack_data` gives it, packed again.

    A property that cannot be decoded here, but is as it was before, stays so: a process that has
    not loaded the bot does not know its classes.

    Raises:
        StateTypeError: see `encode`.
        StateDecodeError: see `decode`.
    """
    encoded = {}
    for name, value in data.items():
        if type(name) is not str:
            raise StateTypeError(f"{name!r} is no name of a property")
        try:
            encoded[name] = encode(decode(value))
        except StateDecodeError:
            if name not in before or value != before[name]:
                raise
            encoded[name] = before[name]
    return _pack(encoded) if encoded else b""


def _pack(encoded: Any) -> bytes:
    # With sorted keys, equal bags are equal bytes, so an unchanged bag is not written.
    try:
        text = json.dumps(encoded, separators=(",", ":"), sort_keys=True).encode()
        # What could not be read again is not written.
        _check_length(text)
        check_items(text)
        if text.count(b"[") + text.count(b"{") > MOST_DEPTH:
            check_depth(encoded)
    except (RecursionError, ValueError) as error:
        raise StateTypeError(f"state cannot be kept: {error}") from None
    return zlib.compress(text, 1)


def unpack(packed: bytes) -> dict[str, Any]:
    """The bag that `pack` was given.

    Raises:
        StateDecodeError: the bytes are damaged, or hold an unknown type.
    """
    return _bag(decode(_json_of(packed))) if packed else {}


def unpack_data(packed: bytes) -> dict[str, Any]:
    """The bag as JSON data: each value that JSON does not know is an object with a `$type`.

    No class needs to be known for that.

    Raises:
        StateDecodeError: the bytes are damaged.
    """
    return _bag(_json_of(packed)) if packed else {}


def _json_of(packed: bytes) -> Any:
    text = _text_of(packed)
    try:
        return read_json(text)
    except ValueError as error:
        raise StateDecodeError(f"{type(error).__name__}: {error}") from error


def _bag(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise StateDecodeError("the state is no bag of properties")
    return found


def placeholders(packed: bytes) -> frozenset[str]:
    """The placeholders of messages that a packed bag holds, wherever they are in it.

    Raises:
        StateDecodeError: the bytes are damaged.
    """
    return (
        ids_to_come.placeholders_in(_text_of(packed).decode(errors="replace"))
        if packed
        else frozenset()
    )


def with_ids(packed: bytes, ids: Mapping[str, str]) -> bytes:
    """The packed bag with the ids of messages in the place of their placeholders.

    It is the same object if there is nothing to replace.

    Raises:
        StateDecodeError: the bytes are damaged.
    """
    if placeholders(packed).isdisjoint(ids):
        return packed
    quoted = {placeholder: json.dumps(id_)[1:-1] for placeholder, id_ in ids.items()}
    return zlib.compress(ids_to_come.with_ids(_text_of(packed).decode(), quoted).encode(), 1)


def _text_of(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise StateDecodeError(f"zlib.error: {error}") from error
    if not inflater.eof:
        raise StateDecodeError("the compressed state is cut short or too large")
    return text


def _check_length(text: bytes) -> None:
    if len(text) > MAX_UNPACKED_BYTES:
        raise ValueError(f"it is larger than {MAX_UNPACKED_BYTES // 2**20} MiB")


def _encode(value: Any, path: str) -> Any:  # noqa: PLR0911 - one return for each kind of value
    cls = type(value)
    if value is None or cls in (bool, int, str) or (cls is float and math.isfinite(value)):
        return value
    if cls is dict:
        if TAG not in value and all(type(key) is str for key in value):
            return {key: _encode(item, f"{path}.{key}") for key, item in value.items()}
        pairs = [[_encode(k, path), _encode(v, f"{path}[{k!r}]")] for k, v in value.items()]
        return {TAG: "dict", "items": pairs}
    if cls is list:
        return [_encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if cls in (tuple, set, frozenset):
        items = [_encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if cls is not tuple:
            items.sort(key=_sort_key)
        return {TAG: cls.__name__, "items": items}
    if cls in _VALUE_TAGS:
        tag = _VALUE_TAGS[cls]
        encoded = {TAG: tag, "value": VALUES[tag][1](value)}
        zone = getattr(value, "tzinfo", None)
        if isinstance(zone, ZoneInfo) and zone.key:
            encoded["zone"] = zone.key
        return encoded
    return _encode_object(value, cls, path)


def _encode_object(value: Any, cls: type, path: str) -> Any:
    if isinstance(value, type) and (name := class_name(value)):
        return {TAG: "class", "value": name}
    name = name_of(cls)
    if name is None:
        raise StateTypeError(
            f"{path} is a {cls.__module__}.{cls.__qualname__}, which state cannot hold:"
            " keep plain values, or list the class in STATE_TYPES"
        )
    if isinstance(value, Enum):
        return {TAG: name, "value": _encode(value.value, path)}
    names = framework_fields(cls)
    if names is None:
        try:
            parts = parts_of(value)
        except UnstorableError as error:
            raise StateTypeError(
                f"{path} is a {cls.__module__}.{cls.__qualname__}, which state cannot hold: {error}"
            ) from None
    else:  # a framework object: most of its attributes are unset
        parts = {
            each: item
            for each in names
            if (item := getattr(value, each, None)) is not None
            and (item or each != "additional_properties")
        }
    encoded = {each: _encode(item, f"{path}.{each}") for each, item in parts.items()}
    if isinstance(value, set | frozenset) and CALL in encoded:
        encoded[CALL]["items"][0].sort(key=_sort_key)
    return {TAG: name} | encoded


def _sort_key(encoded: Any) -> str:
    """The order of a set in JSON: Python's own differs from process to process."""
    return json.dumps(encoded, sort_keys=True)


def _decode(data: Any) -> Any:  # noqa: PLR0911 - one return for each kind of value
    if type(data) is list:
        return [_decode(item) for item in data]
    if type(data) is not dict:
        return data
    if TAG not in data:
        return {key: _decode(item) for key, item in data.items()}
    tag = data[TAG]
    if tag == "dict":
        pairs = [(_decode(key), _decode(item)) for key, item in data["items"]]
        _check_hashes(key for key, _ in pairs)
        return dict(pairs)
    if tag in COLLECTIONS:
        items = [_decode(item) for item in data["items"]]
        if tag != "tuple":
            _check_hashes(items)
        return COLLECTIONS[tag](items)
    if tag in VALUES:
        value = VALUES[tag][2](data["value"])
        return _in_zone(value, data["zone"]) if data.get("zone") else value
    return _decode_object(tag, data)


def _in_zone(value: datetime | time, key: str) -> datetime | time:
    """With the rules of its zone too; with its offset alone if this machine knows no such zone."""
    try:
        zone = ZoneInfo(key)
    except (OSError, LookupError):
        return value
    return value.astimezone(zone) if isinstance(value, datetime) else value.replace(tzinfo=zone)


def _check_hashes(values: Iterable[Any]) -> None:
    most = max(Counter(hash(value) for value in values).values(), default=0)
    if most > _MOST_OF_ONE_HASH:
        raise StateDecodeError(f"{most} values of a set or dict have one hash")


def _decode_object(tag: Any, data: dict[str, Any]) -> Any:
    if tag == "class":
        return _class_named(data["value"])
    cls = type_named(tag) if isinstance(tag, str) else None
    if cls is None:
        raise StateDecodeError(f"unknown type {tag!r}")
    if issubclass(cls, Enum):
        return cls(_decode(data["value"]))
    parts = {name: _decode(item) for name, item in data.items() if name != TAG}
    names = framework_fields(cls)  # type: ignore[arg-type] # mypy takes the hash of an instance
    if names is not None:
        return _framework_object(cls, names, parts)
    if issubclass(cls, dict | set | frozenset):
        _check_items(parts)
    try:
        return made_of(cls, parts)
    except Exception as error:  # the class's own code may raise anything
        raise StateDecodeError(f"a {tag}: {type(error).__name__}: {error}") from error


def _class_named(name: Any) -> type:
    found = class_named(name) if isinstance(name, str) else None
    if found is None:
        raise StateDecodeError(f"unknown class {name!r}")
    return found


def _framework_object(cls: type, names: KeysView[str], fields: dict[str, Any]) -> Any:
    """Framework objects hold attributes, no more: their constructors take no input from us."""
    unknown = fields.keys() - names
    if unknown:
        raise StateDecodeError(f"{cls.__name__} has no field {min(unknown)!r}")
    instance: Any = cls() if issubclass(cls, Model) else object.__new__(cls)
    if not issubclass(cls, Model):
        fields = dict.fromkeys(names) | fields
    for name, item in fields.items():
        setattr(instance, name, item)
    return instance


def _check_items(parts: dict[str, Any]) -> None:
    _check_hashes(key for key, _ in parts.get(PAIRS, ()))
    for arg in (*parts.get(CALL, ()), *parts.get(NEW, ())):
        if isinstance(arg, list):
            _check_hashes(arg)
