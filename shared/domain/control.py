"""The description of a table: its shards, and the timeout that its due rows are filed by."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared.domain.timing import Timing


@dataclass(frozen=True, slots=True)
class Control:
    """The row that describes the table.

    Attributes:
        shard_count: the table's, for life.
        expire_after: the timeout that due rows are filed by now; None before the first sweep.
        longest: the longest timeout that rows may still be filed by, while that matters.
        looked_until: sweeps have looked at due rows up to this time since the change.
        over_at: from then on no row filed by `longest` is left.
        state_store: the store of its state, for life.
        etag: the row's version.
    """

    shard_count: int
    expire_after: timedelta | None = None
    longest: timedelta | None = None
    looked_until: datetime | None = None
    over_at: datetime | None = None
    state_store: str = "tables"
    etag: str = ""

    def with_timeout(self, timing: Timing, now: datetime) -> "Control":
        """The row with the timeout of this timing, valid from now on."""
        expire_after = timing.expire_after
        if self.over_at is not None and now >= self.over_at:
            return replace(
                self, expire_after=expire_after, longest=None, looked_until=None, over_at=None
            ).with_timeout(timing, now)
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
        """The due times (after, until) that a sweep also looks at, if any, beyond those due now."""
        if self.longest is None or self.expire_after is None or self.looked_until is None:
            return None
        return max(self.looked_until, now), now + (self.longest - self.expire_after)
