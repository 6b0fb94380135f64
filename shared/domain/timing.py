"""The rules for the time of one conversation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.domain.times import MAX_GUARD

# Whoever is warned has at least so long to answer. Source: WCAG 2.2.1, Timing Adjustable.
TIME_TO_ANSWER = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Timing:
    """The rules for the time of one conversation. Every decision about its expiry takes this.

    Attributes:
        expire_after: how long it may be idle.
        warn_before: how long before the deadline its users are warned; the longest time first.
        notify: whether its users are told when it expires.
        notify_within: they are told only so long after its last use; None: at any time.
        sources: where each of these values stands, by its name, for people who ask why.
    """

    expire_after: timedelta
    warn_before: tuple[timedelta, ...] = ()
    notify: bool = True
    notify_within: timedelta | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def guard(self) -> timedelta:
        """From this long before its deadline on, a conversation is close to its expiry."""
        return min(MAX_GUARD, self.expire_after / 4)

    @property
    def keeps_for_now(self) -> timedelta:
        """How long a turn keeps a session alive that may turn out not to use it."""
        return 2 * self.guard

    @property
    def first_step_after(self) -> timedelta:
        """How long after its last use the first thing happens: a warning, or the expiry."""
        return self.expire_after - max(self.warnings, default=timedelta(0))

    @property
    def warnings(self) -> tuple[timedelta, ...]:
        """How long before the deadline there are warnings; none if nobody is to be told."""
        return self.warn_before if self.notify else ()

    def deadline(self, last_accessed: datetime) -> datetime:
        """When a session becomes stale that was last used at this time."""
        return last_accessed + self.expire_after
