"""One sweep: look at every due row, re-file the live, expire the idle, settle the notified.

    due row ── conversation gone, or of another session ──────────────► delete the due row
            ── touched since it was filed ────────────────────────────► re-file it
            ── expired, and leased by another sweep ──────────────────► leave it
            ── idle: CLAIM (one conditional write: state gone, leased)
                 ── write refused: the user is back, or another sweep ► leave it
                 ── notice delivered, refused for good, or given up ──► SETTLE: delete the row,
                 │                                                       then the due row
                 ── notice to be tried again ─────────────────────────► re-file at that time
                 ── our own credentials refused ──────────────────────► stop the sweep

The claim is the commit. The due row stays until the end, so whatever a crash leaves undone is due
again. No step waits: what has to wait is re-filed. Every promise: docs/architecture.md.
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from shared.conversations import (
    CLOCK_SKEW,
    ERASURE,
    LEASE,
    ConflictError,
    Conversation,
    ConversationStore,
    DueRow,
    StateUnreadableError,
    Status,
    StoreError,
    due_seconds,
)

logger = logging.getLogger(__name__)

# Shares the process and its event loop with the messages function: more only adds lag there.
CONCURRENCY = 16
SHARDS_AT_ONCE = 4

# How often a long sweep says how far it is.
PROGRESS_SECONDS = 10

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(hours=24)


class Verdict(Enum):
    """What became of one notice."""

    DELIVERED = "delivered"
    NOT_WANTED = "not wanted"  # notices are off, or there is nowhere to send one
    REFUSED = "refused"  # the channel will never take it
    TRY_LATER = "try later"
    STOP = "stop"  # our own credentials: no other notice would fare better


@dataclass(frozen=True, slots=True)
class NoticeResult:
    """One notice's outcome; `status` is the channel's HTTP status, None where it gave none."""

    verdict: Verdict
    status: int | None = None
    retry_after_seconds: float | None = None


SendNotice = Callable[[Conversation], Awaitable[NoticeResult]]


@dataclass
class SweepReport:
    """What one sweep did. Lateness runs from the moment a conversation became stale."""

    looked_at: int = 0
    refiled: int = 0
    expired: int = 0
    came_back: int = 0
    notified: int = 0
    left_to_others: int = 0
    finished_already: int = 0
    retried_later: int = 0
    given_up: int = 0
    too_old: int = 0
    failed: int = 0
    notice_failures: Counter[str] = field(default_factory=Counter)
    lateness_seconds: list[float] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    requests: int = 0
    unfinished: list[str] = field(default_factory=list, repr=False)
    stopped: bool = False

    @property
    def complete(self) -> bool:
        """Whether every shard was looked through to its end."""
        return not self.unfinished

    def lateness(self, percent: int) -> float:
        """The lateness, in seconds, that `percent` of the expiries stayed within; 0 if none."""
        if not self.lateness_seconds:
            return 0.0
        ranked = sorted(self.lateness_seconds)
        return ranked[math.ceil(len(ranked) * percent / 100) - 1]

    def __str__(self) -> str:
        """One line for the log: the counts that are not zero."""
        names = (
            "looked_at",
            "refiled",
            "expired",
            "came_back",
            "notified",
            "left_to_others",
            "finished_already",
            "retried_later",
            "given_up",
            "too_old",
            "failed",
        )
        counts = [f"{name.replace('_', ' ')} {getattr(self, name)}" for name in names]
        parts = [part for part in counts if not part.endswith(" 0")] or ["nothing due"]
        failures = ", ".join(f"{status}: {n}" for status, n in self.notice_failures.items())
        if failures:
            parts.append(f"notice failures {{{failures}}}")
        if self.lateness_seconds:
            parts.append(f"lateness p50 {self.lateness(50):.1f} s p99 {self.lateness(99):.1f} s")
        parts.append(f"{self.seconds:.2f} s")
        parts.append(f"{self.requests} requests")
        if self.stopped:
            parts.append("stopped: the channel refused the bot's credentials")
        elif not self.complete:
            parts.append(f"{len(self.unfinished)} shards unfinished: the next sweep goes on")
        return ", ".join(parts)


class Sweep:
    """One run over all shards.

    Args:
        store: where the conversations are.
        send_notice: tells a user that the conversation expired; never raises for a channel's
            refusal, and answers within half a lease.
        finish_erasure: goes on with the erasure of a user (by hash) that a crash interrupted;
            answers whether it is complete.
        expire_after: how long a conversation may be idle.
        budget_seconds: no further due row is looked at once this is spent.
        max_notice_age_seconds: no notice is sent of an expiry later than this; None: always.
        now: the clock, in aware UTC.
        shards: sweep these only; None: all of them.
        ahead: the due times (after, until) to look at as well: see `shared.timeout_change`.
        randomness: shuffles the shards and spreads retries.
    """

    def __init__(
        self,
        store: ConversationStore,
        send_notice: SendNotice,
        finish_erasure: Callable[[str], Awaitable[bool]],
        *,
        expire_after: timedelta,
        budget_seconds: float,
        now: Callable[[], datetime],
        max_notice_age_seconds: float | None = None,
        shards: Sequence[str] | None = None,
        ahead: tuple[datetime, datetime] | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._store = store
        self._send_notice = send_notice
        self._finish_erasure = finish_erasure
        self._expire_after = expire_after
        self._budget_seconds = budget_seconds
        self._now = now
        self._max_notice_age_seconds = max_notice_age_seconds
        self._ahead = ahead
        self._shards = list(store.shards if shards is None else shards)
        # Only to spread load: nobody gains from guessing it.
        self._random = randomness or random.Random()  # noqa: S311
        self._report = SweepReport()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._started = 0.0

    async def run(self) -> SweepReport:
        """Sweep once.

        One conversation's failure is logged and counted, and stops no other; what was not
        reached within the budget is due at the next run.
        """
        self._started = time.monotonic()
        # Two sweeps at once should not follow each other from shard to shard.
        self._random.shuffle(self._shards)
        shards_at_once = asyncio.Semaphore(SHARDS_AT_ONCE)

        async def sweep_shard(shard: str) -> None:
            async with shards_at_once:
                await self._isolated(self._sweep_shard(shard), f"shard {shard}")

        progress = asyncio.create_task(self._log_progress())
        try:
            await asyncio.gather(*(sweep_shard(shard) for shard in self._shards))
        finally:
            progress.cancel()
        self._report.seconds = time.monotonic() - self._started
        return self._report

    async def _log_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self._report.seconds = time.monotonic() - self._started
            logger.info("sweep: so far %s", self._report)

    @property
    def _must_stop(self) -> bool:
        spent = time.monotonic() - self._started >= self._budget_seconds
        return spent or self._report.stopped

    async def _isolated(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except Exception:
            # Whatever it is, it must not keep the other conversations from expiring.
            self._report.failed += 1
            logger.exception("sweep: %s failed; it stays due", what)

    async def _sweep_shard(self, shard: str) -> None:
        until = self._now() - CLOCK_SKEW
        touched: list[tuple[DueRow, int]] = []
        failure: StoreError | None = None
        async with asyncio.TaskGroup() as rows:
            try:
                finished = await self._look_through(shard, until, touched, rows)
            except StoreError as error:
                # Raised in here, it would make the group cancel the notices that are under way.
                finished, failure = False, error
        if not finished:
            self._report.unfinished.append(shard)
        await self._refile(touched)
        if failure:
            raise failure

    async def _look_through(
        self,
        shard: str,
        until: datetime,
        touched: list[tuple[DueRow, int]],
        rows: asyncio.TaskGroup,
    ) -> bool:
        """Begin to look at each due row of the shard; returns whether there was time for all."""
        if self._must_stop:
            return False
        async for page in self._pages(shard, until):
            for row in page:
                await self._slots.acquire()
                if self._must_stop:
                    self._slots.release()
                    return False
                rows.create_task(self._look_at(row, until, touched))
            await self._refile(touched)
        return True

    async def _pages(self, shard: str, until: datetime) -> AsyncIterator[Sequence[DueRow]]:
        async for page in self._store.due(shard, until):
            yield page
        if self._ahead:
            after, ahead_until = self._ahead
            async for page in self._store.due(shard, ahead_until, after=max(after, until)):
                yield page

    async def _refile(self, touched: list[tuple[DueRow, int]]) -> None:
        if touched:
            # Taken out before the wait: rows still being looked at go on adding to the list.
            batch, touched[:] = list(touched), []
            await self._store.refile(batch)
            self._report.refiled += len(batch)

    async def _look_at(
        self, row: DueRow, until: datetime, touched: list[tuple[DueRow, int]]
    ) -> None:
        try:
            work = self._handle(row, until, touched)
            await self._isolated(work, f"conversation {row.address.shard}/{row.address.key}")
        finally:
            self._slots.release()

    async def _handle(
        self, row: DueRow, until: datetime, touched: list[tuple[DueRow, int]]
    ) -> None:
        self._report.looked_at += 1
        if row.session == ERASURE:
            if await self._finish_erasure(row.address.key):
                await self._store.clean_up(row, has_private=False)
            return
        try:
            conversation = await self._store.load_tracking(row.address)
        except StateUnreadableError as error:
            logger.error("sweep: %s; removed", error)  # noqa: TRY400 - it names the row
            self._report.failed += 1
            await self._store.discard(row.address, error.etag)
            conversation = None
        if conversation is None or conversation.session != row.session:
            # The session ended without this row, and nothing says any more what it left.
            await self._store.clean_up(row, has_private=True)
            self._report.finished_already += 1
        elif conversation.status is Status.EXPIRED:
            if conversation.lease_until and conversation.lease_until > self._now():
                self._report.left_to_others += 1
            else:
                await self._expire(conversation, row)
        elif conversation.is_stale(until, self._expire_after):
            await self._expire(conversation, await self._moved_up(row, conversation))
        else:
            touched.append((row, conversation.due(self._expire_after)))

    async def _moved_up(self, row: DueRow, conversation: Conversation) -> DueRow:
        """The due row, moved if a longer timeout filed it.

        Whatever comes in between from here on, what is left to do must not wait until then.
        """
        due = conversation.due(self._expire_after)
        if row.due_seconds <= due:
            return row
        await self._store.refile([(row, due)])
        return replace(row, due_seconds=due)

    async def _expire(self, conversation: Conversation, row: DueRow) -> None:
        first_time = conversation.status is Status.ACTIVE
        claimed_at = self._now()
        try:
            claimed = await self._store.save(conversation.claimed(claimed_at))
        except ConflictError:
            self._report.came_back += 1
            return
        stale_since = conversation.last_accessed + self._expire_after
        lateness_seconds = (claimed_at - stale_since).total_seconds()
        if first_time:
            self._report.expired += 1
            self._report.lateness_seconds.append(lateness_seconds)
        if self._report.stopped or self._now() - claimed_at >= LEASE / 2:
            return  # held up: by the time the channel answers, another sweep may hold the lease
        limit = self._max_notice_age_seconds
        if limit is not None and lateness_seconds > limit:
            self._report.too_old += 1
            await self._conclude(claimed, row, NoticeResult(Verdict.NOT_WANTED))
        else:
            await self._conclude(claimed, row, await self._send_notice(claimed))

    async def _conclude(self, claimed: Conversation, row: DueRow, result: NoticeResult) -> None:
        now = self._now()
        if result.verdict is Verdict.DELIVERED:
            self._report.notified += 1
        elif result.verdict is not Verdict.NOT_WANTED:
            self._report.notice_failures[str(result.status or "no answer")] += 1
        if result.verdict is Verdict.STOP:
            self._report.stopped = True
            return
        if result.verdict is Verdict.TRY_LATER:
            if claimed.expired_at is None or now - claimed.expired_at < GIVE_UP_AFTER:
                await self._retry_later(claimed, row, now, result.retry_after_seconds)
                return
            self._report.given_up += 1
            logger.warning(
                "sweep: conversation %s/%s: notice given up after %d attempts",
                row.address.shard,
                row.address.key,
                claimed.attempts,
            )
        try:
            await self._store.settle(claimed)
        except ConflictError:
            self._report.left_to_others += 1
            return
        await self._store.clean_up(row, has_private=False)  # settling has removed them

    async def _retry_later(
        self,
        claimed: Conversation,
        row: DueRow,
        now: datetime,
        retry_after_seconds: float | None,
    ) -> None:
        wait = min(FIRST_RETRY * 2 ** min(claimed.attempts - 1, 30), LONGEST_RETRY)
        wait *= self._random.uniform(0.8, 1.2)  # many notices failed at once: spread them
        wait = max(wait, timedelta(seconds=retry_after_seconds or 0))
        wait = min(max(wait, FIRST_RETRY), LONGEST_RETRY)
        due = due_seconds(now + wait)
        leased = replace(claimed, lease_until=now + wait)
        try:
            await self._store.retry_later(leased, row, due)
            self._report.retried_later += 1
        except ConflictError:
            self._report.left_to_others += 1
