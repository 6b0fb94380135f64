"""The record of a sweep, which the status page and the doctor read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# A class of an exception has a short name. Another program may have written anything.
_LONGEST_ERROR = 200


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """The record of one sweep; `error` is the class of its exception, if it failed."""

    at: datetime
    counts: dict[str, int] = field(default_factory=dict)
    lateness_p50_seconds: float | None = None
    lateness_p99_seconds: float | None = None
    seconds: float = 0.0
    requests: int = 0
    complete: bool = True
    stopped: bool = False
    error: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "SweepRecord":
        """The record in stored JSON; fields that this version does not know are left out.

        Raises:
            KeyError: there is no time.
            TypeError: a field is of another type.
            ValueError: a field cannot be read.
        """
        at = datetime.fromisoformat(stored["at"])
        if at.tzinfo is None:
            raise ValueError("at has no time zone")
        counts = stored.get("counts", {})
        if not all(_is_number(count) for count in counts.values()):
            raise TypeError("counts are no numbers")
        numbers = {
            name: stored[name]
            for name in ("lateness_p50_seconds", "lateness_p99_seconds", "seconds", "requests")
            if stored.get(name) is not None
        }
        if not all(_is_number(number) for number in numbers.values()):
            raise TypeError("a field is no number")
        flags = {name: stored[name] for name in ("complete", "stopped") if name in stored}
        if not all(isinstance(flag, bool) for flag in flags.values()):
            raise TypeError("a field is neither true nor false")
        error = stored.get("error", "")
        if not isinstance(error, str):
            raise TypeError("error is no text")
        return cls(at, dict(counts), **numbers, **flags, error=error[:_LONGEST_ERROR])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
