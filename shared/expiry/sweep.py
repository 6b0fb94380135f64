"""One sweep: look at every due row, the oldest first, within a budget.

The `Expirer` handles each row. Memory holds one page of each shard.
"""

import asyncio
import heapq
import logging
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.policy import Policy
from shared.domain.store import SweepStore
from shared.domain.times import CLOCK_SKEW
from shared.domain.work import DueRow, Refiling
from shared.expiry.expire import Expirer
from shared.expiry.notice import Hooks, Pace, SendNotice, SendWarning
from shared.expiry.report import SweepReport
from shared.expiry.workload import Workload

logger = logging.getLogger(__name__)

SHARDS_AT_ONCE = 4
REFILES_AT_ONCE = 50

# How often a long sweep logs its progress.
PROGRESS_SECONDS = 10


@dataclass
class _Shard:
    """A shard during a sweep, with the rest of its page."""

    name: str
    pages: AsyncIterator[Sequence[DueRow]]
    rows: deque[DueRow] = field(default_factory=deque)
    looked_through: bool = False


class Sweep:
    """One run over all shards, oldest first.

    Args:
        store: the store of the conversations.
        send_notice: see `Expirer`.
        finish_erasure: see `Expirer`.
        policy: which timing holds for which conversation.
        budget_seconds: when it is spent, no further due row is looked at.
        send_warning: see `Expirer`.
        hooks: see `Expirer`.
        pace: how fast the channels take notices; None: without limits.
        max_notice_age_seconds: no notice is sent if an expiry is later than this; None: no limit.
        now: the clock, in aware UTC.
        shards: sweep only these; None: all of them.
        ahead: due times (after, until) to look at as well: see `shared.expiry.timeout_change`.
        clock: the clock of the budget: a monotonic clock, in seconds.
        randomness: spreads retries, and decides between rows of the same second.
    """

    def __init__(
        self,
        store: SweepStore,
        send_notice: SendNotice,
        finish_erasure: Callable[[str], Awaitable[bool]],
        *,
        policy: Policy,
        budget_seconds: float,
        now: Callable[[], datetime],
        send_warning: SendWarning | None = None,
        hooks: Hooks | None = None,
        pace: Pace | None = None,
        max_notice_age_seconds: float | None = None,
        shards: Sequence[str] | None = None,
        ahead: tuple[datetime, datetime] | None = None,
        clock: Callable[[], float] = time.monotonic,
        randomness: random.Random | None = None,
    ) -> None:
        self._store = store
        self._now = now
        self._ahead = ahead
        self._shards = list(store.shards if shards is None else shards)
        self._refilings: dict[str, list[Refiling]] = {name: [] for name in self._shards}
        # Only to spread load: nobody gains from guessing it.
        self._random = randomness or random.Random()  # noqa: S311
        self._report = SweepReport()
        self._work = Workload(budget_seconds, clock)
        self._expirer = Expirer(
            store,
            send_notice,
            send_warning,
            finish_erasure,
            policy=policy,
            now=now,
            pace=pace,
            max_notice_age_seconds=max_notice_age_seconds,
            randomness=self._random,
            work=self._work,
            report=self._report,
            refile_later=self._refile_later,
            hooks=hooks,
        )

    async def run(self) -> SweepReport:
        """Sweep once.

        One conversation's failure is logged and counted, and stops no other. Rows that were not
        reached within the budget are due at the next run.
        """
        self._work.begin()
        progress = asyncio.create_task(self._log_progress())
        try:
            await self._sweep()
        finally:
            progress.cancel()
        self._report.seconds = self._work.seconds
        return self._report

    async def _log_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self._report.seconds = self._work.seconds
            logger.info("sweep: so far %s", self._report)

    @property
    def _must_stop(self) -> bool:
        return self._work.seconds_left == 0 or self._report.stopped

    async def _isolated(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except Exception:
            # No error may keep the other conversations from expiring.
            self._report.failed += 1
            logger.exception("sweep: %s failed; it stays due", what)

    async def _sweep(self) -> None:
        until = self._now() - CLOCK_SKEW
        shards = [_Shard(name, self._pages(name, until)) for name in self._shards]
        async with asyncio.TaskGroup() as tasks:
            async for shard, row in self._oldest_first(shards):
                async with self._work.waiting, self._work.sends:  # or waiting notices would pile up
                    pass
                await self._work.busy.acquire()
                if self._must_stop:
                    self._work.busy.release()
                    break
                tasks.create_task(self._look_at(row, until))
                if len(self._refilings[shard.name]) >= REFILES_AT_ONCE:
                    await self._work.busy.acquire()
                    tasks.create_task(self._refile(shard.name))
        for name in self._shards:
            await self._work.busy.acquire()
            await self._refile(name)
        self._report.unfinished = [each.name for each in shards if not each.looked_through]
        left = min((each.rows[0].due_seconds for each in shards if each.rows), default=math.inf)
        self._report.backlog_seconds = max(self._now().timestamp() - left, 0.0)

    async def _oldest_first(
        self, shards: Sequence["_Shard"]
    ) -> AsyncIterator[tuple["_Shard", DueRow]]:
        """The due rows of all shards, merged; memory holds one page of each."""
        at_once = asyncio.Semaphore(SHARDS_AT_ONCE)

        async def begin(shard: _Shard) -> None:
            async with at_once:
                await self._next_page(shard)

        await asyncio.gather(*(begin(shard) for shard in shards))
        # The random number decides between rows of the same second, so that two sweeps at once do
        # not take the same ones.
        heap = [
            (each.rows[0].due_seconds, self._random.random(), each) for each in shards if each.rows
        ]
        heapq.heapify(heap)
        while heap:
            shard = heap[0][2]
            yield shard, shard.rows.popleft()
            if not shard.rows:
                await self._next_page(shard)
            if shard.rows:
                entry = (shard.rows[0].due_seconds, self._random.random(), shard)
                heapq.heapreplace(heap, entry)
            else:
                heapq.heappop(heap)

    async def _next_page(self, shard: "_Shard") -> None:
        # A failure must not reach the task group. That would cancel the notices under way, and they
        # would be sent again.
        await self._isolated(self._read_page(shard), f"shard {shard.name}")

    async def _read_page(self, shard: "_Shard") -> None:
        """Read the shard's next page that is not empty, if there is one and there is time."""
        while not shard.rows and not self._must_stop:
            page = await anext(shard.pages, None)
            if page is None:
                shard.looked_through = True
                return
            shard.rows.extend(page)

    async def _pages(self, shard: str, until: datetime) -> AsyncIterator[Sequence[DueRow]]:
        async for page in self._store.due(shard, until):
            yield page
        if self._ahead:
            after, ahead_until = self._ahead
            async for page in self._store.due(shard, ahead_until, after=max(after, until)):
                yield page

    def _refile_later(self, row: DueRow, moved: DueRow | None) -> None:
        self._refilings[row.address.shard].append((row, moved))

    async def _refile(self, shard: str) -> None:
        # Taken out before the wait, because rows at work still add to the list.
        batch, self._refilings[shard] = self._refilings[shard], []
        try:
            if batch:
                await self._isolated(self._store.refile(batch), f"shard {shard}")
                self._report.refiled += sum(moved is not None for _, moved in batch)
        finally:
            self._work.busy.release()

    async def _look_at(self, row: DueRow, until: datetime) -> None:
        try:
            work = self._expirer.handle(row, until)
            await self._isolated(work, f"conversation {row.address.shard}/{row.address.key}")
        finally:
            self._work.busy.release()
