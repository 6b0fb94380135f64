"""Fan-out: shards that a sweep did not finish become messages, and the platform adds readers.

A message is only a hint: what is due stays due in the table. If a message is lost, late or doubled,
it costs at most one look at its shard, and the next timer run finds what is left.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.domain.errors import StorageUnavailableError

logger = logging.getLogger(__name__)

PUTS_AT_ONCE = 8


class InvalidMessageError(ValueError):
    """A message names no shard of this table; trying it again does not help."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was read; `receipt` is empty for one that was only looked at."""

    id: str
    text: str
    dequeue_count: int
    receipt: str = ""


class Queue(Protocol):
    """A queue. The first message that is put makes it. Each method is at least one request.

    Each may raise StorageUnavailableError; a write that raises it may still have happened.
    """

    async def put(self, text: str, *, after_seconds: int = 0) -> None:
        """Add a message, which readers get after these seconds."""

    async def receive(self, hidden_seconds: int) -> Message | None:
        """A message that no other reader gets for this time, or None."""

    async def hide(self, message: Message, seconds: int) -> None:
        """Show a received message to the next reader after these seconds."""

    async def delete(self, message: Message) -> None:
        """Remove a received message, unless another reader has received it by now."""

    async def peek(self) -> Sequence[Message]:
        """Up to 32 messages that no reader has at the moment; they do not change."""

    async def count(self) -> int:
        """The approximate number of messages, also of those that readers have."""


def poison_name(queue: str) -> str:
    """The queue to which the Functions host moves messages that fail again and again."""
    return f"{queue}-poison"


def message_for(shard: str) -> str:
    """The text of a message that asks for a shard's sweep."""
    return json.dumps({"shard": shard})


def shard_of(message: bytes) -> str:
    """The shard that a message names.

    Raises:
        InvalidMessageError: it names none.
    """
    try:
        shard = json.loads(message)["shard"]
    except (ValueError, LookupError, TypeError, RecursionError):
        shard = None
    if not isinstance(shard, str):
        raise InvalidMessageError('a message must be {"shard": "sNNN"}')
    return shard


class FanOut:
    """The two queues, as the sweep uses them.

    Args:
        queue: the queue of shards to sweep.
        poison: the queue of messages that failed too often.
        most: the timer's sweeps put no more messages than this: the number of shards.
    """

    def __init__(self, queue: Queue, poison: Queue, *, most: int) -> None:
        self._queue = queue
        self._poison = poison
        self._most = most

    async def hand_over(self, unfinished: Sequence[str]) -> None:
        """Put a message for each of these shards; a failure is logged."""
        handed_over = 0
        slots = asyncio.Semaphore(PUTS_AT_ONCE)

        async def put(shard: str) -> None:
            nonlocal handed_over
            async with slots:
                await self.put(shard)
            handed_over += 1

        try:
            # An unfinished shard asks for itself again. If every run of the timer also added it, a
            # long backlog would gather messages without end.
            room = max(self._most - await self._queue.count(), 0)
            async with asyncio.TaskGroup() as puts:
                for shard in unfinished[:room]:
                    puts.create_task(put(shard))
        except* StorageUnavailableError as errors:
            logger.warning("fan-out: not all shards could be handed over: %s", errors.exceptions[0])
        logger.info("fan-out: %d of %d shards handed over", handed_over, len(unfinished))

    async def put(self, shard: str, *, after_seconds: int = 0) -> None:
        """Ask for a shard's sweep, after these seconds.

        Raises:
            StorageUnavailableError: the message may not be there.
        """
        await self._queue.put(message_for(shard), after_seconds=after_seconds)

    async def warn_of_poison(self) -> None:
        """Log how many messages failed for good, if any: one request."""
        try:
            count = await self._poison.count()
        except StorageUnavailableError as error:
            logger.warning("fan-out: the poison queue could not be looked at: %s", error)
            return
        if count:
            logger.warning(
                "fan-out: about %d messages in the poison queue;"
                " `python -m shared.cli poison list` shows them",
                count,
            )
