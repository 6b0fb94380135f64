"""Which of the two versions in a user's row counts.

No transaction spans the user's row and the conversation's. So a turn that changes both writes the
user's first, with the old state beside the new one. The conversation's write is the commit.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError, StateUnreadableError
from shared.domain.store import StateStore
from shared.domain.times import CLOCK_SKEW, COMMIT_TAKES_AT_MOST
from shared.domain.timing import Timing
from shared.domain.users import UserRow


class UserRows:
    """Reads users' rows for one attempt of a turn, or for one REST request.

    Args:
        store: the store of the rows.
        timing: the rules for the time of conversations.
        now: the clock, in aware UTC.
        turn: the id of the turn, the same in each of its attempts and for each copy of its
            activity; empty for a REST request.
        conversation: this turn's, as it was loaded; kept up to date, as its ETag may change.
            For a REST request, a conversation that is not stored.

    Attributes:
        writer: the id of what this attempt writes to the user's row. The conversation's row names
            it if that was committed. Copies of an activity that start from the same state of the
            user share it: then it makes no difference which of them was committed.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        timing: Timing,
        now: Callable[[], datetime],
        turn: str = "",
        conversation: Conversation,
    ) -> None:
        self.conversation = conversation
        self._store = store
        self._timing = timing
        self._now = now
        self._turn = turn
        self.writer = f"{turn}.{uuid4().hex[:8]}"

    async def read(self, user: str) -> tuple[bytes, UserRow | None]:
        """The user's state that counts, and the row to write over.

        Raises:
            ConflictError: it is not known yet which state counts; start over.
        """
        row = await self._store.load_user(user)
        if row is None:
            return b"", None
        try:
            not_committed = await self._was_not_committed(user, row)
        except StateUnreadableError as error:  # of the conversation that decides
            not_committed = self._was_lost(row, error.etag)
        return (row.before if not_committed else row.state), row

    async def _was_not_committed(self, user: str, row: UserRow) -> bool:  # noqa: PLR0911 - one return for each answer
        """Whether the turn that wrote the row never committed its conversation.

        If that turn might still do so, it is stopped first: its conversation gets a new ETag.
        """
        if not row.writer or row.address is None or row.written_at is None:
            return False
        is_mine = row.address == self.conversation.address
        if is_mine and _has_committed(self.conversation, user, row):
            return False
        # While the session may still go on, this is the quickest answer.
        may_go_on = row.own_row and (row.lasts_until is None or self._now() < row.lasts_until)
        if may_go_on and await self._store.has_committed(row.address, user, row.writer):
            return False
        there = await self._store.load(row.address)
        etag = there.etag if there else ""
        if is_mine and etag != self.conversation.etag:
            raise ConflictError("the conversation has moved on since this turn loaded it")
        # A turn that opens a session has another session in each attempt: so compare the writer.
        if there is not None and _has_committed(there, user, row):
            return False
        is_there = there is not None and there.session == row.session
        # Only now it is certain: the turn may have been committed between the two reads.
        if (
            row.own_row
            and (may_go_on or is_there)
            and await self._store.has_committed(row.address, user, row.writer)
        ):
            return False
        if there is not None and is_there and not there.is_replayed:
            if etag == row.base_etag:
                await self._stop(there)
            return True
        if is_mine and self._turn and row.writer.startswith(f"{self._turn}."):
            # By an earlier attempt, or another process with a copy of the activity, to open a
            # session: the conversation, as it was loaded, does not know the activity.
            self.writer = row.writer
            return True
        return self._never_began(row, row.written_at, may_still_commit=etag == row.base_etag)

    def _was_lost(self, row: UserRow, etag: str) -> bool:
        """As `_was_not_committed`, if the conversation cannot be read: its version decides."""
        if etag != row.base_etag:
            return False  # it was written since: most likely by that turn
        if row.written_at and self._now() - row.written_at < COMMIT_TAKES_AT_MOST:
            raise ConflictError(f"another turn ({row.writer}) of this user is being committed")
        return True

    async def _stop(self, conversation: Conversation) -> None:
        """Make a later commit fail."""
        stopped = await self._store.save(conversation)
        if conversation.address == self.conversation.address:
            self.conversation = replace(self.conversation, etag=stopped.etag)

    def _never_began(self, row: UserRow, written_at: datetime, *, may_still_commit: bool) -> bool:
        """Whether the row's session never began, or is over: only the time tells."""
        if row.last_accessed is None:
            lasts_until, commit_takes = None, COMMIT_TAKES_AT_MOST
        else:
            # A later, longer timeout did not help it; a later, shorter one may have ended it early.
            lasts_until = self._timing.deadline(row.last_accessed)
            lasts_until = min(lasts_until, row.lasts_until or lasts_until)
            # A shorter session may be over by then, and its user back.
            commit_takes = min(COMMIT_TAKES_AT_MOST, lasts_until - row.last_accessed)
        if may_still_commit and self._now() - written_at < commit_takes:
            raise ConflictError(f"another turn ({row.writer}) of this user is being committed")
        if may_still_commit or lasts_until is None:
            return False
        # If it had committed, its session would have lasted at least until then.
        return self._now() < lasts_until - CLOCK_SKEW


def _has_committed(conversation: Conversation, user: str, row: UserRow) -> bool:
    participant = conversation.users.get(user)
    return participant is not None and participant.writer == row.writer
