"""How the inbox of `LongTurns` is doing: what waits in it, and whether anybody sees to it."""

import logging
from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import StorageUnavailableError
from shared.domain.inbox import Inbox
from shared.expiry.fan_out import Queue

logger = logging.getLogger(__name__)

# The timer wakes after a minute what nobody has taken. What waits for so long, and no run works on
# its conversation, waits for a queue function that is off or too slow.
LATE_AFTER_SECONDS = 300


@dataclass(frozen=True, slots=True)
class InboxFacts:
    """The facts about the inbox.

    Attributes:
        waiting: the number of activities.
        oldest_seconds: how long the oldest has waited in a conversation that no run works on.
        is_on: whether there is a function that takes their turns.
    """

    waiting: int
    oldest_seconds: float
    is_on: bool

    @property
    def trouble(self) -> str:
        """What is wrong, in a line; empty if nothing is."""
        if self.waiting and not self.is_on:
            return f"LongTurns is off, and {self.waiting:,} activities wait for it"
        if self.oldest_seconds > LATE_AFTER_SECONDS:
            minutes = self.oldest_seconds / 60
            return f"Activities wait for their turns, {self.waiting:,}, for up to {minutes:.0f} min"
        return ""


class InboxWatch:
    """Looks at the inbox.

    Args:
        inbox: the inbox; if LongTurns never was on, its table is missing.
        poison: the queue of its messages that failed too often; None: LongTurns is off.
    """

    def __init__(self, inbox: Inbox, poison: Queue | None) -> None:
        self._inbox = inbox
        self._poison = poison
        self._may_hold_some = True

    async def look(self, now: datetime) -> InboxFacts | None:
        """The facts; None if LongTurns is off and nothing is left: then nobody fills it any more.

        Raises:
            StorageUnavailableError: LongTurns is on, and there was no answer.
        """
        if not self._may_hold_some:
            return None
        is_on = self._poison is not None
        try:
            facts = await self._facts(now, is_on=is_on)
        except StorageUnavailableError:
            if is_on:
                raise
            self._may_hold_some = False  # most likely there is no such table
            return None
        self._may_hold_some = is_on or facts.waiting > 0
        return facts if self._may_hold_some else None

    async def _facts(self, now: datetime, *, is_on: bool) -> InboxFacts:
        count = 0
        oldest: dict[str, datetime] = {}
        leased: set[str] = set()
        async for page in self._inbox.waiting_since(now):
            for each in page:
                count += 1
                before = oldest.get(each.conversation, each.received_at)
                oldest[each.conversation] = min(each.received_at, before)
                if each.is_leased(now):
                    leased.add(each.conversation)
        idle = [at for conversation, at in oldest.items() if conversation not in leased]
        age = (now - min(idle)).total_seconds() if idle else 0.0
        return InboxFacts(count, age, is_on)

    async def warn(self, now: datetime) -> None:
        """Log what an operator must know.

        Raises:
            StorageUnavailableError: there was no answer.
        """
        if self._poison is None:
            facts = await self.look(now)
            if facts:
                logger.warning("inbox: %s: turn it on until they are answered", facts.trouble)
            return
        count = await self._poison.count()
        if count:
            logger.warning(
                "inbox: about %d messages in the poison queue;"
                " `python -m shared.cli poison list` shows them",
                count,
            )
