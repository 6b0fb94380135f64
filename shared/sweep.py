"""One sweep: look at every due row, re-file the live, expire the idle, settle the notified.

    due row ── conversation gone, or of another session ──────────────► delete the due row
            ── touched since it was filed ────────────────────────────► re-file it
            ── expired, and leased by another sweep ──────────────────► leave it
            ── idle, its channel takes no more notices for now ────────► CLAIM and re-file at once
            ── idle: CLAIM (one conditional write: state gone, leased)
                 ── write refused: the user is back, or another sweep ► leave it
                 ── notice delivered, or refused for good ────────────► SETTLE: delete the row,
                 │                                                       then the due row
                 ── notice to be tried again ─────────────────────────► re-file at that time
                 ── no use in trying (again) ─────────────────────────► a dead letter in the
                 │                                                       place of both rows
                 ── our own credentials refused ──────────────────────► stop the sweep

The claim is the commit. The due row stays until the end, so whatever a crash leaves undone is due
again. Who waits for a place among the notices (docs/sending.md) holds no claim; what has to wait
for longer than the sweep is re-filed. Every promise: docs/architecture.md.
"""

import asyncio
import heapq
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from shared.conversations import (
    CLOCK_SKEW,
    ERASURE,
    LEASE,
    ConflictError,
    Conversation,
    ConversationStore,
    DeadLetter,
    DueRow,
    StateUnreadableError,
    Status,
    due_seconds,
)

logger = logging.getLogger(__name__)

# Shares the process and its event loop with the messages function: more only adds lag there.
CONCURRENCY = 16
# Sends only wait, most of the time. With this many, a tenth of them hanging until their timeout
# leaves the others their pace.
SENDS_AT_ONCE = 256
# Each that waits for its place is 8 KiB, and work for every garbage collection, which stalls the
# loop: 100 ms for 5,000. A lane of 49 a second fills 45 s with 2,205.
WAITING_AT_ONCE = 2_500
SHARDS_AT_ONCE = 4
REFILES_AT_ONCE = 50

# How often a long sweep says how far it is.
PROGRESS_SECONDS = 10

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
LONGEST_ASKED_FOR = timedelta(days=1)  # a channel that asks for more is tried all the same
GIVE_UP_AFTER = timedelta(hours=24)

_LONGEST_CODE = 100


class Verdict(Enum):
    """What became of one notice."""

    DELIVERED = "delivered"
    NOT_WANTED = "not wanted"  # notices are off, or there is nowhere to send one
    TOO_OLD = "too old"  # not sent: the expiry is too long ago
    REFUSED = "refused"  # the channel takes no more for this conversation
    TRY_LATER = "try later"
    DEAD = "dead"  # sending it again would fail the same way
    STOP = "stop"  # our own credentials: no other notice would fare better


@dataclass(frozen=True, slots=True)
class NoticeResult:
    """What became of one notice.

    Attributes:
        verdict: what to do with it.
        status: the channel's HTTP status, None where it gave none.
        retry_after_seconds: how long the channel asks to be left alone, if it says so.
        code: the channel's own word for a failure, if it gave one.
        service_url: with TRY_LATER, the address to try then; empty: the same again.
        detail: a failure in words, for the log.
    """

    verdict: Verdict
    status: int | None = None
    retry_after_seconds: float | None = None
    code: str = ""
    service_url: str = ""
    detail: str = ""


SendNotice = Callable[[Conversation], Awaitable[NoticeResult]]


@dataclass(frozen=True, slots=True)
class Place:
    """A notice's place in the line.

    Attributes:
        seconds: until it may go or, if there is no place for it, until it may ask again.
        granted: whether there is a place for it.
        at: whatever the `Pace` knows it by.
    """

    seconds: float
    granted: bool = True
    at: float = 0.0


class Pace(Protocol):
    """How fast the channels take notices."""

    def place(self, conversation: Conversation, within_seconds: float) -> Place:
        """The notice's place in the line, if that is reached within so many seconds."""

    def reached(self, conversation: Conversation, place: Place) -> Place:
        """What has become of a place whose time has come: 0 seconds, or others went first."""


class AtOnce:
    """A `Pace` without limits."""

    def place(self, conversation: Conversation, within_seconds: float) -> Place:
        """See `Pace.place`."""
        del conversation, within_seconds
        return Place(0)

    def reached(self, conversation: Conversation, place: Place) -> Place:
        """See `Pace.reached`."""
        del conversation
        return place


