"""The rules for the time of one conversation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from shared.domain.times import MAX_GUARD

# As a timeout: the conversation may be idle for ever.
NEVER: Final = timedelta.max
# Its deadline, then; no other one is so late.
FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)

# Whoever is warned has at least so long to answer. Source: WCAG 2.2.1, Timing Adjustable.
TIME_TO_ANSWER = timedelta(seconds=20)


# The longest name of a time zone is a third of that.
_LONGEST_ZONE = 100


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours of each day in which nobody is told anything.

    Attributes:
        begins: a time of day; the same as `ends`: there are no such hours.
        ends: a time of day, that of the next day if it is before `begins`.
        zone: of these times, where the user's own is not known.
    """

    begins: time
    ends: time
    zone: tzinfo

    def end_at(self, now: datetime, zone: str | None) -> datetime | None:
        """When the quiet hours of this moment end; None: it is in none.

        Args:
            now: an aware time.
            zone: the user's, from outside: any text, or None.
        """
        local = now.astimezone(zone_of(zone) or self.zone)
        at = local.time()
        if self.begins < self.ends:
            is_quiet, ends_today = self.begins <= at < self.ends, True
        else:
            is_quiet = (at >= self.begins or at < self.ends) and self.begins != self.ends
            ends_today = at < self.ends
        if not is_quiet:
            return None
        day = local.date() if ends_today else local.date() + timedelta(days=1)
        return datetime.combine(day, self.ends, local.tzinfo).astimezone(UTC)


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone of this name; None if there is none, whatever the text is."""
    if not name or len(name) > _LONGEST_ZONE:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return None


@dataclass(frozen=True, slots=True)
class Timing:
    """The rules for the time of one conversation. Every decision about its expiry takes this.

    Attributes:
        expire_after: how long it may be idle; `NEVER`: for ever.
        warn_before: how long before the deadline its users are warned; the longest time first.
        notify: whether its users are told when it expires.
        notify_within: they are told only so long after its last use; None: at any time.
        max_age: how long its session may last, however much it is used; None: no limit.
        quiet_hours: when its users are not told anything; None: there are no such hours.
        resume_within: how long its user may resume it after its expiry; zero: not at all.
        sources: where each of these values stands, by its name, for people who ask why.
    """

    expire_after: timedelta
    warn_before: tuple[timedelta, ...] = ()
    notify: bool = True
    notify_within: timedelta | None = None
    max_age: timedelta | None = None
    quiet_hours: QuietHours | None = None
    resume_within: timedelta = timedelta(0)
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
        """How long after its last use something happens at the earliest: a warning, or the expiry.

        It is not asked of a conversation that never expires.
        """
        earliest = self.expire_after - max(self.warnings, default=timedelta(0))
        return min(earliest, MAX_GUARD) if self.max_age else earliest

    @property
    def warnings(self) -> tuple[timedelta, ...]:
        """How long before the deadline there are warnings; none if nobody is to be told.

        Nobody is warned who has just written.
        """
        return tuple(filter(self.has_room_for, self.warn_before)) if self.notify else ()

    def has_room_for(self, warning: timedelta) -> bool:
        """Whether a warning so long before the deadline leaves alone who has just written."""
        return self.expire_after - warning >= TIME_TO_ANSWER

    def deadline(self, last_accessed: datetime) -> datetime:
        """When a session becomes stale that was last used at this time."""
        return FAR_FUTURE if self.expire_after == NEVER else last_accessed + self.expire_after


@dataclass(frozen=True, slots=True)
class OwnTiming:
    """What the bot's code has set for one conversation, until its session ends.

    Attributes:
        expire_after: see `Timing`; None: what the policy says.
        warn_before: see `Timing`; None: what the policy says.
        notify: see `Timing`; None: what the policy says.
        keep_until: it does not expire before, however long it is idle; None: no such time.
    """

    expire_after: timedelta | None = None
    warn_before: tuple[timedelta, ...] | None = None
    notify: bool | None = None
    keep_until: datetime | None = None

    def over(self, timing: Timing) -> Timing:
        """The timing of the policy with these values instead of its own."""
        values = {
            name: value
            for name in ("expire_after", "warn_before", "notify")
            if (value := getattr(self, name)) is not None
        }
        sources = {**timing.sources, **dict.fromkeys(values, "the bot's code")}
        return replace(timing, **values, sources=sources)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the bot's code may set.

    Attributes:
        least_warning: how long before the deadline a warning comes at the latest, so that somebody
            can answer it.
        most_idle: how long state is there without use; None: for ever.
        is_tracked: whether anything but the database's time to live ends a conversation.
    """

    least_warning: timedelta = TIME_TO_ANSWER
    most_idle: timedelta | None = None
    is_tracked: bool = True
