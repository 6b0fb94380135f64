"""The protocol of expiry: what a sweep does with one due row.

    due row ── conversation gone, or of another session ──────────────► delete the due row
            ── of a session that may be resumed in place of the new one► re-file it for later
            ── touched since it was filed ────────────────────────────► re-file it
            ── time for a warning: re-file it at the next step, which says that users were warned
                 ── another sweep was first ──────────────────────────► leave it
                 ── re-filed ─────────────────────────────────────────► send the warning
            ── expired, and leased by another sweep ──────────────────► leave it
            ── idle, in quiet hours, or its channel takes no more now ─► CLAIM and re-file at once
            ── idle: CLAIM (one conditional write: leased, and state gone unless it may be
                        resumed); the author's on_expired, which keeps the state until SETTLE
                 ── write refused: the user is back, or another sweep ► leave it
                 ── written too late for its slot, and none is near ──► re-file it at another time
                 ── notice delivered, or refused for good ────────────► SETTLE: delete the row,
                 │                                                       then the due row; or keep
                 │                                                       both while it can go on
                 ── notice to be tried again ─────────────────────────► re-file at that time
                 ── no use in trying (again) ─────────────────────────► a dead letter in the
                 │                                                       place of both rows
                 ── our own credentials refused ──────────────────────► stop the sweep
                 ── ten refusals in a row that no channel signed ──────► keep them, stop the sweep

The claim is the commit. The due row stays until the end, so everything that a crash leaves undone
is due again. While a conversation waits for a slot (docs/sending.md), nothing is claimed; if it has
to wait for longer than the sweep, it is re-filed. Every step: docs/protocol.md.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta

from shared.domain.conversation import Conversation, Status
from shared.domain.errors import ConflictError, NewerRowError, StateUnreadableError
from shared.domain.identity import life_of
from shared.domain.policy import Policy
from shared.domain.store import SweepStore
from shared.domain.times import CLOCK_SKEW, LEASE, STAYS_LONGER, due_seconds
from shared.domain.work import ERASURE, DeadLetter, DueRow, RefileLater
from shared.expiry.notice import (
    Hooks,
    NoticeResult,
    Pace,
    SendNotice,
    SendWarning,
    Slot,
    Unlimited,
    Verdict,
)
from shared.expiry.own_words import own_words
from shared.expiry.pauses import ended_by_expiry
from shared.expiry.report import SweepReport
from shared.expiry.slots import Slots
from shared.expiry.warn import Warner
from shared.expiry.workload import Workload

logger = logging.getLogger(__name__)

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=1)
LONGEST_ASKED_FOR = timedelta(days=1)  # a channel that asks for more is still tried then
GIVE_UP_AFTER = timedelta(hours=24)
# After this many refusals in a row that no channel signed, a sweep stops: something on the way
# refuses.
MOST_UNSIGNED = 10

_LONGEST_CODE = 100


class Expirer:
    """Handles each due row, and counts it in the report.

    Args:
        store: the store of the conversations.
        send_notice: tells a user that the conversation expired; never raises for a channel's
            refusal, and returns within half a lease.
        send_warning: warns its users that it expires soon; as `send_notice`. None: nobody is.
        finish_erasure: continues the erasure of a user (by hash) that a crash interrupted; returns
            whether it is complete.
        policy: which timing holds for which conversation.
        pace: how fast the channels take notices; None: without limits.
        max_notice_age_seconds: no notice is sent if an expiry is later than this; None: no limit.
        now: the clock, in aware UTC.
        randomness: spreads retries.
        work: the limits of work at once.
        report: counts the outcomes.
        refile_later: is given what can wait, to be done with others in one transaction.
        hooks: the author's code for expiries and warnings.
    """

    def __init__(
        self,
        store: SweepStore,
        send_notice: SendNotice,
        send_warning: SendWarning | None,
        finish_erasure: Callable[[str], Awaitable[bool]],
        *,
        policy: Policy,
        now: Callable[[], datetime],
        pace: Pace | None,
        max_notice_age_seconds: float | None,
        randomness: random.Random,
        work: Workload,
        report: SweepReport,
        refile_later: RefileLater,
        hooks: Hooks | None = None,
    ) -> None:
        hooks = hooks or Hooks()
        self._store = store
        self._send_notice = send_notice
        self._finish_erasure = finish_erasure
        self._policy = policy
        self._now = now
        self._on_expired = hooks.on_expired
        self._slots = Slots(pace or Unlimited(), work, report)
        self._warner = Warner(
            store,
            send_warning,
            self._watch,
            policy=policy,
            now=now,
            on_warned=hooks.on_warned,
            slots=self._slots,
            work=work,
            report=report,
            refile_later=refile_later,
        )
        self._max_notice_age_seconds = max_notice_age_seconds
        self._random = randomness
        self._work = work
        self._report = report
        self._refile_later = refile_later
        self._unsigned_in_a_row = 0

    async def handle(self, row: DueRow, until: datetime) -> None:
        """Handle one due row."""
        self._report.looked_at += 1
        try:
            await self._handle(row, until)
        except NewerRowError as error:
            logger.error("sweep: %s; left alone", error)  # noqa: TRY400 - it names the row
            self._report.left_to_others += 1

    async def _handle(self, row: DueRow, until: datetime) -> None:
        if row.stored_key:
            await self._mend(row)
            return
        if row.session == ERASURE:
            if await self._finish_erasure(row.address.key):
                await self._store.remove(row)
            return
        read_at = self._now() - CLOCK_SKEW
        try:
            conversation = await self._store.load_tracking(row.address)
        except StateUnreadableError as error:
            logger.error("sweep: %s; removed", error)  # noqa: TRY400 - it names the row
            self._report.failed += 1
            await self._store.discard(row.address, error.etag)
            conversation = None
        if conversation is None:
            # The session ended without this row, and nothing else says what it left.
            await self._clean_up(row, gone_at=self._now())
            self._report.finished_already += 1
        elif conversation.session != row.session:
            await self._handle_succeeded(conversation, row)
        elif conversation.status is Status.EXPIRED:
            await self._handle_expired(conversation, row)
        elif conversation.is_stale(until, self._policy.of(conversation)):
            await self._expire_in_turn(conversation, await self._moved_up(row, conversation))
        else:
            await self._warner.handle(conversation, row, until, read_at)

    async def _handle_expired(self, conversation: Conversation, row: DueRow) -> None:
        leased_until = conversation.lease_until
        if leased_until is None or leased_until <= self._now():
            await self._expire_in_turn(conversation, row)
            return
        self._report.left_to_others += 1
        if conversation.is_told:  # or each sweep would look at it until then
            moved = replace(row, due_seconds=due_seconds(leased_until), is_told=True)
            self._refile_later(row, moved)

    async def _handle_succeeded(self, conversation: Conversation, row: DueRow) -> None:
        """Clean up after a session in whose place another one is, unless it may be resumed."""
        if row.is_told:
            self._report.finished_already += 1
        else:
            self._report.superseded += 1
        kept = conversation.kept
        if kept and kept.session == row.session:
            if kept.stays_until > self._now():
                due = due_seconds(kept.stays_until)
                self._refile_later(row, replace(row, due_seconds=due, is_told=True))
                return
            await self._store.delete_kept(row.address, kept)
            # From now on nobody can resume it; but somebody may have done so.
            conversation = await self._store.load_tracking(row.address) or conversation
            kept = None
        # A session that was resumed, or may be, goes on with what its life has left.
        lives = {conversation.life, kept and kept.life}
        if life_of(row.session) in lives:
            self._refile_later(row, None)
        else:
            await self._clean_up(row)

    async def _clean_up(self, row: DueRow, gone_at: datetime | None = None) -> None:
        """Delete what is left of a session that is over, and then the due row."""
        if await self._store.delete_leftovers(row, gone_at):
            self._refile_later(row, None)

    async def _mend(self, row: DueRow) -> None:
        """Replace a due row whose key is damaged, if it still names a session; else remove it."""
        name = f"{row.address.shard}/{row.stored_key}"
        logger.error("sweep: row %s: its key is damaged; removed", name)
        self._report.failed += 1
        if row.session and row.session != ERASURE:
            due = due_seconds(self._now())
            await self._store.file(replace(row, due_seconds=due, stored_key=""))
        await self._store.remove(row)

    async def _moved_up(self, row: DueRow, conversation: Conversation) -> DueRow:
        """The due row, moved if a longer timeout filed it.

        If a crash follows, the rest of the work must not wait until that later time.
        """
        due = due_seconds(conversation.deadline(self._policy.of(conversation)))
        if row.due_seconds <= due:
            return row
        moved = replace(row, due_seconds=due)
        await self._store.refile([(row, moved)])
        return moved

    async def _expire_in_turn(self, conversation: Conversation, row: DueRow) -> None:
        """Expire it when its notice may go; if that is not in this sweep, tell later.

        While it waits, it is not claimed and keeps no other row from being handled: the user may
        still come back.
        """
        now = self._now()
        if self._is_silent(conversation, now) or self._is_too_old(conversation, now):
            # Nothing is sent, but a hook may take as long as a send.
            async with self._work.sending() if self._has_hook(conversation) else nullcontext():
                await self._expire(conversation, row, Slot(0))
            return
        slot, quiet_until = Slot(0), self._quiet_until(conversation)
        if quiet_until is None:
            found = await self._slots.wait_for(conversation)
            if found is None:
                return
            slot, _ = found
            quiet_until = self._quiet_until(conversation)  # it may have waited for long
        if quiet_until:
            await self._tell_later(conversation, row, (quiet_until - self._now()).total_seconds())
        elif slot.granted:
            async with self._work.sending():
                await self._expire(conversation, row, slot)
        else:
            await self._tell_later(conversation, row, slot.seconds)

    def _quiet_until(self, conversation: Conversation) -> datetime | None:
        return conversation.quiet_hours_end(self._now(), self._policy.of(conversation))

    async def _tell_later(
        self, conversation: Conversation, row: DueRow, wait_seconds: float
    ) -> None:
        """Expire it now, and re-file it for the time when its notice may go: one transaction."""
        now = self._now()
        wait = timedelta(seconds=max(wait_seconds, 1))
        claimed = self._claimed(conversation, now)
        claimed = replace(claimed, lease_until=now + wait, attempts=conversation.attempts)
        try:
            await self._store.retry_later(claimed, row, due_seconds(now + wait))
        except ConflictError:
            self._report.came_back += 1
            return
        await self._forget_kept(conversation)
        self._count_expired(conversation, now)
        self._report.told_later += 1
        if conversation.status is Status.ACTIVE and self._has_hook(conversation):
            # What it does must not wait. It is asked for its words again when they may go.
            async with self._work.sending():
                with suppress(ConflictError):  # the next look sees who is back
                    await self._how_to_tell(claimed)

    def _claimed(self, conversation: Conversation, now: datetime) -> Conversation:
        timing, keeps_state = self._policy.of(conversation), self._has_hook(conversation)
        return conversation.claimed(now, timing, keeps_state=keeps_state)

    def _has_hook(self, conversation: Conversation) -> bool:
        return self._on_expired is not None and conversation.concerns_hooks

    async def _how_to_tell(self, claimed: Conversation) -> SendNotice:
        """What sends the notice, in the author's words if there are any.

        Raises:
            ConflictError: its user is back.
        """
        if not (self._on_expired and self._has_hook(claimed)):
            return self._send_notice
        own = await own_words(self._on_expired, claimed, self._store, self._work)
        return own or self._send_notice

    async def _forget_kept(self, conversation: Conversation) -> None:
        """Delete the session before this one, which can be resumed no more."""
        if conversation.kept:
            await self._store.delete_kept(conversation.address, conversation.kept)

    def _count_expired(self, conversation: Conversation, at: datetime) -> None:
        if conversation.status is Status.ACTIVE:
            self._report.expired += 1
            self._report.lateness_seconds.append(self._lateness_seconds(conversation, at))

    def _lateness_seconds(self, conversation: Conversation, at: datetime) -> float:
        return (at - conversation.deadline(self._policy.of(conversation))).total_seconds()

    def _is_silent(self, conversation: Conversation, at: datetime) -> bool:
        """Whether nobody is to be told: no user has spoken, or the policy says so."""
        timing = self._policy.of(conversation)
        within = timing.notify_within
        is_over = within is not None and at - conversation.last_accessed > within
        return conversation.quiet or not timing.notify or is_over

    def _is_too_old(self, conversation: Conversation, at: datetime) -> bool:
        limit = self._max_notice_age_seconds
        return limit is not None and self._lateness_seconds(conversation, at) > limit

    async def _expire(self, conversation: Conversation, row: DueRow, slot: Slot) -> None:
        claimed_at = self._now()
        try:
            claimed = await self._store.save(self._claimed(conversation, claimed_at))
        except ConflictError:
            self._report.came_back += 1
            return
        await self._forget_kept(conversation)
        self._count_expired(conversation, claimed_at)
        if self._must_leave(claimed_at):
            return
        try:
            send_notice = await self._how_to_tell(claimed)
        except ConflictError:
            self._report.left_to_others += 1
            return
        if self._is_silent(conversation, claimed_at):
            if conversation.is_told:
                await self._settle(claimed, row, None)
            else:
                await self._conclude(claimed, row, NoticeResult(Verdict.NOT_WANTED))
            return
        if self._is_too_old(conversation, claimed_at):
            await self._conclude(claimed, row, NoticeResult(Verdict.TOO_OLD))
            return
        await self._tell(claimed, row, slot, send_notice, claimed_at)

    async def _tell(
        self,
        claimed: Conversation,
        row: DueRow,
        slot: Slot,
        send_notice: SendNotice,
        claimed_at: datetime,
    ) -> None:
        begun = await self._slots.begin(claimed, slot)
        if begun is None or self._must_leave(claimed_at):
            return
        if not begun.granted:
            unsent = replace(claimed, attempts=claimed.attempts - 1)
            await self._tell_later(unsent, row, begun.seconds)
            return
        async with self._work.idle():
            result = await send_notice(claimed)
        await self._conclude(claimed, row, result)

    def _must_leave(self, claimed_at: datetime) -> bool:
        """Whether a claim is too old: when the channel answers, another sweep may hold the lease.

        Nor is anything sent once the sweep is stopped.
        """
        return self._report.stopped or self._now() - claimed_at >= LEASE / 2

    async def _conclude(self, claimed: Conversation, row: DueRow, result: NoticeResult) -> None:
        now = self._now()
        self._watch(result)
        match result.verdict:
            case Verdict.STOP:
                pass  # the sweep is stopped, and it stays due
            case Verdict.TRY_LATER if now - (claimed.expired_at or now) < GIVE_UP_AFTER:
                await self._retry_later(claimed, row, now, result)
            case Verdict.TRY_LATER:
                await self._dead_letter(claimed, row, now, result, "failing for a day")
            case Verdict.DEAD:
                await self._dead_letter(claimed, row, now, result, "no use in trying again")
            case _:
                await self._settle(claimed, row, result.verdict)

    def _watch(self, result: NoticeResult) -> None:
        """Count a failure; stop if the next ones would fail the same way."""
        if result.verdict in (Verdict.REFUSED, Verdict.TRY_LATER, Verdict.DEAD, Verdict.STOP):
            self._report.notice_failures[str(result.status or "no answer")] += 1
        self._watch_signatures(result)
        if result.verdict is Verdict.STOP:
            self._stop("the channel refused the bot's credentials", result.detail)

    def _watch_signatures(self, result: NoticeResult) -> None:
        """Stop if something on the way answers instead of the channel; the notices are kept."""
        if result.status is None:
            return  # no answer does not say who would have answered
        self._unsigned_in_a_row = 0 if result.is_signed else self._unsigned_in_a_row + 1
        if self._unsigned_in_a_row >= MOST_UNSIGNED:
            because = (
                f"the last {MOST_UNSIGNED} answers were refusals without a channel's error code"
            )
            self._stop(because, f"{because}: {result.detail}")

    def _stop(self, because: str, in_full: str) -> None:
        if self._report.stopped:  # log it once: the notices under way fail in the same way
            return
        logger.error("sweep: stopped: %s", in_full)
        self._report.stopped = True
        self._report.stopped_because = because
        self._work.stopped.set()

    async def _settle(self, claimed: Conversation, row: DueRow, verdict: Verdict | None) -> None:
        """Delete what is left of it, now or later; None: its end was told and counted before."""
        stays_until = self._stays_until(claimed)
        try:
            if stays_until:
                await self._store.settle_later(claimed, row, stays_until)
            else:
                await self._store.settle(claimed)
        except ConflictError:
            self._report.left_to_others += 1
            return
        ended_by_expiry(claimed, self._now(), self._policy)
        match verdict:
            case None:
                self._report.finished_already += 1
            case Verdict.DELIVERED:
                self._report.notified += 1
            case Verdict.REFUSED:
                self._report.refused += 1
            case Verdict.TOO_OLD:
                self._report.too_old += 1
            case _:
                self._report.silent += 1
        if stays_until:
            return
        if claimed.has_own_rows:
            await self._clean_up(row, gone_at=self._now())
        else:
            self._refile_later(row, None)

    def _stays_until(self, claimed: Conversation) -> datetime | None:
        """Until when its row must stay.

        That is as long as it may be resumed. It also stays if it ends early and names writes of
        users' states.
        """
        until = self._names_writes_until(claimed)
        if claimed.resume_until:
            # Even if that is over by now: only a claim takes its state away.
            stays = claimed.resume_until + STAYS_LONGER
            return max(until, stays) if until else stays
        return until

    def _names_writes_until(self, claimed: Conversation) -> datetime | None:
        if not claimed.has_user_writes:
            return None
        until = claimed.writes_count_until(self._policy.without_own(claimed))
        return until if until > self._now() else None

    async def _dead_letter(
        self, claimed: Conversation, row: DueRow, now: datetime, result: NoticeResult, reason: str
    ) -> None:
        stays_until = self._names_writes_until(claimed)
        if stays_until:  # then it is tried once more
            await self._lease(claimed, row, stays_until)
            return
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
            reference=claimed.reference,
            locale=claimed.locale,
        )
        try:
            if claimed.resume_until:
                # Settling deletes private bags before the row: nobody may resume it in between.
                claimed = await self._store.save(claimed.without_state())
            await self._store.settle_dead(claimed, row, letter)
        except ConflictError:
            self._report.left_to_others += 1
            return
        ended_by_expiry(claimed, now, self._policy)
        if claimed.has_own_rows:
            await self._clean_up(row, gone_at=now)
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
        await self._lease(claimed, row, now + wait)

    async def _lease(self, claimed: Conversation, row: DueRow, until: datetime) -> None:
        """Try its notice again, but not before then."""
        leased = replace(claimed, lease_until=until)
        try:
            await self._store.retry_later(leased, row, due_seconds(until))
            self._report.retried_later += 1
        except ConflictError:
            self._report.left_to_others += 1
