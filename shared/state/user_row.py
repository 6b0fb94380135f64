"""Which of the two versions in a user's row counts.

No transaction spans the user's row and the conversation's. So a turn that changes both writes the
user's first, with the old state beside the new one. The conversation's write is the commit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from uuid import uuid4

from shared.domain.conversation import Conversation
from shared.domain.errors import ConflictError, StateUnreadableError
from shared.domain.policy import Policy
from shared.domain.store import StateStore
from shared.domain.times import CLOCK_SKEW, COMMIT_TAKES_AT_MOST
from shared.domain.users import UserRow


@dataclass(frozen=True, slots=True)
class UserState:
    """A user's state, packed, as a turn finds it.

    Attributes:
        state: the state that counts.
        row: the row to write over.
        counts_anyway: see `UserRow`.
    """

    state: bytes = b""
    row: UserRow | None = None
    counts_anyway: bool = False


class _Written(Enum):
    """The fate of the turn that wrote a user's row."""

    COMMITTED = "committed"
    NOT_COMMITTED = "not committed"
    UNKNOWN_OF_THIS_TURN = "unknown"


class UserRows:
    """Reads users' rows for one attempt of a turn, or for one REST request.

    Args:
        store: the store of the rows.
        channel: the id of the users' channel.
        policy: which timing holds for which conversation.
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
        channel: str,
        policy: Policy,
        now: Callable[[], datetime],
        turn: str = "",
        conversation: Conversation,
    ) -> None:
        self.conversation = conversation
        self._store = store
        self._channel = channel
        self._policy = policy
        self._now = now
        self._turn = turn
        self.writer = f"{turn}.{uuid4().hex[:8]}"
        self._shares_writer_with: UserRow | None = None

    async def read(self, user: str) -> UserState:
        """The user's state.

        Raises:
            ConflictError: it is not known yet which state counts; start over.
        """
        row = await self._store.load_user(user)
        if row is None:
            return UserState()
        try:
            written = await self._fate_of(user, row)
        except StateUnreadableError as error:  # of the conversation that decides
            written = self._fate_of_lost(row, error.etag)
        if written is _Written.COMMITTED:
            return UserState(row.state, row)
        if not self._is_of_this_turn(row):
            return UserState(row.state if row.counts_anyway else row.before, row)
        is_unknown = written is _Written.UNKNOWN_OF_THIS_TURN
        return UserState(row.before, row, counts_anyway=row.counts_anyway or is_unknown)

    def _is_of_this_turn(self, row: UserRow) -> bool:
        """Whether an earlier attempt of this turn wrote it, or another process with a copy."""
        return bool(self._turn) and row.writer.startswith(f"{self._turn}.")

    def row_of(self, found: UserState, state: bytes, *, own_row: bool) -> UserRow:
        """The row for this attempt to write; see `UserRow`."""
        here = self.conversation
        timing = self._policy.without_own(here)
        until = here.writes_count_until(timing)
        if self._shares_writer_with and self._shares_writer_with.lasts_until:
            # Of the two sessions it may be the other one that is committed.
            until = min(until, self._shares_writer_with.lasts_until)
        return UserRow(
            state=state,
            etag=found.row.etag if found.row else "",
            before=found.state,
            writer=self.writer,
            address=here.address,
            session=here.life,
            base_etag=here.etag,
            written_at=self._now(),
            last_accessed=until - timing.expire_after,
            lasts_until=until,
            # Without overrides all types have the same timing.
            conversation_type=here.reference.type
            if here.reference and self._policy.overrides
            else None,
            own_row=own_row,
            counts_anyway=found.counts_anyway,
        )

    async def _fate_of(self, user: str, row: UserRow) -> _Written:  # noqa: PLR0911 - one return for each answer
        """Whether the turn that wrote the row has committed its conversation.

        If that turn might still do so, it is stopped first: its conversation gets a new ETag.
        """
        if not row.writer or row.address is None or row.written_at is None:
            return _Written.COMMITTED
        is_mine = row.address == self.conversation.address
        if is_mine and _has_committed(self.conversation, user, row):
            return _Written.COMMITTED
        # While the session may still go on, this is the quickest answer.
        may_go_on = row.own_row and (row.lasts_until is None or self._now() < row.lasts_until)
        if may_go_on and await self._store.has_committed(row.address, user, row.writer):
            return _Written.COMMITTED
        there = await self._store.load(row.address)
        etag = there.etag if there else ""
        if is_mine and etag != self.conversation.etag:
            raise ConflictError("the conversation has moved on since this turn loaded it")
        # A turn that opens a session has another session in each attempt: so compare the writer.
        if there is not None and _has_committed(there, user, row):
            return _Written.COMMITTED
        is_there = there is not None and there.life == row.session
        # Only now it is certain: the turn may have been committed between the two reads.
        if (
            row.own_row
            and (may_go_on or is_there)
            and await self._store.has_committed(row.address, user, row.writer)
        ):
            return _Written.COMMITTED
        if there is not None and is_there and not there.is_replayed:
            if etag == row.base_etag:
                await self._stop(there)
            return _Written.NOT_COMMITTED
        if is_mine and self._is_of_this_turn(row):
            return self._fate_of_this_turn(row, etag)
        return self._fate_by_time(row, row.written_at, may_still_commit=etag == row.base_etag)

    def _fate_of_this_turn(self, row: UserRow, etag: str) -> _Written:
        """The same if the row is of this turn. It was to open a session.

        The conversation, as it was loaded, does not know the activity.
        """
        may_still_commit = etag == row.base_etag
        if may_still_commit:
            self.writer = row.writer
            self._shares_writer_with = row
        # A session that was stored may be over and gone by now.
        _, lasts_until = self._session_of(row)
        was_not_stored = lasts_until and self._now() < lasts_until - CLOCK_SKEW
        if was_not_stored or (may_still_commit and etag):
            return _Written.NOT_COMMITTED
        return _Written.UNKNOWN_OF_THIS_TURN

    def _fate_of_lost(self, row: UserRow, etag: str) -> _Written:
        """As `_fate_of`, if the conversation cannot be read: its version decides."""
        if etag != row.base_etag:
            return _Written.COMMITTED  # it was written since: most likely by that turn
        if row.written_at and self._now() - row.written_at < COMMIT_TAKES_AT_MOST:
            raise ConflictError(f"another turn ({row.writer}) of this user is being committed")
        return _Written.NOT_COMMITTED

    async def _stop(self, conversation: Conversation) -> None:
        """Make a later commit fail."""
        stopped = await self._store.save(conversation)
        if conversation.address == self.conversation.address:
            self.conversation = replace(self.conversation, etag=stopped.etag)

    def _fate_by_time(
        self, row: UserRow, written_at: datetime, *, may_still_commit: bool
    ) -> _Written:
        """The same if the row's session never began, or is over: only the time tells."""
        commit_takes, lasts_until = self._session_of(row)
        if may_still_commit and self._now() - written_at < commit_takes:
            raise ConflictError(f"another turn ({row.writer}) of this user is being committed")
        if may_still_commit or lasts_until is None:
            return _Written.COMMITTED
        # If it had committed, its session would have lasted at least until then.
        return (
            _Written.NOT_COMMITTED if self._now() < lasts_until - CLOCK_SKEW else _Written.COMMITTED
        )

    def _session_of(self, row: UserRow) -> tuple[timedelta, datetime | None]:
        """How long the row's commit may take, and how long its session lasted at least."""
        if row.last_accessed is None:
            return COMMIT_TAKES_AT_MOST, None
        # A later, longer timeout did not help it; a later, shorter one may have ended it early.
        timing = (
            self._policy.of_type(self._channel, row.conversation_type)
            if row.conversation_type
            else self._policy.shortest_of(self._channel)
        )
        lasts_until = timing.deadline(row.last_accessed)
        lasts_until = min(lasts_until, row.lasts_until or lasts_until)
        # A shorter session may be over by then, and its user back.
        return min(COMMIT_TAKES_AT_MOST, lasts_until - row.last_accessed), lasts_until


def _has_committed(conversation: Conversation, user: str, row: UserRow) -> bool:
    participant = conversation.users.get(user)
    return participant is not None and participant.writer == row.writer
