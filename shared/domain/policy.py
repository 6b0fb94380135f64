"""Which timing holds for which conversation: defaults, and overrides of which later ones win."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from hashlib import sha256

from shared.domain.conversation import Conversation
from shared.domain.reference import ConversationType
from shared.domain.timing import Timing


@dataclass(frozen=True, slots=True)
class Override:
    """Other values for some conversations.

    Attributes:
        channels: ids of channels; empty: every channel.
        types: kinds of conversations; empty: every kind.
        expire_after: how long they may be idle; None: as before this override.
        notify: whether their users are told; None: as before this override.
        notify_within: how long after its last use they are told; None: as before this override.
        sources: see `Timing`; of the values that are not None.
    """

    channels: frozenset[str] = frozenset()
    types: frozenset[ConversationType] = frozenset()
    expire_after: timedelta | None = None
    notify: bool | None = None
    notify_within: timedelta | None = None
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
            notify=timing.notify if self.notify is None else self.notify,
            notify_within=self.notify_within or timing.notify_within,
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

    @property
    def channels(self) -> Sequence[str]:
        """The ids of the channels that it names."""
        return sorted({channel for each in self.overrides for channel in each.channels})

    def of(self, conversation: Conversation) -> Timing:
        """The timing of a conversation. One that has no reference yet has the default."""
        where = conversation.reference
        return self.of_type(where.channel, where.type) if where else self.default

    def of_type(self, channel: str, type_: ConversationType) -> Timing:
        """The timing of a channel's conversations of a type."""
        timing = self.default
        for each in self.overrides:
            if each.holds_for(channel, type_):
                timing = each.over(timing)
        return timing

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
    def fingerprint(self) -> str:
        """The same as long as each conversation's timeout is; empty if there are no overrides."""
        timeouts = [
            (sorted(each.channels), sorted(each.types), each.expire_after.total_seconds())
            for each in self.overrides
            if each.expire_after is not None
        ]
        return sha256(repr(timeouts).encode()).hexdigest()[:16] if timeouts else ""

    @property
    def _timeouts(self) -> Sequence[timedelta]:
        own = (each.expire_after for each in self.overrides)
        return [self.default.expire_after, *(each for each in own if each is not None)]
