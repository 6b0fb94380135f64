"""State as JSON with tagged types, from an allow-list; nothing in a row is ever executed.

Plain JSON values stay as they are. Every other value is an object with a `$type`:

    {"$type": "decimal", "value": "1.5"}          Decimal, datetime, date, timedelta, bytes, ...
    {"$type": "ActivityTypes", "value": "message"} an enum of the Bot Framework
    {"$type": "Choice", "value": "Car", ...}       a Bot Framework object or registered dataclass
"""

import base64
import dataclasses
import importlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import botbuilder.schema
from msrest.serialization import Model

from shared.domain.bounded_json import check_depth, check_items, read_json

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


# Dialog classes whose instances live in state, with their fields (none: an enum). They are looked
# up in botbuilder.dialogs only when the first such value comes: importing that package is most of a
# cold start, and a bot without dialogs should not pay for it.
_DIALOG_TYPES: dict[str, tuple[str, ...]] = {
    "Choice": ("value", "action", "synonyms"),
    "DateTimeResolution": ("value", "start", "end", "timex"),
    "DialogInstance": ("id", "state"),
    "DialogReason": (),
    "DialogState": ("_dialog_stack",),
    "DialogTurnStatus": (),
    "FoundChoice": ("value", "index", "score", "synonym"),
    "ListStyle": (),
    "PromptOptions": (
        "prompt",
        "retry_prompt",
        "choices",
        "style",
        "validations",
        "number_of_attempts",
    ),
}

_VALUES: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "decimal": (Decimal, str, Decimal),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "timedelta": (
        timedelta,
        lambda value: str(value // timedelta(microseconds=1)),
        lambda text: timedelta(microseconds=int(text)),
    ),
    "bytes": (
        bytes,
        lambda value: base64.b64encode(value).decode(),
        lambda text: base64.b64decode(text, validate=True),
    ),
    "uuid": (UUID, str, UUID),
    "float": (float, repr, float),  # for nan and the infinities, which JSON cannot write
}
_VALUE_TAGS = {cls: tag for tag, (cls, _, _) in _VALUES.items()}
_COLLECTIONS: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}

_types: dict[str, type] = {
    name: cls
    for name, cls in vars(botbuilder.schema).items()
    if isinstance(cls, type) and issubclass(cls, Model | Enum)
}


def register(*types: type) -> None:
    """Let the codec store instances of these dataclasses and enums, under their class names.

    Raises:
        TypeError: a type is neither a dataclass nor an enum.
        ValueError: another type already has that name.
    """
    for cls in types:
        if not (dataclasses.is_dataclass(cls) or issubclass(cls, Enum)):
            raise TypeError(f"{cls.__qualname__} is neither a dataclass nor an enum")
        taken = {*_VALUES, *_COLLECTIONS, "dict", *_DIALOG_TYPES}
        if cls.__name__ in taken or _types.get(cls.__name__, cls) is not cls:
            raise ValueError(f"state type {cls.__name__} is registered already")
        _types[cls.__name__] = cls


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
    if not bag:
        return b""
    encoded = encode(bag)
    # With sorted keys, equal bags are equal bytes, so an unchanged bag is not written.
    try:
        text = json.dumps(encoded, separators=(",", ":"), sort_keys=True).encode()
        # What could not be read again is not written.
        _check_length(text)
        check_items(text)
        check_depth(encoded)
    except (RecursionError, ValueError) as error:
        raise StateTypeError(f"state cannot be kept: {error}") from None
    return zlib.compress(text, 1)


def unpack(packed: bytes) -> dict[str, Any]:
    """The bag that `pack` was given.

    Raises:
        StateDecodeError: the bytes are damaged, or hold an unknown type.
    """
    if not packed:
        return {}
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise StateDecodeError(f"zlib.error: {error}") from error
    if not inflater.eof:
        raise StateDecodeError("the compressed state is cut short or too large")
    try:
        bag = decode(read_json(text))
    except StateDecodeError:
        raise
    except ValueError as error:
        raise StateDecodeError(f"{type(error).__name__}: {error}") from error
    if not isinstance(bag, dict):
        raise StateDecodeError("the state is no bag of properties")
    return bag


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
        return {TAG: cls.__name__, "items": items}
    if cls in _VALUE_TAGS:
        tag = _VALUE_TAGS[cls]
        return {TAG: tag, "value": _VALUES[tag][1](value)}
    return _encode_object(value, cls, path)


