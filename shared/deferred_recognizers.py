"""Imports packages of the SDK without what most processes never use; that is imported when it is.

For its prompts botbuilder.dialogs imports recognizers of numbers and dates in ten languages. That
is a seventh of the time until a new instance's first answer (docs/benchmarks.md). Most turns use
none of them. msrest imports OAuth for a kind of credentials that no bot has. `shared/__init__.py`
installs this, and Python runs that file before any other file of `shared`. So a bot may import
anything, in any order.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_DEFERRED = {
    "botbuilder.dialogs": (
        *("recognizers_choice", "recognizers_date_time", "recognizers_number"),
        "emoji",  # the names of all emoji, which only the recognizer of choices looks into
    ),
    "msrest": ("requests_oauthlib", "oauthlib"),
    "msrest.async_client": ("oauthlib",),
}


def install() -> None:
    """Defer them, unless the package is imported already. Safe to call twice."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class _Finder(PathFinder):
    """Finds these packages where Python would, and gives them a loader of ours."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of one of these packages; None leaves any other module to Python."""
        if fullname not in _DEFERRED:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Runs a package with placeholders instead of what is deferred."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        with _placeholders(_DEFERRED[module.__name__]):
            super().exec_module(module)


class _Deferred:
    """Stands for a name of a module, and imports it when it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._real()(*arguments, **named)

    def __contains__(self, item: object) -> bool:
        return item in self._real()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def _real(self) -> Any:
        module = import_module(self._module)
        if not hasattr(module, self._name):  # a module in it
            return import_module(f"{self._module}.{self._name}")
        return getattr(module, self._name)


class _Placeholder(ModuleType):
    """Stands for a module while a package imports names that it will use later."""

    def __getattr__(self, name: str) -> _Deferred:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Deferred(self.__name__, name)


@contextmanager
def _placeholders(names: Sequence[str]) -> Iterator[None]:
    deferred = [name for name in names if name not in sys.modules]
    sys.modules.update({name: _Placeholder(name) for name in deferred})
    try:
        yield
    finally:
        for name in deferred:  # any other import gets the real module
            del sys.modules[name]
