"""The classes whose instances may be in state, each under a name of its own; no others are."""

import base64
import dataclasses
import importlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, KeysView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import botbuilder.schema
from msrest.serialization import Model

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

# More classes of the SDK, by the module they are looked up in. A class of the author's may have the
# same name, so a prefix keeps them apart.
_MODULES = {"core": "botbuilder.core", "teams": "botbuilder.schema.teams"}
_OF_CORE = {"IntentScore", "RecognizerResult"}

# A defaultdict names what makes its values; so these classes may be in state themselves.
_PLAIN_CLASSES = {cls.__name__: cls for cls in (bool, dict, float, int, list, set, str, tuple)}

# Plain values, by their names in JSON: how each becomes text, and back.
VALUES: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "complex": (complex, repr, complex),
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
    "zone": (ZoneInfo, lambda zone: zone.key, ZoneInfo),
    "float": (float, repr, float),  # for nan and the infinities, which JSON cannot write
}
COLLECTIONS: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}

RESERVED = {"class", "dict", *VALUES, *COLLECTIONS}

_types: dict[str, type] = {
    "counter": Counter,
    "default_dict": defaultdict,
    "deque": deque,
    "namespace": SimpleNamespace,
    "ordered_dict": OrderedDict,
    **{
        name: cls
        for name, cls in vars(botbuilder.schema).items()
        if isinstance(cls, type) and issubclass(cls, Model | Enum)
    },
}
_names: dict[type, str] = {cls: name for name, cls in _types.items()}


def register(*types: type) -> None:
    """Let state hold instances of these classes, under their names.

    Any class will do: a dataclass, an enum, a named tuple, a pydantic model, a plain class.

    Raises:
        TypeError: one of them is no class.
        ValueError: another class already has that name.
    """
    for cls in types:
        if not isinstance(cls, type):
            raise TypeError(f"{cls!r} is no class")
        if name_of(cls) is not None:
            continue  # listed before, or always allowed
        name = cls.__name__
        if name in RESERVED | _DIALOG_TYPES.keys() or name in _types:
            raise ValueError(f"another class in state is named {name} already")
        _types[name], _names[cls] = cls, name


def name_of(cls: type) -> str | None:
    """The name of a class whose instances may be in state; None for any other class."""
    if cls in _names:
        return _names[cls]
    name = cls.__name__
    if cls.__module__.startswith("botbuilder.dialogs") and name in _DIALOG_TYPES:
        found = name
    elif cls.__module__.startswith("botbuilder.core") and name in _OF_CORE:
        found = f"core.{name}"
    elif cls.__module__.startswith("botbuilder.schema.teams") and issubclass(cls, Model | Enum):
        found = f"teams.{name}"
    else:
        return None
    return found if type_named(found) is cls else None


def type_named(name: str) -> type | None:
    """The class of that name; None if there is none whose instances may be in state."""
    if name not in _types:
        for found, cls in _looked_up(name):
            _types[found], _names[cls] = cls, found
    return _types.get(name)


def class_name(cls: type) -> str | None:
    """The name of a class that may itself be in state, as what makes a defaultdict's values."""
    return cls.__name__ if _PLAIN_CLASSES.get(cls.__name__) is cls else name_of(cls)


def class_named(name: str) -> type | None:
    """The class that `class_name` named."""
    return _PLAIN_CLASSES.get(name) or type_named(name)


@lru_cache(maxsize=1_000)
def framework_fields(cls: type) -> KeysView[str] | None:
    """The fields of a class of the SDK; None for other classes."""
    if not cls.__module__.startswith("botbuilder."):
        return None
    if issubclass(cls, Model):
        return dict.fromkeys((*cls._attribute_map, "additional_properties")).keys()
    fields = None if dataclasses.is_dataclass(cls) else _DIALOG_TYPES.get(cls.__name__)
    return None if fields is None else dict.fromkeys(fields).keys()


def _looked_up(name: str) -> Iterator[tuple[str, type]]:
    if name in _DIALOG_TYPES:
        dialogs = importlib.import_module("botbuilder.dialogs")
        yield from ((each, getattr(dialogs, each)) for each in _DIALOG_TYPES)
    prefix, _, own_name = name.partition(".")
    if prefix in _MODULES and (prefix != "core" or own_name in _OF_CORE):
        found: Any = getattr(importlib.import_module(_MODULES[prefix]), own_name, None)
        if isinstance(found, type) and issubclass(found, Model | Enum):
            yield name, found
