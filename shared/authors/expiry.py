"""For authors of bots: another time for one conversation, set by the bot's own code.

::

    from shared.authors import expiry

    expiry.set(turn_context, expire_after=timedelta(hours=8))
    expiry.keep_until(turn_context, order.ready_at)

Nothing here makes a request: what is set is saved with the turn. It holds until the conversation's
session ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from botbuilder.core import TurnContext

from shared.domain.timing import NEVER, TIME_TO_ANSWER, Bounds, OwnTiming, Timing

__all__ = ["NEVER", "Timing", "keep_until", "of", "set"]

_KEY = "shared.authors.expiry"
_LONGEST = timedelta(days=3650)


class _Unchanged:
    """A value that is not given."""


_UNCHANGED: Final = _Unchanged()


@dataclass(slots=True)
class OfTurn:
    """The time of a turn's conversation, as the bot's code sees and sets it.

    Attributes:
        policy: what holds where the code has set nothing.
        own: what the code has set.
        bounds: what it may set.
        now: when the turn began, in aware UTC.
    """

    policy: Timing
    own: OwnTiming
    bounds: Bounds
    now: datetime

    def put_into(self, turn_context: TurnContext) -> None:
        """Let the bot's code find it."""
        turn_context.turn_state[_KEY] = self


def set(  # noqa: A001 - read as expiry.set
    turn_context: TurnContext,
    *,
    expire_after: timedelta | _Unchanged | None = _UNCHANGED,
    warn_before: Sequence[timedelta] | _Unchanged | None = _UNCHANGED,
    notify: bool | _Unchanged | None = _UNCHANGED,
) -> None:
    """Set the time of this conversation, until its session ends. What is left out stays.

    Args:
        turn_context: of the turn under way.
        expire_after: how long it may be idle, from one second to ten years; `NEVER`: for ever,
            though the policy's `max_age` still ends it. None: as the policy says.
        warn_before: how long before the deadline its users are warned. None: as the policy says.
        notify: whether its users are told, and warned. None: as the policy says.

    Raises:
        ValueError: a value is out of its bounds; nothing was set.
        TypeError: a value has another type; nothing was set.
        RuntimeError: this is no turn of a conversation that can be timed.
    """
    turn = _turn(turn_context)
    own = turn.own
    if not isinstance(expire_after, _Unchanged):
        own = replace(own, expire_after=_checked_timeout(expire_after, turn.bounds))
    if not isinstance(warn_before, _Unchanged):
        own = replace(own, warn_before=_checked_warnings(warn_before, turn.bounds))
    if not isinstance(notify, _Unchanged):
        if not isinstance(notify, bool | None):
            raise TypeError(f"notify is {notify!r}; it must be True, False or None")
        own = replace(own, notify=notify)
    timing = own.over(turn.policy)
    for each in own.warn_before or ():
        if not timing.has_room_for(each):
            raise ValueError(
                f"warn_before has {each}; it must be {TIME_TO_ANSWER.seconds} s shorter than"
                f" expire_after ({timing.expire_after}) or more: else users are warned who have"
                " just written"
            )
    turn.own = own


def keep_until(turn_context: TurnContext, moment: datetime | None) -> None:
    """Keep this conversation at least until then, however long it is idle: it waits for us.

    A message of its user does not change that. The policy's `max_age` still ends it.

    Args:
        turn_context: of the turn under way.
        moment: an aware time, at most ten years ahead; None: no such time any more.

    Raises:
        ValueError: the time is not aware, too far ahead, or state would be gone by then; nothing
            was set.
        RuntimeError: this is no turn of a conversation that can be timed.
    """
    turn = _turn(turn_context)
    if moment is not None:
        if moment.tzinfo is None:
            raise ValueError(f"the moment is {moment}; it must be aware: it needs a time zone")
        _check_idle("the moment", moment, moment - turn.now, turn.bounds)
        moment = moment.astimezone(UTC)
    turn.own = replace(turn.own, keep_until=moment)


def of(turn_context: TurnContext) -> Timing:
    """What holds for this conversation now; its `sources` say where each value stands.

    Raises:
        RuntimeError: this is no turn of a conversation that can be timed.
    """
    turn = _turn(turn_context)
    return turn.own.over(turn.policy)


def set_in(turn_context: TurnContext) -> OwnTiming | None:
    """What the bot's code has set for the conversation, in this turn or before; None: nothing."""
    own = _found(turn_context).own
    return own if own != OwnTiming() else None


def _turn(turn_context: TurnContext) -> OfTurn:
    turn = _found(turn_context)
    if not turn.bounds.is_tracked:
        raise RuntimeError(
            "the time to live of Cosmos DB alone ends conversations here: their time cannot be set"
        )
    return turn


def _found(turn_context: TurnContext) -> OfTurn:
    turn = turn_context.turn_state.get(_KEY)
    if not isinstance(turn, OfTurn):
        raise RuntimeError(  # noqa: TRY004 - the context's state is wrong, not a type
            "this context is of no turn: it has no conversation that could expire"
        )
    return turn


def _checked_timeout(expire_after: timedelta | None, bounds: Bounds) -> timedelta | None:
    if expire_after is None:
        return None
    if not isinstance(expire_after, timedelta):
        raise TypeError(f"expire_after is {expire_after!r}; it must be a timedelta or None")
    if expire_after < timedelta(seconds=1):
        raise ValueError(f"expire_after is {expire_after}; it must be one second or more")
    is_never = expire_after == NEVER and bounds.most_idle is None
    if not is_never:
        _check_idle("expire_after", expire_after, expire_after, bounds)
    return expire_after


def _check_idle(name: str, value: object, idle: timedelta, bounds: Bounds) -> None:
    if bounds.most_idle is not None and idle > bounds.most_idle:
        raise ValueError(
            f"{name} is {value}; the conversation may be idle for {bounds.most_idle} at most, as"
            " its state is gone after CosmosDbTimeToLive"
        )
    if idle > _LONGEST:
        raise ValueError(f"{name} is {value}; it must be within ten years")


def _checked_warnings(
    warn_before: Sequence[timedelta] | None, bounds: Bounds
) -> tuple[timedelta, ...] | None:
    if warn_before is None:
        return None
    for each in warn_before:
        if not isinstance(each, timedelta):
            raise TypeError(f"warn_before has {each!r}; it must be a list of timedeltas")
        if each < bounds.least_warning:
            raise ValueError(
                f"warn_before has {each}; it must be {bounds.least_warning} or more: a person has"
                f" {TIME_TO_ANSWER.seconds} s to answer (WCAG 2.2.1), and the timer has an interval"
            )
    return tuple(sorted(frozenset(warn_before), reverse=True))
