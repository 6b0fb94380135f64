"""One budget for all processes that send: who counts, and what part of a lane each may use.

A lane is the requests that share one limit of a channel (docs/sending.md). Each process that sends
notices is a member. It has one row that says until when it sends; it writes that row, then reads
all rows, and from their number and its place among them it knows its part of every lane. Why the
parts never add up to more than there is:

* A process sends only until the time that others could read of it, and not by its own belief.
* One that begins, or comes back too late, waits until every view without it has ended.
* So whoever sends is a member in the view of everybody who sends; and a part only becomes smaller
  if more members are seen, or more that go first.

Nothing here reads a clock or makes a request.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zlib import crc32

from shared.domain.times import CLOCK_SKEW

# How long a member's row is good for: longer with many members, so that requests do not grow with
# their square. It is renewed after about two fifths of that time.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 4.0, 15.0
_SECONDS_A_ROW = 0.2
_LONGEST = timedelta(seconds=_LONGEST_SECONDS)
# No process writes a time that is further ahead; a row that says so is damaged.
_MOST_AHEAD = timedelta(minutes=2)
# Rows of processes that died are deleted after this time.
KEPT_FOR = timedelta(minutes=10)

# The share of a limit that is used: a channel counts when requests arrive, not when they leave.
USED_SHARE = 0.98
# What notices leave free of a limit: so much without news of replies, or what replies take as far
# as is known, and some more.
_LEFT_FOR_REPLIES = 0.2
_FOR_EACH_REPLY = 1.25
_LEFT_BESIDE = 0.08


@dataclass(frozen=True, slots=True)
class Member:
    """The row of a process that sends notices.

    Attributes:
        name: of the process.
        until: it sends until then, on its own clock; None: a newer version says it in its own way.
        version: that was read; empty if it was never stored.
        is_newer: whether a newer version wrote it: then it is left as it is.
    """

    name: str
    until: datetime | None
    version: str = ""
    is_newer: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """The row of a process that sends many replies.

    Attributes:
        name: of the process.
        until: when this news is too old, on its own clock.
        replies: how many it sends, in each second, by lane.
        version: that was read; empty if it was never stored.
    """

    name: str
    until: datetime
    replies: Mapping[str, float]
    version: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """What one look at the rows showed."""

    members: Sequence[Member] = ()
    told: Sequence[Told] = ()

    def lapsed(self, now: datetime) -> Iterator[Member | Told]:
        """The rows that nobody will write again, and that may be deleted."""
        ours = [each for each in self.members if not each.is_newer]
        rows: list[Member | Told] = [*ours, *self.told]
        for row in rows:
            if row.until is not None and row.until + KEPT_FOR < now:
                yield row


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks of a process.

    Attributes:
        wall: aware UTC, as other processes have it to within `CLOCK_SKEW`.
        seconds: of its monotonic clock.
    """

    wall: datetime
    seconds: float

    def seconds_at(self, wall: datetime) -> float:
        """The monotonic clock at another time."""
        return self.seconds + (wall - self.wall).total_seconds()


@dataclass(frozen=True, slots=True)
class Share:
    """A process's part of a lane.

    Attributes:
        per_second: how many notices it may send; 0 if others have all.
        of_each: how many a second each member would have, if parts could be of any size, and
            without replies: for what is to be sent later.
        starts_at: on the monotonic clock: not before.
        ends_at: not from then on.
        is_whole: whether nobody else has a part.
    """

    per_second: float
    of_each: float
    starts_at: float = -math.inf
    ends_at: float = math.inf
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """What a member knows of the others.

    Attributes:
        name: its own.
        names: of all members, its own too.
        replies: what other processes told, in each second, by lane.
        starts_at: on its monotonic clock: it does not send before.
        ends_at: nor from then on.
    """

    name: str
    names: Sequence[str]
    replies: Mapping[str, float]
    starts_at: float
    ends_at: float
    _shares: dict[tuple[str, tuple[int, float]], Share] = field(default_factory=dict, compare=False)

    def share(self, lane: str, limit: tuple[int, float]) -> Share:
        """Its part of a lane with this limit: requests, and in how many seconds."""
        found = self._shares.get((lane, limit))
        if found is None:
            found = self._shares[lane, limit] = self._share(lane, limit)
        return found

    def _share(self, lane: str, limit: tuple[int, float]) -> Share:
        _, seconds = limit
        pool = pool_of(limit, self.replies.get(lane, 0.0))
        # Another order in each lane: with more members than cards, others go without.
        mine = _order(lane, self.name)
        rank = sum(_order(lane, name) < mine for name in self.names)
        members = len(self.names)
        return Share(
            cards_of(pool, rank, members) / seconds,
            pool_of(limit, 0.0) / members / seconds,
            self.starts_at,
            self.ends_at,
            is_whole=members == 1,
        )


def _order(lane: str, name: str) -> tuple[int, str]:
    return crc32(f"{lane}|{name}".encode()), name


def pool_of(limit: tuple[int, float], replies: float) -> int:
    """The cards of a lane: how many notices all processes together may send in each window.

    Whole cards, because a member of so many a second has them in any second. With parts of a
    card, how many come together in one second is a matter of luck.

    Args:
        limit: requests, and the window's seconds.
        replies: how many are known to be sent in each second.
    """
    requests, seconds = limit
    needed = _FOR_EACH_REPLY * replies * seconds + _LEFT_BESIDE * requests
    left = max(_LEFT_FOR_REPLIES * requests, needed)
    return max(1, math.floor(USED_SHARE * requests - left + 1e-9))


def cards_of(pool: int, rank: int, members: int) -> int:
    """How many cards of the pool the member of this rank has, if they are dealt round."""
    return max(0, -(-(pool - rank) // members))


def row_seconds(rows: Rows) -> float:
    """How long a member's next row is to be good for."""
    count = len(rows.members) + len(rows.told)
    return min(max(_SHORTEST_SECONDS, _SECONDS_A_ROW * count), _LONGEST_SECONDS)


def seen(
    before: View | None,
    name: str,
    teller: str,
    rows: Rows,
    *,
    began: Moment,
    asked: Moment,
    answered: float,
) -> View | None:
    """A member's view after one look at the rows; the one before if its own row was not there.

    Args:
        before: its view so far.
        name: its own.
        teller: the name that it tells its replies by: it counts those itself.
        rows: what was there.
        began: before it wrote its row.
        asked: after that, before it asked for the rows.
        answered: when the rows were there, on the monotonic clock.
    """
    own = next((each for each in rows.members if each.name == name), None)
    if own is None or own.until is None:
        return before
    others = [each for each in rows.members if each.name != name and _counts(each, asked.wall)]
    if before and before.name == name and answered <= before.ends_at:
        starts_at = before.starts_at
    else:
        # Until now others may not know of it: their views must end first.
        longest = asked.wall + _LONGEST + CLOCK_SKEW
        untils = [min(each.until or longest, longest) for each in others]
        starts_at = max((asked.seconds_at(each + CLOCK_SKEW) for each in untils), default=answered)
    return View(
        name,
        [name, *(each.name for each in others)],
        _replies(rows.told, teller, asked.wall),
        starts_at,
        ends_at=began.seconds_at(own.until),
    )


def _counts(row: Member | Told, now: datetime) -> bool:
    if row.until is None:
        return True
    return now - CLOCK_SKEW <= row.until <= now + _MOST_AHEAD


def _replies(told: Sequence[Told], teller: str, now: datetime) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in told:
        if each.name != teller and _counts(each, now):
            for lane, replies in each.replies.items():
                total[lane] = total.get(lane, 0.0) + replies
    return total
