"""Which timing holds for which conversation: defaults, and overrides of which later ones win."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from hashlib import sha256

from shared.domain.conversation import Conversation
from shared.domain.reference import ConversationType
from shared.domain.timing import QuietHours, Timing

_ANY_OTHER = ""  # no channel's id


@dataclass(frozen=True, slots=True)
class Override:
    """Other values for some conversations.

    Attributes:
        channels: ids of channels; empty: every channel.
        types: kinds of conversations; empty: every kind.
        expire_after: how long they may be idle; None: as before this override.
        warn_before: see `Timing`; None: as before this override.
        notify: whether their users are told; None: as before this override.
        notify_within: how long after its last use they are told; None: as before this override.
        max_age: how long a session may last; None: as before this override.
        quiet_hours: when nobody is told anything; None: as before this override.
        resume_within: how long an expired session may be resumed; None: as before this override.
        sources: see `Timing`; of the values that are not None.
    """

    channels: frozenset[str] = frozenset()
    types: frozenset[ConversationType] = frozenset()
    expire_after: timedelta | None = None
    warn_before: tuple[timedelta, ...] | None = None
    notify: bool | None = None
    notify_within: timedelta | None = None
    max_age: timedelta | None = None
    quiet_hours: QuietHours | None = None
    resume_within: timedelta | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def holds_for(self, channel: str, type_: ConversationType) -> bool:
        """Whether it is meant for such a conversation."""
        return (not self.channels or channel in self.channels) and (
            not self.types or type_ in self.types
        )

    def over(self, timing: Timing) -> Timing:
        """The timing with the values of this override."""
        return Timing(
            expire_after=timing.expire_after if self.expire_after is None else self.expire_after,
            warn_before=timing.warn_before if self.warn_before is None else self.warn_before,
            notify=timing.notify if self.notify is None else self.notify,
            notify_within=self.notify_within or timing.notify_within,
            max_age=self.max_age or timing.max_age,
            quiet_hours=self.quiet_hours or timing.quiet_hours,
            resume_within=timing.resume_within
            if self.resume_within is None
            else self.resume_within,
            sources={**timing.sources, **self.sources},
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What a policy file says.

    Attributes:
        default: for every conversation.
        overrides: for some conversations; later ones win.
    """

    default: Override = Override()
    overrides: tuple[Override, ...] = ()

    def over(self, timing: Timing) -> "Policy":
        """The policy, if this timing holds where the file says nothing."""
        return Policy(self.default.over(timing), self.overrides)


@dataclass(frozen=True)
class Policy:
    """Which timing holds for which conversation.

    Attributes:
        default: what holds where no override says something else.
        overrides: from the first to the last; later ones win.
    """

    default: Timing
    overrides: Sequence[Override] = ()

    @cached_property
    def channels(self) -> Sequence[str]:
        """The ids of the channels that it names."""
        return sorted({channel for each in self.overrides for channel in each.channels})

    def of(self, conversation: Conversation) -> Timing:
        """The timing of a conversation: what its bot's code has set, and else this policy."""
        timing = self.without_own(conversation)
        return conversation.own.over(timing) if conversation.own else timing

    def without_own(self, conversation: Conversation) -> Timing:
        """What the policy itself says of it. One that has no reference yet has the default."""
        where = conversation.reference
        return self.of_type(where.channel, where.type) if where else self.default

    def of_type(self, channel: str, type_: ConversationType) -> Timing:
        """The timing of a channel's conversations of a type."""
        return self._by_type.get((channel, type_), self._by_type[_ANY_OTHER, type_])

    def shortest_of(self, channel: str) -> Timing:
        """The timing of those conversations of a channel that may be idle for the shortest time."""
        return min(
            (self.of_type(channel, each) for each in ConversationType),
            key=lambda timing: timing.expire_after,
        )

    @cached_property
    def shortest(self) -> timedelta:
        """How long a conversation may be idle at least, whatever its channel and type."""
        return min(self._timeouts)

    @cached_property
    def longest(self) -> timedelta:
        """How long a conversation may be idle at most."""
        return max(self._timeouts)

    @cached_property
    def longest_kept(self) -> timedelta:
        """How long after its last use the state of a conversation may be needed at most."""
        return max(timing.expire_after + timing.resume_within for timing in self.timings)

    @cached_property
    def longest_resume(self) -> timedelta:
        """How long after its expiry a session may be resumed at most."""
        return max(timing.resume_within for timing in self.timings)

    @property
    def timings(self) -> Iterable[Timing]:
        """Every timing that holds for some conversation."""
        return self._by_type.values()

    @cached_property
    def first_step_after(self) -> timedelta:
        """How long after its last use something happens to a conversation at the earliest."""
        return min(timing.first_step_after for timing in self.timings)

    @cached_property
    def fingerprint(self) -> str:
        """The same as long as the steps of each conversation are; empty if there is one timeout."""
        steps = [
            (each.expire_after, *each.warnings, *([each.max_age] if each.max_age else []))
            for each in self.timings
        ]
        if all(each == (self.shortest,) for each in steps):
            return ""
        return sha256(repr((self.channels, steps)).encode()).hexdigest()[:16]

    @property
    def _timeouts(self) -> Iterator[timedelta]:
        return (timing.expire_after for timing in self.timings)

    @cached_property
    def _by_type(self) -> Mapping[tuple[str, ConversationType], Timing]:
        """The timings by channel and type; turns ask several times each."""
        found = {}
        for channel in (*self.channels, _ANY_OTHER):
            for type_ in ConversationType:
                timing = self.default
                for each in self.overrides:
                    if each.holds_for(channel, type_):
                        timing = each.over(timing)
                found[channel, type_] = timing
        return found
