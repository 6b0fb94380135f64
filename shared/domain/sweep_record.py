"""The record of a sweep, which the status page and the doctor read."""

from dataclasses import dataclass, field
from datetime import datetime


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
