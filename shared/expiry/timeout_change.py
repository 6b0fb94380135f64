"""What a changed ExpireAfterSeconds means for conversations whose due rows are filed already.

A longer timeout needs nothing: their due rows come up early, and are re-filed. A shorter one would
be noticed only when they come up, at the old time. So for as long as there may be such rows, each
sweep also looks ahead by the difference, at every due row once: what it meets there is expired, or
re-filed at its new time.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from shared.domain.errors import ConflictError
from shared.expiry.report import SweepReport


@dataclass(frozen=True, slots=True)
class Control:
    """The row that describes the table.

    Attributes:
        shard_count: the table's, for life.
        expire_after: the timeout that due rows are filed by now; None before the first sweep.
        longest: the longest timeout that rows may still be filed by, while that matters.
        looked_until: due rows up to this time have been looked at since the change.
        over_at: when no row filed by `longest` is left.
        state_store: where the state of its conversations and users is, for life.
        etag: the row's version.
    """

    shard_count: int
    expire_after: timedelta | None = None
    longest: timedelta | None = None
    looked_until: datetime | None = None
    over_at: datetime | None = None
    state_store: str = "tables"
    etag: str = ""

    def with_timeout(self, expire_after: timedelta, now: datetime) -> "Control":
        """With this timeout in force from now on."""
        if self.over_at is not None and now >= self.over_at:
            return replace(
                self, expire_after=expire_after, longest=None, looked_until=None, over_at=None
            ).with_timeout(expire_after, now)
        if self.expire_after == expire_after:
            return self
        longest = max(filter(None, (self.longest, self.expire_after, expire_after)))
        if longest == expire_after:
            return replace(self, expire_after=expire_after)
        return replace(
            self,
            expire_after=expire_after,
            longest=longest,
            looked_until=datetime.fromtimestamp(0, UTC),
            over_at=now + longest,
        )

    def range_ahead(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The due times (after, until) that a sweep looks at besides what is due now, if any."""
        if self.longest is None or self.expire_after is None or self.looked_until is None:
            return None
        return max(self.looked_until, now), now + (self.longest - self.expire_after)


class ControlStore(Protocol):
    """Where the control row is."""

    async def control(self) -> Control:
        """The row; written if it is not there."""

    async def save_control(self, control: Control) -> Control:
        """Write it over the version it was read at, or raise ConflictError."""


async def sweep_with_timeout(
    store: ControlStore,
    expire_after: timedelta,
    now: datetime,
    run: Callable[[tuple[datetime, datetime] | None], Awaitable[SweepReport]],
) -> SweepReport:
    """Run a sweep that takes a change of the timeout into account.

    Args:
        store: where the control row is.
        expire_after: the timeout in force.
        now: the present, in aware UTC.
        run: runs the sweep, looking ahead as it is told.

    Raises:
        StorageUnavailableError: the control row could not be read or written.
    """
    stored = await store.control()
    control = stored.with_timeout(expire_after, now)
    if control != stored:
        with suppress(ConflictError):  # another instance notes the same; the next sweep makes sure
            control = await store.save_control(control)
    ahead = control.range_ahead(now)
    report = await run(ahead)
    if ahead and report.complete and not report.failed:
        with suppress(ConflictError):
            await store.save_control(replace(control, looked_until=ahead[1]))
    return report
