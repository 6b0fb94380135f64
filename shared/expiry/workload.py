"""How much a sweep does at once, and for how long."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# Shares the process and its event loop with the messages function: more only adds lag there.
CONCURRENCY = 16
# Sends only wait, most of the time. With this many, a tenth of them hanging until their timeout
# leaves the others their pace.
SENDS_AT_ONCE = 256
# Each that waits for its place is 8 KiB, and work for every garbage collection, which stalls the
# loop: 100 ms for 5,000. A lane of 49 a second fills 45 s with 2,205.
WAITING_AT_ONCE = 2_500


class Workload:
    """The slots of one sweep, its places for sends and for waiting notices, and its budget.

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
        """The budget runs from now on."""
        self._started = self._clock()

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float:
        """What is left of the budget."""
        return max(self._budget_seconds - self.seconds, 0)

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Let others work while this one waits for something outside."""
        self.busy.release()
        try:
            yield
        finally:
            await self.busy.acquire()
