"""Imports botbuilder.dialogs without its recognizers; those are imported when one is first called.

botbuilder.dialogs imports recognizers of numbers and dates in ten languages for its prompts, a
seventh of the time that a new instance needs for its first answer (docs/benchmarks.md). Most turns
use none of them.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_RECOGNIZERS = ("recognizers_choice", "recognizers_date_time", "recognizers_number")


class _Deferred:
    """Stands for one function or class of a module, and imports it when it is called."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(import_module(self._module), self._name)(*arguments, **named)


class _Placeholder(ModuleType):
    """Stands for a module while botbuilder.dialogs takes from it what it will call later."""

    def __getattr__(self, name: str) -> _Deferred:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Deferred(self.__name__, name)


def _import_dialogs() -> None:
    deferred = [name for name in _RECOGNIZERS if name not in sys.modules]
    sys.modules.update({name: _Placeholder(name) for name in deferred})
    try:
        import_module("botbuilder.dialogs")
    finally:
        for name in deferred:  # whoever else imports one gets the real one
            del sys.modules[name]


_import_dialogs()
