"""Whether expiry is healthy: the facts, and the verdict on them. Time comes in as an argument.

A due row says when the sweep looks at a conversation next, which is the earliest it can expire: the
index is lazy (docs/protocol.md). Notices to be tried again have due rows too.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

from shared.domain.policy import Policy
from shared.domain.store import StatusStore
from shared.domain.sweep_record import SweepRecord
from shared.domain.times import CLOCK_SKEW
from shared.domain.work import DueRow
from shared.expiry.inbox_watch import InboxFacts
from shared.expiry.sweep import SHARDS_AT_ONCE
from shared.ncrontab import Gaps, Ncrontab

_T = TypeVar("_T")
Timer = Literal["on", "off", "none"]

MOST_ROWS = 10_000
SWEEPS_KEPT = 50
FAR = datetime(2250, 1, 1, tzinfo=UTC)  # due times have ten digits

# The upper ends of the groups of conversations, in seconds, with what they are called.
_GROUPS = (
    (60, "up to 1 min"),
    (300, "1 to 5 min"),
    (900, "5 to 15 min"),
    (3600, "15 to 60 min"),
    (6 * 3600, "1 to 6 h"),
    (24 * 3600, "6 to 24 h"),
    (float("inf"), "over 1 day"),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When sweeps run: the shortest and longest time between two of them, this year."""

    shortest_seconds: float
    longest_seconds: float

    @classmethod
    def of(cls, expression: str, now: datetime) -> "Schedule":
        """Of an NCRONTAB expression that the settings took."""
        # Of a whole day: it is asked for at each look at the health.
        return cls(*_gaps(expression, now.replace(hour=0, minute=0, second=0, microsecond=0)))

    def slot(self, at: datetime) -> int:
        """Which of the kept records a sweep overwrites: the oldest, on a regular schedule."""
        return int(at.timestamp() / self.shortest_seconds) % SWEEPS_KEPT


@dataclass(frozen=True, slots=True)
class Status:
    """The facts at `at`.

    Attributes:
        waiting: numbers of conversations by the time until they may expire, or their users are
            warned; without those that are warned, or kept.
        warned: the number of conversations whose users are warned, and that are not overdue. Who
            has answered the warning is among them until a sweep looks at the conversation again.
        kept: the number of sessions whose end was told, and that are not overdue. They stay because
            they may be resumed, or because they name writes of users' states.
        overdue: the number of due rows that the next sweep will find.
        oldest_overdue_seconds: the age of the oldest of them.
        more: whether there are more rows than were counted.
        dead_letters: notices that could not be delivered.
        oldest_dead_letter: when the conversation of the oldest one expired.
        sweeps: the last ones, newest first.
        late_after_seconds: a sweep or a row that is older than this is late.
        timer: whether sweeps run; `none` if a time to live works alone.
        inbox: of `LongTurns`; None: it is off, and nothing is left in it.
    """

    at: datetime
    waiting: dict[str, int]
    warned: int
    kept: int
    overdue: int
    oldest_overdue_seconds: float
    more: bool
    dead_letters: int
    oldest_dead_letter: datetime | None
    sweeps: Sequence[SweepRecord]
    late_after_seconds: float
    timer: Timer = "on"
    inbox: InboxFacts | None = None

    @classmethod
    def of_no_rows(cls, now: datetime) -> "Status":
        """The status if conversations have no rows, and so no sweeps: there is nothing to read."""
        return cls(
            at=now,
            waiting={},
            warned=0,
            kept=0,
            overdue=0,
            oldest_overdue_seconds=0.0,
            more=False,
            dead_letters=0,
            oldest_dead_letter=None,
            sweeps=(),
            late_after_seconds=0.0,
            timer="none",
        )

    @property
    def by_time_left(self) -> dict[str, int]:
        """All conversations, each in one group."""
        return {"overdue": self.overdue, "warned": self.warned, **self.waiting, "kept": self.kept}

    @property
    def last_sweep_age_seconds(self) -> float | None:
        """How long ago the last sweep was; None if none is known."""
        return (self.at - self.sweeps[0].at).total_seconds() if self.sweeps else None

    @property
    def verdict(self) -> tuple[str, str]:  # noqa: PLR0911 - one return for each verdict
        """The health (good, warn, bad), and its headline."""
        if self.inbox and self.inbox.trouble:
            return "bad", self.inbox.trouble
        if self.timer == "none":
            return "good", "Cosmos DB forgets what is idle; no sweep, no notices"
        if self.timer == "off":
            return "warn", "The timer is off: conversations expire at their next message only"
        age = self.last_sweep_age_seconds
        if age is None:
            return "bad", "No sweep has run yet"
        if age > self.late_after_seconds:
            return "bad", f"No sweep for {duration(age)}"
        if self.sweeps[0].error:
            return "bad", f"The last sweep failed: {self.sweeps[0].error}"
        if self.sweeps[0].stopped:
            return "bad", "The last sweep stopped: its notices are refused, the log says why"
        if self.oldest_overdue_seconds > self.late_after_seconds:
            oldest = duration(self.oldest_overdue_seconds)
            return "bad", f"Behind: {self.overdue:,} overdue, the oldest by {oldest}"
        if self.dead_letters:
            return "warn", f"On time, but {self.dead_letters:,} dead letters"
        return "good", "Everything expires on time"

    def as_json(self) -> dict[str, Any]:
        """The same facts as JSON data."""
        health, headline = self.verdict
        facts: dict[str, Any] = _plain({"health": health, "headline": headline, **asdict(self)})
        return facts


