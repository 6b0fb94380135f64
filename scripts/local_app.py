"""Reads a Functions app as the real host does: its functions, routes, schedules and settings."""

import importlib
import json
import logging
import os
import re
import sys
from asyncio import Lock
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func

from shared.ncrontab import Ncrontab

logger = logging.getLogger(__name__)

SUPPORTED_BINDINGS = {"httpTrigger", "http", "timerTrigger", "queueTrigger"}


@dataclass(frozen=True)
class HostedFunction:
    """A function as its decorators describe it."""

    name: str
    code: Callable[..., Any]
    trigger: Mapping[str, Any]  # as func writes it into function.json
    disabled: bool
    one_at_a_time: Lock = field(default_factory=Lock)

    @property
    def is_timer(self) -> bool:
        """Says whether a schedule starts it."""
        return bool(self.trigger["type"] == "timerTrigger")

    @property
    def is_queue(self) -> bool:
        """Says whether a message in a queue starts it."""
        return bool(self.trigger["type"] == "queueTrigger")

    @property
    def is_http(self) -> bool:
        """Says whether a request starts it."""
        return bool(self.trigger["type"] == "httpTrigger")


class InvocationError(Exception):
    """A function failed or took too long; it has been logged."""


@dataclass(frozen=True)
class Route:
    """A path and the function that serves it; no methods means all of them."""

    pattern: re.Pattern[str]
    methods: frozenset[str]
    function: HostedFunction


def load_settings(folder: Path) -> None:
    """Puts the Values of local.settings.json into the environment; variables set already win."""
    values = read_json(folder / "local.settings.json").get("Values", {})
    for name, value in {"AZURE_FUNCTIONS_ENVIRONMENT": "Development", **values}.items():
        os.environ.setdefault(name, str(value))


def load_app(folder: Path) -> ModuleType:
    """Imports function_app.py from a folder, which becomes the working folder, as with func.

    Raises:
        SystemExit: The app ended itself, or could not be imported; in one line.
    """
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("function_app")
    except Exception as error:  # noqa: BLE001 - any error of the app ends the run
        sys.exit(f"function_app.py cannot be loaded: {type(error).__name__}: {error}")


def read_json(file: Path) -> dict[str, Any]:
    """Reads a JSON object; a file that is missing is an empty one.

    Raises:
        SystemExit: The file holds something else.
    """
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except ValueError as error:
        sys.exit(f"{file.name} is not JSON: {error}")
    return content if isinstance(content, dict) else sys.exit(f"{file.name} holds no object.")


def supported_functions(app: func.FunctionApp) -> list[HostedFunction]:
    """Lists an app's functions; a warning names each that this host cannot run and leaves out."""
    supported = []
    for function in app.get_functions():
        name = str(function.get_function_name())
        bindings = json.loads(str(function))["bindings"]
        unsupported = {binding["type"] for binding in bindings} - SUPPORTED_BINDINGS
        if unsupported:
            logger.warning(
                "%s is left out: the local host has no %s, func has",
                name,
                ", ".join(sorted(unsupported)),
            )
            continue
        trigger = next(b for b in bindings if b["type"].endswith("Trigger"))
        disabled = os.environ.get(f"AzureWebJobs.{name}.Disabled", "").lower() in {"true", "1"}
        supported.append(HostedFunction(name, function.get_user_function(), trigger, disabled))
    return supported


def full_route(prefix: str, function: HostedFunction) -> str:
    """Joins host.json's route prefix and a function's route, which is its name by default."""
    route = function.trigger.get("route") or function.name
    return "/" + "/".join(part.strip("/") for part in (prefix, route) if part)


def routing_table(prefix: str, functions: Iterable[HostedFunction]) -> list[Route]:
    """Lists the routes of HTTP functions, literal paths before those with parameters.

    Raises:
        SystemExit: A route has more than {name} and {*name}.
    """
    table = []
    for function in functions:
        template = full_route(prefix, function)
        text, *rest = re.split(r"\{(\*?)(\w+)\}", template)
        pattern = re.escape(text)
        for star, name, following in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            pattern += f"(?P<{name}>{'.*' if star else '[^/]+'}){re.escape(following)}"
        if r"\{" in pattern:
            sys.exit(f"{function.name}: only {{name}} and {{*name}} are supported in {template}")
        compiled = re.compile(f"{pattern}/?", re.IGNORECASE | re.DOTALL)
        table.append(Route(compiled, frozenset(function.trigger.get("methods") or ()), function))
    return sorted(table, key=lambda route: route.pattern.groups)


def schedule(function: HostedFunction) -> str:
    """Reads a timer's NCRONTAB expression.

    Raises:
        SystemExit: A setting in it is missing, or the real host would not run the function.
    """
    expression = filled_in(function, "schedule")
    try:
        next_occurrence(expression, datetime.now(UTC))
    except ValueError as error:
        sys.exit(f"{function.name}: its schedule {expression!r} is not NCRONTAB: {error}")
    return expression


def filled_in(function: HostedFunction, what: str) -> str:
    """Reads a property of the trigger, filling in %SETTING% from the environment.

    Raises:
        SystemExit: The setting is missing.
    """

    def setting(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        return value or sys.exit(
            f"{function.name}: the setting {match[1]}, its {what}, is missing."
        )

    return re.sub("%([^%]+)%", setting, function.trigger[what])


def next_occurrence(expression: str, after: datetime) -> datetime:
    """Says when a schedule fires next, in the time zone of `after`.

    Raises:
        ValueError: The real host does not take the expression, or it never fires.
    """
    occurrence = Ncrontab.read(expression).after(after)
    if occurrence is None:
        raise ValueError("it never comes")
    return occurrence


def to_seconds(time_span: str) -> float | None:
    """Reads host.json's hh:mm:ss; "-1" is no limit."""
    if time_span == "-1":
        return None
    hours, minutes, seconds = time_span.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
