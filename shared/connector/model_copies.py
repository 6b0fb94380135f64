"""Copies of the SDK's models, for a sixth of the time.

A turn copies each activity: what came in, for each attempt, and what the SDK's TurnContext sends.
`copy.deepcopy` looks at each of a model's attributes, and most are unset or plain text.
"""

from copy import deepcopy
from datetime import datetime
from typing import Any, TypeVar

from msrest.serialization import Model

_M = TypeVar("_M", bound=Model)

# Never changed, so a copy may share them.
_ATOMS = frozenset({type(None), str, bool, int, float, datetime})


def _copied(model: _M, memo: dict[int, Any]) -> _M:
    """What `copy.deepcopy` makes of a model."""
    copy = object.__new__(type(model))
    memo[id(model)] = copy
    attributes = vars(copy)
    attributes.update(vars(model))
    for name, value in vars(model).items():
        if type(value) not in _ATOMS:
            attributes[name] = deepcopy(value, memo)
    return copy


def install() -> None:
    """Let `copy.deepcopy` use it, also where the SDK calls it."""
    Model.__deepcopy__ = _copied  # type: ignore[attr-defined] # deepcopy asks for it
