"""The report of a sweep, and its record."""

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime

from shared.domain.sweep_record import SweepRecord


@dataclass
class Outcomes:
    """The outcomes of the due rows that a sweep looked at, with a number for each.

    The log line, the sweep's record, the status page, the metrics and the docs all use this list.

    Attributes:
        refiled: conversations in use.
        warned: users warned that it expires soon.
        expired: claimed for the first time.
        came_back: not claimed, because another writer was first.
        notified: the channel took the notice.
        silent: no notice, because they are off, or there is no address to send one to.
        too_old: no notice, because the expiry is too long ago.
        refused: the channel takes no more for the conversation.
        dead_lettered: the notice is kept as a dead letter.
        superseded: the user was back before the expiry or its notice was done.
        retried_later: notices re-filed because they failed.
        told_later: notices re-filed before they were sent: their channel takes no more now.
        left_to_others: another sweep has the conversation, or a later one will see the user back.
        finished_already: due rows of conversations that had ended before.
        failed: rows that failed unexpectedly, and stay due.
    """

    refiled: int = 0
    warned: int = 0
    expired: int = 0
    came_back: int = 0
    notified: int = 0
    silent: int = 0
    too_old: int = 0
    refused: int = 0
    dead_lettered: int = 0
    superseded: int = 0
    retried_later: int = 0
    told_later: int = 0
    left_to_others: int = 0
    finished_already: int = 0
    failed: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """The outcomes that are not zero, in the order of `OUTCOMES`."""
        numbers = {name: getattr(self, name) for name in OUTCOMES}
        return {name: number for name, number in numbers.items() if number}


OUTCOMES = tuple(each.name for each in fields(Outcomes))

# The sweep that ended an expiry counts it once among these, unless the store's answer is lost.
ENDINGS = ("notified", "silent", "too_old", "refused", "dead_lettered", "superseded")


def in_words(outcome: str) -> str:
    """An outcome as people read it."""
    return outcome.replace("_", " ")


@dataclass
class SweepReport(Outcomes):
    """The report of one sweep. Lateness counts from when a conversation became stale.

    Attributes:
        looked_at: due rows.
        notice_failures: by the channel's HTTP status.
        backlog_seconds: by how much the oldest due row that was not reached is overdue.
    """

    looked_at: int = 0
    notice_failures: Counter[str] = field(default_factory=Counter)
    lateness_seconds: list[float] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    backlog_seconds: float = 0.0
    requests: int = 0
    unfinished: list[str] = field(default_factory=list, repr=False)
    stopped: bool = False
    stopped_because: str = ""

    @property
    def complete(self) -> bool:
        """Whether every shard was looked through to its end."""
        return not self.unfinished

    def lateness(self, percent: int) -> float:
        """The lateness, in seconds, that `percent` of the expiries stayed within; 0 if none."""
        if not self.lateness_seconds:
            return 0.0
        ranked = sorted(self.lateness_seconds)
        return ranked[math.ceil(len(ranked) * percent / 100) - 1]

    def __str__(self) -> str:
        """One line for the log: the counts that are not zero."""
        numbers = {"looked_at": self.looked_at, **self.counts} if self.looked_at else self.counts
        parts = [f"{in_words(name)} {number}" for name, number in numbers.items()]
        parts = parts or ["nothing due"]
        failures = ", ".join(f"{status}: {n}" for status, n in self.notice_failures.items())
        if failures:
            parts.append(f"notice failures {{{failures}}}")
        if self.lateness_seconds:
            parts.append(f"lateness p50 {self.lateness(50):.1f} s p99 {self.lateness(99):.1f} s")
        parts.append(f"{self.seconds:.2f} s")
        parts.append(f"{self.requests} requests")
        if self.stopped:
            parts.append(f"stopped: {self.stopped_because}")
        elif not self.complete:
            parts.append(f"{len(self.unfinished)} shards unfinished: the next sweep goes on")
        return ", ".join(parts)


def record_of(report: SweepReport, at: datetime) -> SweepRecord:
    """The record of a sweep that ended at `at`."""
    late = bool(report.lateness_seconds)
    return SweepRecord(
        at=at,
        counts=report.counts,
        lateness_p50_seconds=round(report.lateness(50), 1) if late else None,
        lateness_p99_seconds=round(report.lateness(99), 1) if late else None,
        seconds=round(report.seconds, 2),
        requests=report.requests,
        complete=report.complete,
        stopped=report.stopped,
    )