@dataclass
class SweepReport:
    """What one sweep did. Lateness runs from the moment a conversation became stale.

    Each expiry is counted once among `notified`, `silent`, `too_old`, `refused`, `dead_lettered`
    and `superseded`, by the sweep that ended it, unless the store's answer to that is lost.

    Attributes:
        looked_at: due rows.
        refiled: conversations in use.
        expired: claimed for the first time.
        came_back: not claimed, as another writer was first.
        notified: the channel took the notice.
        silent: no notice, as they are off, or there is nowhere to send one.
        too_old: no notice, as the expiry is too long ago.
        refused: the channel takes no more for the conversation.
        dead_lettered: the notice is kept as a dead letter.
        superseded: the user was back before the expiry, or its notice, was done.
        retried_later: notices re-filed, as they failed.
        told_later: notices re-filed before they were sent, as their channel takes no more now.
        left_to_others: another sweep has the conversation, or a later one will see the user back.
        finished_already: due rows of what had ended before.
        failed: what failed unexpectedly, and stays due.
        notice_failures: by the channel's HTTP status.
        backlog_seconds: how overdue the oldest due row is that was not reached.
    """

    looked_at: int = 0
    refiled: int = 0
    expired: int = 0
    came_back: int = 0
    notified: int = 0
    silent: int = 0
    too_old: int = 0
    refused: int = 0
    dead_lettered: int = 0
    superseded: int = 0
    retried_later: int = 0
    told_later: int = 0
    left_to_others: int = 0
    finished_already: int = 0
    failed: int = 0
    notice_failures: Counter[str] = field(default_factory=Counter)
    lateness_seconds: list[float] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    backlog_seconds: float = 0.0
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
            "silent",
            "too_old",
            "refused",
            "dead_lettered",
            "superseded",
            "retried_later",
            "told_later",
            "left_to_others",
            "finished_already",
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


@dataclass
class _Shard:
    """A shard during a sweep: the rest of its page, and rows to be filed again."""

    name: str
    pages: AsyncIterator[Sequence[DueRow]]
    rows: deque[DueRow] = field(default_factory=deque)
    touched: list[tuple[DueRow, int]] = field(default_factory=list)
    looked_through: bool = False


