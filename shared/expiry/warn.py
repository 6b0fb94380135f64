"""The protocol of warnings: what a sweep does with the due row of a conversation in use.

    due row ── touched since it was filed ──────────────► re-file it at the next step
            ── time for a warning: one transaction moves it to the step after that, and it says
               from now on that users were warned in this silence
                 ── another sweep was first ────────────► leave it
                 ── moved ──────────────────────────────► ask the author's on_warned, if there is
                                                          one, and send the warning

Only the due row knows of warnings: a write to the conversation's row would make a long turn start
over. The move is the commit, so a warning goes at most once. A crash between the move and the send
loses it; the expiry and its notice are not lost.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError
from shared.domain.policy import Policy
from shared.domain.store import SweepStore
from shared.domain.times import due_seconds
from shared.domain.timing import TIME_TO_ANSWER
from shared.domain.work import DueRow
from shared.expiry.notice import NoticeResult, OnWarned, SendWarning, Slot, Verdict
from shared.expiry.own_words import own_words
from shared.expiry.report import SweepReport
from shared.expiry.slots import Slots
from shared.expiry.workload import Workload

# With these answers it is certain that nobody saw the warning: it may go again.
_SURELY_NOT_TAKEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
_AGAIN_AFTER = timedelta(seconds=10)


class Warner:
    """Warns the users of one sweep's conversations.

    Args:
        store: the store of the conversations.
        send_warning: warns a user; never raises for a channel's refusal. None: nobody is warned.
        watch: is told each result, and may stop the sweep.
        policy: which timing holds for which conversation.
        on_warned: the author's code, which is asked for its words; None: there is none.
        now: the clock, in aware UTC.
        slots: where warnings wait for their slots.
        work: the limits of work at once.
        report: counts the outcomes.
    """

    def __init__(
        self,
        store: SweepStore,
        send_warning: SendWarning | None,
        watch: Callable[[NoticeResult], None],
        *,
        policy: Policy,
        on_warned: OnWarned | None,
        now: Callable[[], datetime],
        slots: Slots,
        work: Workload,
        report: SweepReport,
    ) -> None:
        self._store = store
        self._send_warning = send_warning
        self._watch = watch
        self._policy = policy
        self._on_warned = on_warned
        self._now = now
        self._slots = slots
        self._work = work
        self._report = report

    async def handle(
        self,
        conversation: Conversation,
        row: DueRow,
        until: datetime,
        read_at: datetime,
        touched: list[tuple[DueRow, DueRow]],
    ) -> None:
        """Handle the due row of a conversation that is not over.

        Args:
            conversation: as it was read, at `read_at` or later.
            row: its due row.
            until: what was due by then is due.
            read_at: see there.
            touched: gets the row and its next place, if nobody is to be warned.
        """
        timing = self._policy.of(conversation)
        warned = conversation.warned(row)
        # Of several that are overdue only the last one goes.
        stages = sum(step <= until for step in conversation.steps(timing)[:-1])
        moved = conversation.moved_on(row, read_at, timing, max(stages, warned))
        can_answer = conversation.deadline(timing) - self._now() >= TIME_TO_ANSWER
        is_quiet = conversation.quiet or self._is_in_quiet_hours(conversation)
        is_wanted = self._send_warning is not None and not is_quiet
        if stages > warned and can_answer and is_wanted:
            await self._warn_in_turn(conversation, row, moved)
        else:
            touched.append((row, moved))

    async def _warn_in_turn(self, conversation: Conversation, row: DueRow, moved: DueRow) -> None:
        """Warn when the warning may go. If that is not in this sweep, the row stays due."""
        found = await self._slots.wait_for(conversation)
        if found is None or not found[0].granted:
            return
        slot, waited = found
        if waited and await self._is_used(conversation):
            self._report.came_back += 1
            return
        if moved == row:  # only a move shows that the row is still there
            moved = replace(moved, due_seconds=moved.due_seconds - 1)
        try:
            await self._store.warn(row, moved)
        except ConflictError:
            self._report.left_to_others += 1
            return
        async with self._work.sending():
            await self._warn(conversation, moved, slot)

    async def _is_used(self, conversation: Conversation) -> bool:
        """Whether it is another session by now, or was used since it was read."""
        now = await self._store.load_tracking(conversation.address)
        return now is None or (now.session, now.last_accessed) != (
            conversation.session,
            conversation.last_accessed,
        )

    async def _warn(self, conversation: Conversation, moved: DueRow, slot: Slot) -> None:
        send_warning = self._send_warning
        if self._on_warned:
            try:
                own = await own_words(self._on_warned, conversation, self._store, self._work)
            except ConflictError:
                self._report.came_back += 1
                return
            send_warning = own or send_warning
        begun = await self._slots.begin(conversation, slot)
        if begun and not begun.granted:
            await self._warn_later(conversation, moved, begun.seconds)
            return
        left = self._left(conversation)
        if send_warning is None or left < TIME_TO_ANSWER or self._report.stopped:
            return
        if self._is_in_quiet_hours(conversation):  # it may have waited for long
            return
        async with self._work.idle():
            result = await send_warning(conversation, left)
        self._watch(result)
        if result.verdict is Verdict.DELIVERED:
            self._report.warned += 1
        elif result.status in _SURELY_NOT_TAKEN:
            await self._warn_later(conversation, moved, result.retry_after_seconds or 0)

    async def _warn_later(self, conversation: Conversation, moved: DueRow, seconds: float) -> None:
        wait = max(_AGAIN_AFTER, timedelta(seconds=seconds))
        if self._left(conversation) - wait >= TIME_TO_ANSWER:
            due = due_seconds(self._now() + wait)
            again = replace(moved, due_seconds=due, warned=moved.warned - 1)
            await self._store.refile([(moved, again)])
            self._report.retried_later += 1

    def _is_in_quiet_hours(self, conversation: Conversation) -> bool:
        return bool(conversation.quiet_hours_end(self._now(), self._policy.of(conversation)))

    def _left(self, conversation: Conversation) -> timedelta:
        return conversation.deadline(self._policy.of(conversation)) - self._now()
