"""The description of a table: its shards, and the timeouts that its due rows are filed by."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class Control:
    """The row that describes the table.

    Attributes:
        shard_count: the table's, for life.
        expire_after: the shortest time, after the last use, that due rows are filed by now; None
            before the first sweep.
        policy: the fingerprint of the policy they are filed by.
        longest: the longest timeout that rows may still be filed by, while that matters.
        longest_now: the longest timeout that rows are filed by now; None: it is `expire_after`.
        looked_until: sweeps have looked at due rows up to this time since the change.
        over_at: from then on no row filed by `longest` is left.
        state_store: the store of its state, for life.
        etag: the row's version.
    """

    shard_count: int
    expire_after: timedelta | None = None
    policy: str = ""
    longest: timedelta | None = None
    longest_now: timedelta | None = None
    looked_until: datetime | None = None
    over_at: datetime | None = None
    state_store: str = "tables"
    etag: str = ""

    def with_policy(self, policy: Policy, now: datetime) -> "Control":
        """The row with the timeouts of this policy, valid from now on."""
        if self.over_at is not None and now >= self.over_at:
            over = replace(self, longest=None, looked_until=None, over_at=None)
            return over.with_policy(policy, now)
        several = policy.longest > policy.first_step_after
        valid = replace(
            self,
            expire_after=policy.first_step_after,
            policy=policy.fingerprint,
            longest_now=policy.longest if several else None,
        )
        if valid == self:
            return self
        filed_by = max(
            (each for each in (self.longest, self.longest_now, self.expire_after) if each),
            default=timedelta(0),
        )
        if filed_by <= policy.first_step_after:  # every row comes up early enough
            return valid
        return replace(
            valid,
            longest=filed_by,
            looked_until=datetime.fromtimestamp(0, UTC),
            over_at=now + filed_by,
        )

    def range_ahead(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The due times (after, until) that a sweep also looks at, if any, beyond those due now."""
        if self.longest is None or self.expire_after is None or self.looked_until is None:
            return None
        return max(self.looked_until, now), now + (self.longest - self.expire_after)