class Sweep:
    """One run over all shards, oldest first.

    Args:
        store: where the conversations are.
        send_notice: tells a user that the conversation expired; never raises for a channel's
            refusal, and answers within half a lease.
        finish_erasure: goes on with the erasure of a user (by hash) that a crash interrupted;
            answers whether it is complete.
        expire_after: how long a conversation may be idle.
        budget_seconds: no further due row is looked at once this is spent.
        pace: how fast the channels take notices; None: as fast as they are sent.
        max_notice_age_seconds: no notice is sent of an expiry later than this; None: always.
        now: the clock, in aware UTC.
        shards: sweep these only; None: all of them.
        ahead: the due times (after, until) to look at as well: see `shared.timeout_change`.
        clock: what the budget is measured by: a monotonic clock, in seconds.
        randomness: spreads retries, and decides between rows of the same second.
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
        pace: Pace | None = None,
        max_notice_age_seconds: float | None = None,
        shards: Sequence[str] | None = None,
        ahead: tuple[datetime, datetime] | None = None,
        clock: Callable[[], float] = time.monotonic,
        randomness: random.Random | None = None,
    ) -> None:
        self._store = store
        self._send_notice = send_notice
        self._finish_erasure = finish_erasure
        self._expire_after = expire_after
        self._budget_seconds = budget_seconds
        self._now = now
        self._pace = pace or AtOnce()
        self._max_notice_age_seconds = max_notice_age_seconds
        self._ahead = ahead
        self._clock = clock
        self._shards = list(store.shards if shards is None else shards)
        # Only to spread load: nobody gains from guessing it.
        self._random = randomness or random.Random()  # noqa: S311
        self._report = SweepReport()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._sends = asyncio.Semaphore(SENDS_AT_ONCE)
        self._waiting = asyncio.Semaphore(WAITING_AT_ONCE)
        self._stopped = asyncio.Event()
        self._started = 0.0

    async def run(self) -> SweepReport:
        """Sweep once.

        One conversation's failure is logged and counted, and stops no other; what was not
        reached within the budget is due at the next run.
        """
        self._started = self._clock()
        progress = asyncio.create_task(self._log_progress())
        try:
            await self._sweep()
        finally:
            progress.cancel()
        self._report.seconds = self._clock() - self._started
        return self._report

    async def _log_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self._report.seconds = self._clock() - self._started
            logger.info("sweep: so far %s", self._report)

    @property
    def _seconds_left(self) -> float:
        return max(self._budget_seconds - (self._clock() - self._started), 0)

    @property
    def _must_stop(self) -> bool:
        return self._seconds_left == 0 or self._report.stopped

    async def _isolated(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except Exception:
            # Whatever it is, it must not keep the other conversations from expiring.
            self._report.failed += 1
            logger.exception("sweep: %s failed; it stays due", what)

    async def _sweep(self) -> None:
        until = self._now() - CLOCK_SKEW
        shards = [_Shard(name, self._pages(name, until)) for name in self._shards]
        async with asyncio.TaskGroup() as tasks:
            async for shard, row in self._oldest_first(shards):
                async with self._waiting, self._sends:  # else what waits would pile up
                    pass
                await self._slots.acquire()
                if self._must_stop:
                    self._slots.release()
                    break
                tasks.create_task(self._look_at(row, until, shard.touched))
                if len(shard.touched) >= REFILES_AT_ONCE:
                    await self._slots.acquire()
                    tasks.create_task(self._refile(shard))
        for shard in shards:
            await self._slots.acquire()
            await self._refile(shard)
        self._report.unfinished = [each.name for each in shards if not each.looked_through]
        left = min((each.rows[0].due_seconds for each in shards if each.rows), default=math.inf)
        self._report.backlog_seconds = max(self._now().timestamp() - left, 0.0)

    async def _oldest_first(
        self, shards: Sequence["_Shard"]
    ) -> AsyncIterator[tuple["_Shard", DueRow]]:
        """The due rows of all shards, merged; in memory is one page of each."""
        at_once = asyncio.Semaphore(SHARDS_AT_ONCE)

        async def begin(shard: _Shard) -> None:
            async with at_once:
                await self._next_page(shard)

        await asyncio.gather(*(begin(shard) for shard in shards))
        # The random number decides between rows of the same second: two sweeps at once should
        # not go for the same ones.
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
        # A failure must not leave the task group, which would cancel the notices under way: they
        # would be sent again.
        await self._isolated(self._read_page(shard), f"shard {shard.name}")

    async def _read_page(self, shard: "_Shard") -> None:
        """Read the shard's next page that is not empty, if there is one and time for it."""
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

    async def _refile(self, shard: "_Shard") -> None:
        # Taken out before the wait: rows still being looked at go on adding to the list.
        batch, shard.touched[:] = list(shard.touched), []
        try:
            if batch:
                await self._isolated(self._store.refile(batch), f"shard {shard.name}")
                self._report.refiled += len(batch)
        finally:
            self._slots.release()

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
            if conversation is None:
                self._report.finished_already += 1
            else:
                self._report.superseded += 1
        elif conversation.status is Status.EXPIRED:
            if conversation.lease_until and conversation.lease_until > self._now():
                self._report.left_to_others += 1
            else:
                await self._expire_in_turn(conversation, row)
        elif conversation.is_stale(until, self._expire_after):
            await self._expire_in_turn(conversation, await self._moved_up(row, conversation))
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

    async def _expire_in_turn(self, conversation: Conversation, row: DueRow) -> None:
        """Expire it when its notice may go; if that is not in this sweep, tell later.

        Who waits holds neither slot nor claim: the user may still come back.
        """
        if self._is_too_old(conversation, self._now()):
            await self._expire(conversation, row)
            return
        place = self._pace.place(conversation, self._seconds_left)
        while place.granted and place.seconds > 0:
            async with self._without_slot(), self._waiting:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), place.seconds)
            if self._report.stopped:
                return
            place = self._pace.reached(conversation, place)
            if not place.granted:
                place = self._pace.place(conversation, self._seconds_left)
        if place.granted:
            async with self._without_slot():
                await self._sends.acquire()
            try:
                await self._expire(conversation, row)
            finally:
                self._sends.release()
        else:
            await self._tell_later(conversation, row, place.seconds)

    @asynccontextmanager
    async def _without_slot(self) -> AsyncIterator[None]:
        self._slots.release()
        try:
            yield
        finally:
            await self._slots.acquire()

    async def _tell_later(
        self, conversation: Conversation, row: DueRow, wait_seconds: float
    ) -> None:
        """Expire it now, and file its notice for when it may go: one transaction."""
        now = self._now()
        wait = timedelta(seconds=max(wait_seconds, 1))
        claimed = replace(
            conversation.claimed(now), lease_until=now + wait, attempts=conversation.attempts
        )
        try:
            await self._store.retry_later(claimed, row, due_seconds(now + wait))
        except ConflictError:
            self._report.came_back += 1
            return
        self._count_expired(conversation, now)
        self._report.told_later += 1

    def _count_expired(self, conversation: Conversation, at: datetime) -> None:
        if conversation.status is Status.ACTIVE:
            self._report.expired += 1
            self._report.lateness_seconds.append(self._lateness_seconds(conversation, at))

    def _lateness_seconds(self, conversation: Conversation, at: datetime) -> float:
        return (at - conversation.last_accessed - self._expire_after).total_seconds()

    def _is_too_old(self, conversation: Conversation, at: datetime) -> bool:
        limit = self._max_notice_age_seconds
        return limit is not None and self._lateness_seconds(conversation, at) > limit

    async def _expire(self, conversation: Conversation, row: DueRow) -> None:
        claimed_at = self._now()
        try:
            claimed = await self._store.save(conversation.claimed(claimed_at))
        except ConflictError:
            self._report.came_back += 1
            return
        self._count_expired(conversation, claimed_at)
        if self._report.stopped or self._now() - claimed_at >= LEASE / 2:
            return  # held up: by the time the channel answers, another sweep may hold the lease
        if self._is_too_old(conversation, claimed_at):
            await self._conclude(claimed, row, NoticeResult(Verdict.TOO_OLD))
            return
        async with self._without_slot():
            result = await self._send_notice(claimed)
        await self._conclude(claimed, row, result)

    async def _conclude(self, claimed: Conversation, row: DueRow, result: NoticeResult) -> None:
        now = self._now()
        if result.verdict in (Verdict.REFUSED, Verdict.TRY_LATER, Verdict.DEAD, Verdict.STOP):
            self._report.notice_failures[str(result.status or "no answer")] += 1
        match result.verdict:
            case Verdict.STOP:
                if not self._report.stopped:  # once: whatever is under way fails the same way
                    logger.error("sweep: stopped: %s", result.detail)
                self._report.stopped = True
                self._stopped.set()
            case Verdict.TRY_LATER if now - (claimed.expired_at or now) < GIVE_UP_AFTER:
                await self._retry_later(claimed, row, now, result)
            case Verdict.TRY_LATER:
                await self._dead_letter(claimed, row, now, result, "failing for a day")
            case Verdict.DEAD:
                await self._dead_letter(claimed, row, now, result, "no use in trying again")
            case _:
                await self._settle(claimed, row, result.verdict)

    async def _settle(self, claimed: Conversation, row: DueRow, verdict: Verdict) -> None:
        try:
            await self._store.settle(claimed)
        except ConflictError:
            self._report.left_to_others += 1
            return
        match verdict:
            case Verdict.DELIVERED:
                self._report.notified += 1
            case Verdict.REFUSED:
                self._report.refused += 1
            case Verdict.TOO_OLD:
                self._report.too_old += 1
            case _:
                self._report.silent += 1
        await self._store.clean_up(row, has_private=False)  # settling has removed them

    async def _dead_letter(
        self, claimed: Conversation, row: DueRow, now: datetime, result: NoticeResult, reason: str
    ) -> None:
        letter = DeadLetter(
            claimed.address,
            claimed.session,
            expired_at=claimed.expired_at or now,
            dead_at=now,
            attempts=claimed.attempts,
            reason=reason,
            status=result.status,
            code=result.code[:_LONGEST_CODE],
            readable_key=claimed.readable_key,
            reference=claimed.reference or {},
            locale=claimed.locale,
        )
        try:
            await self._store.settle_dead(claimed, row, letter)
        except ConflictError:
            self._report.left_to_others += 1
            return
        self._report.dead_lettered += 1
        logger.warning(
            "sweep: conversation %s/%s: dead letter after %d attempts, %s: %s",
            row.address.shard,
            row.address.key,
            claimed.attempts,
            reason,
            result.detail,
        )

    async def _retry_later(
        self, claimed: Conversation, row: DueRow, now: datetime, result: NoticeResult
    ) -> None:
        wait = min(FIRST_RETRY * 2 ** min(claimed.attempts - 1, 30), LONGEST_RETRY)
        wait *= self._random.uniform(0.8, 1.2)  # many notices failed at once: spread them
        wait = min(max(wait, FIRST_RETRY), LONGEST_RETRY)
        asked_for = min(result.retry_after_seconds or 0, LONGEST_ASKED_FOR.total_seconds())
        wait = max(wait, timedelta(seconds=asked_for))
        if result.service_url:
            claimed = claimed.moved_to(result.service_url)
        leased = replace(claimed, lease_until=now + wait)
        try:
            await self._store.retry_later(leased, row, due_seconds(now + wait))
            self._report.retried_later += 1
        except ConflictError:
            self._report.left_to_others += 1
