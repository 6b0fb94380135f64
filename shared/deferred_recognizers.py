"""Imports botbuilder.dialogs without its recognizers; each is imported when it is called.

For its prompts botbuilder.dialogs imports recognizers of numbers and dates in ten languages. That
is a seventh of the time until a new instance's first answer (docs/benchmarks.md). Most turns use
none of them. `shared/__init__.py` installs this, and Python runs that file before any other file of
`shared`. So a bot may import anything, in any order.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_DIALOGS = "botbuilder.dialogs"
_RECOGNIZERS = ("recognizers_choice", "recognizers_date_time", "recognizers_number")


def install() -> None:
    """Defer the recognizers, unless botbuilder.dialogs is imported already. Safe to call twice."""
    if _DialogsFinder not in sys.meta_path:
        sys.meta_path.insert(0, _DialogsFinder)


class _DialogsFinder(PathFinder):
    """Finds botbuilder.dialogs where Python would, and gives it a loader of ours."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of botbuilder.dialogs; None leaves any other module to Python."""
        if fullname != _DIALOGS:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _DialogsLoader(spec.loader.name, spec.loader.path)
        return spec


class _DialogsLoader(SourceFileLoader):
    """Runs botbuilder.dialogs with placeholders instead of its recognizers."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        with _placeholders():
            super().exec_module(module)


class _Deferred:
    """Stands for one function or class of a module, and imports it when it is called."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(import_module(self._module), self._name)(*arguments, **named)


class _Placeholder(ModuleType):
    """Stands for a module while botbuilder.dialogs imports names that it will call later."""

    def __getattr__(self, name: str) -> _Deferred:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Deferred(self.__name__, name)


@contextmanager
def _placeholders() -> Iterator[None]:
    deferred = [name for name in _RECOGNIZERS if name not in sys.modules]
    sys.modules.update({name: _Placeholder(name) for name in deferred})
    try:
        yield
    finally:
        for name in deferred:  # any other import gets the real module
            del sys.modules[name]