def _encode_object(value: Any, cls: type, path: str) -> Any:
    if _type_named(cls.__name__) is not cls:
        raise StateTypeError(
            f"{path} is a {cls.__module__}.{cls.__qualname__}, which state cannot hold:"
            " keep plain values, or register the dataclass with the state codec"
        )
    if isinstance(value, Enum):
        return {TAG: cls.__name__, "value": _encode(value.value, path)}
    fields = {name: getattr(value, name, None) for name in _field_names(cls)}
    if not dataclasses.is_dataclass(cls):  # a framework object: most of its attributes are unset
        fields = {
            name: item
            for name, item in fields.items()
            if not (item is None or (name == "additional_properties" and not item))
        }
    encoded = {name: _encode(item, f"{path}.{name}") for name, item in fields.items()}
    return {TAG: cls.__name__, **encoded}


def _decode(data: Any) -> Any:  # noqa: PLR0911 - one return for each kind of value
    if isinstance(data, list):
        return [_decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    if TAG not in data:
        return {key: _decode(item) for key, item in data.items()}
    tag = data[TAG]
    if tag == "dict":
        pairs = [(_decode(key), _decode(item)) for key, item in data["items"]]
        _check_hashes(key for key, _ in pairs)
        return dict(pairs)
    if tag in _COLLECTIONS:
        items = [_decode(item) for item in data["items"]]
        if tag != "tuple":
            _check_hashes(items)
        return _COLLECTIONS[tag](items)
    if tag in _VALUES:
        return _VALUES[tag][2](data["value"])
    return _decode_object(tag, data)


def _check_hashes(values: Iterable[Any]) -> None:
    most = max(Counter(hash(value) for value in values).values(), default=0)
    if most > _MOST_OF_ONE_HASH:
        raise StateDecodeError(f"{most} values of a set or dict have one hash")


def _decode_object(tag: Any, data: dict[str, Any]) -> Any:
    cls = _type_named(tag) if isinstance(tag, str) else None
    if cls is None:
        raise StateDecodeError(f"unknown type {tag!r}")
    if issubclass(cls, Enum):
        return cls(_decode(data["value"]))
    fields = {name: _decode(item) for name, item in data.items() if name != TAG}
    unknown = fields.keys() - set(_field_names(cls))
    if unknown:
        raise StateDecodeError(f"{tag} has no field {min(unknown)!r}")
    if dataclasses.is_dataclass(cls):
        return _dataclass_of(cls, fields)
    # Framework objects are plain holders of attributes: their constructors take no input from us.
    instance: Any = cls() if issubclass(cls, Model) else object.__new__(cls)
    for name in _field_names(cls):
        if name in fields or not issubclass(cls, Model):
            setattr(instance, name, fields.get(name))
    return instance


def _dataclass_of(cls: type, fields: dict[str, Any]) -> Any:
    """Rebuild without __init__, which may run code; fields that are new get their defaults."""
    instance: Any = object.__new__(cls)
    for spec in dataclasses.fields(cls):
        if spec.name in fields:
            item = fields[spec.name]
        elif spec.default is not dataclasses.MISSING:
            item = spec.default
        elif spec.default_factory is not dataclasses.MISSING:
            item = spec.default_factory()
        else:
            raise StateDecodeError(f"{cls.__name__} lacks its field {spec.name!r}")
        object.__setattr__(instance, spec.name, item)
    return instance


def _type_named(name: str) -> type | None:
    if name not in _types and name in _DIALOG_TYPES:
        dialogs = importlib.import_module("botbuilder.dialogs")
        _types.update({each: getattr(dialogs, each) for each in _DIALOG_TYPES})
    return _types.get(name)


def _field_names(cls: type) -> tuple[str, ...]:
    if dataclasses.is_dataclass(cls):
        return tuple(spec.name for spec in dataclasses.fields(cls))
    if issubclass(cls, Model):
        return (*cls._attribute_map, "additional_properties")
    return _DIALOG_TYPES[cls.__name__]