async def gather_status(
    store: StatusStore,
    schedule: Schedule,
    budget_seconds: float,
    policy: Policy,
    now: datetime,
) -> Status:
    """Read the facts: two range queries a shard, of keys and warnings, and one of the sweeps.

    Raises:
        StorageUnavailableError: they could not be read.
    """
    most = -(-MOST_ROWS // len(store.shards))
    at_once = asyncio.Semaphore(SHARDS_AT_ONCE)

    async def due(shard: str) -> tuple[list[DueRow], bool]:
        async with at_once:
            rows, more = await _first(store.due(shard, FAR), most)
            return [row for row in rows if row.is_of_conversation], more

    async def dead(shard: str) -> tuple[list[datetime], bool]:
        async with at_once:
            return await _first(store.dead_letter_times(shard), most)

    sweeps, dues, letters = await asyncio.gather(
        store.sweeps(),
        asyncio.gather(*(due(shard) for shard in store.shards)),
        asyncio.gather(*(dead(shard) for shard in store.shards)),
    )
    overdue: list[float] = []
    left: list[float] = []
    warned = kept = 0
    for row in (row for shard, _ in dues for row in shard):
        seconds = row.due_seconds - now.timestamp()
        if seconds <= -CLOCK_SKEW.total_seconds():
            overdue.append(-seconds)
        elif row.is_told:
            kept += 1
        elif row.warned:
            warned += 1
        else:
            left.append(seconds)
    times = [each for shard, _ in letters for each in shard]
    return Status(
        at=now,
        waiting=_grouped(left, policy),
        warned=warned,
        kept=kept,
        overdue=len(overdue),
        oldest_overdue_seconds=max(overdue, default=0.0),
        more=any(more for _, more in (*dues, *letters)),
        dead_letters=len(times),
        oldest_dead_letter=min(times, default=None),
        sweeps=sweeps,
        late_after_seconds=3 * schedule.longest_seconds + budget_seconds,
    )


def is_recent(
    sweeps: Sequence[SweepRecord], schedule: Schedule, budget: float, now: datetime
) -> bool:
    """Whether a sweep ran within three intervals of the schedule and one budget."""
    limit = 3 * schedule.longest_seconds + budget
    return any(not each.error and (now - each.at).total_seconds() <= limit for each in sweeps)


def duration(seconds: float) -> str:
    """Roughly how long, in words."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


@lru_cache(maxsize=4)
def _gaps(expression: str, day: datetime) -> Gaps:
    gaps = Ncrontab.read(expression).gaps(day)
    if gaps is None:
        raise ValueError(f"{expression!r} never comes")
    return gaps


async def _first(pages: AsyncIterator[Sequence[_T]], most: int) -> tuple[list[_T], bool]:
    rows: list[_T] = []
    async for page in pages:
        rows.extend(page)
        if len(rows) > most:
            return rows[:most], True
    return rows, False


def _grouped(left: Sequence[float], policy: Policy) -> dict[str, int]:
    groups, lowest = {}, float("-inf")
    for highest, name in _GROUPS:
        count = sum(lowest < each <= highest for each in left)
        if count or lowest < policy.longest.total_seconds():
            groups[name] = count
        lowest = highest
    return groups


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value
