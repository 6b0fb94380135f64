"""What holds for the time of a conversation."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.times import MAX_GUARD


@dataclass(frozen=True, slots=True)
class Timing:
    """What holds for the time of a conversation: whatever decides about its expiry takes this.

    Attributes:
        expire_after: how long it may be idle.
    """

    expire_after: timedelta

    @property
    def guard(self) -> timedelta:
        """How long before its deadline a conversation is close to its expiry."""
        return min(MAX_GUARD, self.expire_after / 4)

    def deadline(self, last_accessed: datetime) -> datetime:
        """When a session is stale that was last used then."""
        return last_accessed + self.expire_after
