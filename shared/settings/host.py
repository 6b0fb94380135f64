"""What the Functions host runs in this process, and how long it lets a function run.

A function that reaches this time takes its process along, and everything else that is under way in
it. So all work of the app ends earlier by itself.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from shared.settings.expiry import AFTER_BUDGET_SECONDS, ExpirySettings
from shared.settings.group import SettingsGroup, setting

_HOST_JSON = Path(__file__).parents[2] / "host.json"
# learn.microsoft.com, "host.json reference", functionTimeout: the shortest default of all plans.
_DEFAULT = "00:05:00"
_UNLIMITED = "-1"
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?")  # [d.]hh:mm[:ss]

# How much earlier than the host's timeout the bot's code is ended, and then the rest of a request.
_BOT_ENDS_BEFORE_SECONDS = 60
_REQUEST_ENDS_BEFORE_SECONDS = 30


_SWEEPS_ONLY = {"expiry_timer", "expiry_queue"}


def _seconds(time_span: str) -> float | None:
    """The seconds of a .NET time span; None: no limit.

    Raises:
        ValueError: it is none.
    """
    if time_span == _UNLIMITED:
        return None
    found = _TIME_SPAN.fullmatch(time_span)
    if not found:
        raise ValueError("not a time span")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _time_span(value: str) -> str:
    if value:
        _seconds(value)
    return value


@cache
def _in_host_json(file: Path = _HOST_JSON) -> str:
    """The time span in host.json. What is wrong with that file, the host says itself.

    As for the host, comments and commas too many are fine, and the name holds in any case.
    """
    try:
        text = _COMMENT.sub(r"\1", file.read_text("utf-8-sig"))
        found = re.search(r'"functionTimeout"\s*:\s*"([^"]*)"', text, re.IGNORECASE)
        time_span = found[1] if found else _DEFAULT
        _seconds(time_span)
    except (OSError, ValueError):
        return _DEFAULT
    return time_span


class HostSettings(SettingsGroup):
    """What the host was told."""

    function_timeout: Annotated[str, AfterValidator(_time_span)] = setting(
        "AzureFunctionsJobHost__functionTimeout",
        "a time span (00:05:00), or left out: then functionTimeout of host.json counts",
        default="",
        not_set="host.json has it",
    )
    target_group: str = setting(
        "FUNCTIONS_TARGET_GROUP",
        "set by Flex Consumption",
        default="",
        not_set="the host sets it",
    )

    @property
    def takes_turns(self) -> bool:
        """Whether this process may take turns. If not, it needs neither the bot nor its dialogs.

        On Flex Consumption a process serves one group of functions, elsewhere all of them. Source:
        azure-functions-host, FunctionGroupListenerDecorator.
        """
        return self.target_group.lower() not in _SWEEPS_ONLY

    @property
    def function_timeout_seconds(self) -> float | None:
        """How long a function may run; None: as long as it wants."""
        return _seconds(self.function_timeout or _in_host_json())

    @property
    def bot_seconds(self) -> float | None:
        """How long the bot's code may take for one turn; None: as long as it wants."""
        return self._less(_BOT_ENDS_BEFORE_SECONDS)

    @property
    def request_seconds(self) -> float | None:
        """How long all work for one request may take; None: as long as it wants."""
        return self._less(_REQUEST_ENDS_BEFORE_SECONDS)

    def _less(self, seconds: float) -> float | None:
        limit = self.function_timeout_seconds
        return None if limit is None else limit - seconds

    def misfits_with(self, expiry: ExpirySettings) -> Iterator[str]:
        """The contradictions with the settings of expiry, one message for each mistake."""
        limit = self.function_timeout_seconds
        needed = expiry.sweep_budget_seconds + AFTER_BUDGET_SECONDS
        if limit is not None and limit < needed:
            yield (
                f"SweepBudgetSeconds is {expiry.sweep_budget_seconds}; it must be at least"
                f" {AFTER_BUDGET_SECONDS} less than the {limit:g} s of functionTimeout in"
                " host.json: at that timeout the host ends the process, with all that it does"
            )
