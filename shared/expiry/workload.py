"""How much a sweep does at once, and its budget."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# A sweep shares the process and its event loop with the messages function: more rows at once would
# only delay messages.
CONCURRENCY = 16
# Sends mostly wait. With this many, the others keep their pace even if a tenth of them hang until
# their timeout.
SENDS_AT_ONCE = 256
# Each waiting notice takes 8 KiB, and time in every garbage collection, which stalls the loop:
# 100 ms for 5,000. At 49 notices a second, a budget of 45 s takes 2,205.
WAITING_AT_ONCE = 2_500


class Workload:
    """The limits of one sweep: rows at work, sends under way, waiting notices, and its budget.

    Args:
        budget_seconds: no further due row is looked at once this is spent.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, budget_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.busy = asyncio.Semaphore(CONCURRENCY)
        self.sends = asyncio.Semaphore(SENDS_AT_ONCE)
        self.waiting = asyncio.Semaphore(WAITING_AT_ONCE)
        self.stopped = asyncio.Event()
        self._budget_seconds = budget_seconds
        self._clock = clock
        self._started = clock()

    def begin(self) -> None:
        """Start the budget."""
        self._started = self._clock()

    @property
    def seconds(self) -> float:
        """How long the sweep has been running."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float:
        """The rest of the budget."""
        return max(self._budget_seconds - self.seconds, 0)

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Let another row be worked on while this one waits."""
        self.busy.release()
        try:
            yield
        finally:
            await self.busy.acquire()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """One of the sends under way; other rows are worked on while it waits to begin."""
        async with self.idle():
            await self.sends.acquire()
        try:
            yield
        finally:
            self.sends.release()
