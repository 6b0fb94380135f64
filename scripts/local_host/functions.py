"""Reads a function as the real host does: its route, its schedule, its settings."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.ncrontab import Ncrontab

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?")
HTTP_GROUP = "http"
SUPPORTED_BINDINGS = {"httpTrigger", "http", "timerTrigger", "queueTrigger"}


class FunctionError(ValueError):
    """The host cannot run a function; the others run."""


@dataclass(frozen=True)
class HostedFunction:
    """A function as its decorators describe it."""

    name: str
    trigger: Mapping[str, Any]  # as func writes it into function.json
    disabled: bool = False

    @classmethod
    def of(cls, name: str, bindings: Iterable[Mapping[str, Any]]) -> "HostedFunction":
        """Reads a function's bindings.

        Raises:
            FunctionError: it has a binding that this host does not know.
        """
        unsupported = {binding["type"] for binding in bindings} - SUPPORTED_BINDINGS
        if unsupported:
            names = ", ".join(sorted(unsupported))
            raise FunctionError(f"the local host has no {names}, func has")
        trigger = next(b for b in bindings if b["type"].endswith("Trigger"))
        disabled = os.environ.get(f"AzureWebJobs.{name}.Disabled", "").lower() in {"true", "1"}
        return cls(name, trigger, disabled)

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

    @property
    def group(self) -> str:
        """The functions that share its process on Flex Consumption."""
        return HTTP_GROUP if self.is_http else self.name

    @property
    def asks_for_key(self) -> bool:
        """Says whether callers need a key."""
        return str(self.trigger.get("authLevel", "function")).lower() != "anonymous"


@dataclass(frozen=True)
class Route:
    """A path and the function that serves it; no methods means all of them."""

    pattern: re.Pattern[str]
    methods: frozenset[str]
    function: HostedFunction

    @classmethod
    def of(cls, prefix: str, function: HostedFunction) -> "Route":
        """Reads the route of an HTTP function.

        Raises:
            FunctionError: it has more than {name} and {*name}.
        """
        template = full_route(prefix, function)
        text, *rest = re.split(r"\{(\*?)(\w+)\}", template)
        pattern = re.escape(text)
        for star, name, following in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            pattern += f"(?P<{name}>{'.*' if star else '[^/]+'}){re.escape(following)}"
        if r"\{" in pattern:
            raise FunctionError(f"only {{name}} and {{*name}} are supported in {template}")
        compiled = re.compile(f"{pattern}/?", re.IGNORECASE | re.DOTALL)
        methods = (method.upper() for method in function.trigger.get("methods") or ())
        return cls(compiled, frozenset(methods), function)


def full_route(prefix: str, function: HostedFunction) -> str:
    """Joins host.json's route prefix and a function's route, which is its name by default."""
    route = function.trigger.get("route") or function.name
    return "/" + "/".join(part.strip("/") for part in (prefix, route) if part)


def schedule_of(function: HostedFunction) -> str:
    """Reads a timer's NCRONTAB expression.

    Raises:
        FunctionError: a setting in it is missing, or it is none that the real host takes.
    """
    expression = filled_in(function, "schedule")
    try:
        next_occurrence(expression, datetime.now(UTC))
    except ValueError as error:
        raise FunctionError(f"its schedule {expression!r} is not NCRONTAB: {error}") from error
    return expression


def filled_in(function: HostedFunction, what: str) -> str:
    """Reads a property of the trigger, filling in %SETTING% from the environment.

    Raises:
        FunctionError: the setting is missing.
    """
    return re.sub("%([^%]+)%", lambda match: setting(match[1], what), str(function.trigger[what]))


def setting(name: str, what: str) -> str:
    """Reads a setting that a trigger names.

    Raises:
        FunctionError: it is missing.
    """
    value = os.environ.get(name)
    if not value:
        raise FunctionError(f"the setting {name}, its {what}, is missing")
    return value


def next_occurrence(expression: str, after: datetime) -> datetime:
    """Says when a schedule fires next, in the time zone of `after`.

    Raises:
        ValueError: the real host does not take the expression, or it never fires.
    """
    occurrence = Ncrontab.read(expression).after(after)
    if occurrence is None:
        raise ValueError("it never comes")
    return occurrence


def is_monitored(function: HostedFunction, expression: str) -> bool:
    """Says whether missed runs are noticed at the next start: not if it runs twice in a minute.

    Source: azure-webjobs-sdk-extensions, TimerSchedule.Create.
    """
    now = datetime.now(UTC)
    second = next_occurrence(expression, next_occurrence(expression, now))
    return function.trigger.get("useMonitor") is not False and second > now + timedelta(minutes=1)


def to_seconds(time_span: str) -> float | None:
    """Reads a time span of host.json, [days.]hh:mm[:ss]; "-1" is no limit.

    Raises:
        ValueError: it is neither.
    """
    if time_span == "-1":
        return None
    found = _TIME_SPAN.fullmatch(str(time_span))
    if not found:
        raise ValueError(f"{time_span!r} is no time span")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
