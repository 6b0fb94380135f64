"""Instances of the author's classes as data, and back.

As pickle does it (docs.python.org, "Pickling Class Instances"), but for listed classes only, and
nothing else is ever called: no function that a row names, no `__init__` that a class did not ask
for.
"""

import copyreg
import dataclasses
from functools import cached_property
from typing import Any

# Keys of an instance that is more than its attributes: what it is made from, items, pairs, state.
NEW, CALL, ITEMS, PAIRS, STATE = "$new", "$call", "$items", "$pairs", "$state"


class UnstorableError(TypeError):
    """An instance does not say how it becomes data."""


def parts_of(value: Any) -> dict[str, Any]:
    """What an instance consists of, as values that are to be encoded in their turn.

    Raises:
        UnstorableError: see there.
    """
    cls: Any = type(value)
    if dataclasses.is_dataclass(cls):
        return _fields_of(value)
    if _is_named_tuple(cls):
        return dict(zip(cls._fields, value, strict=True))
    try:
        reduced = value.__reduce_ex__(2)
    except TypeError as error:
        raise UnstorableError(str(error)) from error
    if isinstance(reduced, str) or len(reduced) > 5:  # noqa: PLR2004 - the parts that pickle knows
        raise UnstorableError("it is pickled by name or by a function of its own")
    makes, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if makes is copyreg.__newobj__:  # type: ignore[attr-defined] # what pickle compares with too
        made = {NEW: args[1:]} if args[0] is cls and len(args) > 1 else {}
    elif makes is cls:
        made = {CALL: tuple(args)}
    else:
        raise UnstorableError("it is pickled by a function of its own")
    if items is not None:
        made[ITEMS] = list(items)
    if pairs is not None:
        made[PAIRS] = [list(pair) for pair in pairs]
    if not hasattr(cls, "__setstate__") and isinstance(state, dict) and not _reserved(state):
        return {**state, **made}
    return made if state is None else {STATE: state} | made


def made_of(cls: Any, parts: dict[str, Any]) -> Any:
    """The instance that `parts_of` took apart.

    Fields that were added to the class since get their defaults.

    Raises:
        LookupError: a field without a default is missing.
        Exception: what the class raises, if the data do not fit it.
    """
    if dataclasses.is_dataclass(cls):
        return _dataclass_of(cls, parts)
    if _is_named_tuple(cls):
        values = cls._field_defaults | parts
        return tuple.__new__(cls, [values[name] for name in cls._fields])
    call, new = parts.pop(CALL, None), parts.pop(NEW, ())
    if issubclass(cls, bytes | bytearray) and any(isinstance(arg, int) for arg in new or call):
        raise ValueError("so many zeros are not made")
    instance = cls.__new__(cls, *new) if call is None else cls(*call)
    items, pairs, state = parts.pop(ITEMS, ()), parts.pop(PAIRS, ()), parts.pop(STATE, None)
    if items:
        instance.extend(items)
    for key, item in pairs:
        instance[key] = item
    if state is not None and hasattr(cls, "__setstate__"):
        instance.__setstate__(state)
    else:
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        _set(instance, parts | (attributes or {}), slots or {})
    _add_new_fields(cls, instance)
    return instance


def _set(instance: Any, attributes: dict[str, Any], slots: dict[str, Any]) -> None:
    """Set attributes past the class's own code: no property, no `__setattr__` of its."""
    reserved = _reserved(attributes) or _reserved(slots)
    if reserved:
        raise ValueError(f"{reserved!r} is no attribute that an instance may have")
    if attributes:
        vars(instance).update(attributes)
    for name, item in slots.items():
        object.__setattr__(instance, name, item)


def _reserved(names: dict[str, Any]) -> str | None:
    """A name that state cannot hold as an attribute: ours, or one that Python reads."""
    return next((name for name in names if name[:1] == "$" or name[:2] == name[-2:] == "__"), None)


def _is_named_tuple(cls: Any) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_field_defaults")


def _fields_of(value: Any) -> dict[str, Any]:
    names = [spec.name for spec in dataclasses.fields(value)]
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    others = {  # that `__post_init__` may have set
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if name not in names and not isinstance(getattr(type(value), name, None), cached_property)
    }
    return fields | ({STATE: others} if others else {})


def _dataclass_of(cls: Any, parts: dict[str, Any]) -> Any:
    """Rebuild without __init__, which may run code."""
    instance: Any = object.__new__(cls)
    _set(instance, parts.pop(STATE, {}), {})
    for spec in dataclasses.fields(cls):
        if spec.name in parts:
            item = parts.pop(spec.name)
        elif spec.default is not dataclasses.MISSING:
            item = spec.default
        elif spec.default_factory is not dataclasses.MISSING:
            item = spec.default_factory()
        else:
            raise LookupError(f"{cls.__name__} lacks its field {spec.name!r}")
        object.__setattr__(instance, spec.name, item)
    if parts:
        raise LookupError(f"{cls.__name__} has no field {min(parts)!r}")
    return instance


def _add_new_fields(cls: Any, instance: Any) -> None:
    """Pydantic models know the defaults of fields that their `__setstate__` was not given."""
    for name, spec in getattr(cls, "__pydantic_fields__", {}).items():
        if name not in vars(instance):
            if spec.is_required():
                raise LookupError(f"{cls.__name__} lacks its field {name!r}")
            vars(instance)[name] = spec.get_default(call_default_factory=True)
