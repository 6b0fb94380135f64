"""Conversations and users as rows of two tables: `shared.domain.store.ConversationStore`.

Row keys of the conversations table, all rows of one conversation in one partition (its shard):

    c|{key}                         the conversation: tracking and state in one entity
    p|{key}|{user}                  one user's private bag in it
    p|{key}|{user}.2                the same, beside that of a kept session
    p|{key}|kept                    the state of a kept session, which may be resumed
    p|{key}|{user}|w                the last committed write of a user whom `c` has no place for
    d|{due:010d}|{key}|{session}    the due row: one work item per session
    x|{expired:010d}|{key}|{session}  a dead letter: a notice that could not be delivered

Partition ctl: `ctl` describes the table, `sweep|{slot:02d}` are records of the last sweeps, and
`url|{tenant}` has the newest service URL of a channel's tenant. Partition budget: see
`table_budget.py`.

Users table, partition {user}:

    user                            the user's bag
    erase                           the user's erasure is under way
    in|{key}                        a conversation the user wrote in
    in|{key}|{expired:010d}|{session}  a dead letter that names the user

`{key}` and `{user}` are hashes: ids hold characters that keys must not.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypeVar

from typing_extensions import override

from shared.domain.control import Control
from shared.domain.conversation import (
    USERS_IN_ROW,
    Conversation,
    KeptSession,
    Participant,
    PrivateState,
    Status,
)
from shared.domain.errors import ConflictError, NewerRowError, StateUnreadableError
from shared.domain.identity import Address, address_of, life_of, shard_name
from shared.domain.store import Check, ConversationStore
from shared.domain.sweep_record import SweepRecord
from shared.domain.times import due_seconds
from shared.domain.users import Membership, UserRow
from shared.domain.values import replace
from shared.domain.work import ERASURE, DeadLetter, DueRow
from shared.storage.columns import FORM_COLUMN, check_form, is_id
from shared.storage.table_rows import (
    LETTER,
    MARK,
    TRACKING,
    check_size,
    control_columns,
    control_of,
    conversation_columns,
    conversation_of,
    dead_letter_key,
    dead_letter_of,
    dead_letter_row,
    dead_letter_seconds,
    due_row,
    due_row_of,
    entry_key,
    kept_row,
    kept_row_key,
    leftover_of,
    listed_conversation,
    listed_letter,
    move_due_row,
    own_row,
    own_row_key,
    private_columns_of,
    private_key,
    private_of,
    service_url_of,
    state_kept_in,
    sweep_record_of,
    swept_columns,
    user_columns,
    user_named_in,
    user_of_private,
    user_row_of,
    write_over,
    writer_in,
)
from shared.storage.tables import Operation, Row, Table

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# An entity holds 1 MiB; Azurite counts its base64 form.
MAX_ROW_BYTES = 700 * 1024

# The SDK blocks the event loop for 63-82 ms to build a transaction of 100 operations.
REFILES_PER_TRANSACTION = 5
DELETES_PER_TRANSACTION = 10

# A group may leave thousands of rows. One look at its work item deletes about this many, so that a
# sweep's other work goes on.
MOST_LEFTOVERS = 500
LEFTOVERS_AT_ONCE = 8

# Turns of users with own rows that a process remembers to have saved.
REMEMBERED_COMMITS = 10_000

CONTROL = "ctl"
USER = "user"


class TableStore(ConversationStore):
    """A `ConversationStore` over two tables; `KIND` is its value of the setting StateStore.

    Args:
        conversations: the table of conversations, their private bags and due rows.
        users: the table of users.
        shard_count: the number of partitions that conversations are spread over.
        max_row_bytes: the most that a row may hold.
    """

    KIND = "tables"

    def __init__(
        self,
        conversations: Table,
        users: Table,
        shard_count: int,
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        self._max_row_bytes = max_row_bytes
        self._conversations = conversations
        self._users = users
        self._shard_count = shard_count
        self.users_in_row = USERS_IN_ROW
        self._committed: dict[str, None] = {}  # in the order of time

    @property
    @override
    def shards(self) -> Sequence[str]:
        return [shard_name(number) for number in range(self._shard_count)]

    @override
    async def control(self) -> Control:
        row = await self._conversations.get(CONTROL, CONTROL)
        if row is None:
            try:
                return await self.save_control(Control(self._shard_count, state_store=self.KIND))
            except ConflictError:  # another instance was first
                return await self.control()
        try:
            return control_of(row)
        except StateUnreadableError as error:
            # The settings say the same; the next sweep writes the row anew.
            logger.error("table: %s", error)  # noqa: TRY400 - it names the row
            return Control(self._shard_count, state_store=self.KIND, etag=row.etag)

    @override
    async def save_control(self, control: Control) -> Control:
        row = Row(CONTROL, CONTROL, control_columns(control), control.etag)
        (etag,) = await self._conversations.write([write_over(row)])
        return replace(control, etag=etag)

    # What the status page needs

    @override
    async def dead_letter_times(self, shard: str) -> AsyncIterator[Sequence[datetime]]:
        async for page in self._conversations.query(shard, "x|", "x|~", _KEY):
            times = _readable(dead_letter_seconds, page)
            yield [datetime.fromtimestamp(each, UTC) for each in times]

    @override
    async def sweeps(self) -> Sequence[SweepRecord]:
        columns = [*_KEY, "Record"]
        pages = self._conversations.query(CONTROL, "sweep|", "sweep|~", columns)
        found = [each async for page in pages for each in _readable(sweep_record_of, page)]
        return sorted(found, key=lambda each: each.at, reverse=True)

    @override
    async def record_sweep(self, record: SweepRecord, slot: int) -> None:
        text = json.dumps({**asdict(record), "at": record.at.isoformat()})
        row = Row(CONTROL, f"sweep|{slot:02d}", {"Record": text, **MARK})
        await self._conversations.write([Operation("upsert", row)])

    # What processes tell each other about tenants

    @override
    async def service_url(self, tenant: str) -> str:
        row = await self._conversations.get(CONTROL, f"url|{tenant}")
        found = _readable(service_url_of, [row] if row else [])
        return next(iter(found), "")

    @override
    async def keep_service_url(self, tenant: str, url: str) -> None:
        row = Row(CONTROL, f"url|{tenant}", {"ServiceUrl": url, **MARK})
        await self._conversations.write([Operation("upsert", row)])

    # What a turn needs

    @override
    def address(self, key: str) -> Address:
        return address_of(key, self._shard_count)

    @override
    async def load(self, address: Address) -> Conversation | None:
        row = await self._conversations.get(address.shard, f"c|{address.key}")
        return conversation_of(address, row) if row else None

    @override
    async def load_private(
        self, conversation: Conversation, user: str, *, of_any_session: bool = False
    ) -> PrivateState:
        address = conversation.address
        row = await self._conversations.get(address.shard, private_key(conversation, user))
        if row is None:
            return PrivateState(user, b"", "")
        return private_of(row, user, None if of_any_session else conversation.life)

    @override
    async def load_kept(self, conversation: Conversation) -> KeptSession | None:
        address, kept = conversation.address, conversation.kept
        row = await self._conversations.get(address.shard, kept_row_key(address)) if kept else None
        if kept is None or row is None:
            return None
        state = state_kept_in(row, kept)
        return None if state is None else replace(kept, state=state)

    @override
    async def delete_kept(self, address: Address, kept: KeptSession | None) -> None:
        columns = [*_KEY, "SessionId"]
        row = await self._conversations.get(address.shard, kept_row_key(address), columns)
        session = row.columns.get("SessionId") if row else None
        if row is None or (kept and is_id(session) and session != kept.life):
            return
        with suppress(ConflictError):  # by now it is another session's
            await self._conversations.write([Operation("delete", _known(row))])

    @override
    async def load_user(self, user: str) -> UserRow | None:
        row = await self._users.get(user, USER)
        return user_row_of(row) if row else None

    @override
    async def has_committed(self, address: Address, user: str, writer: str) -> bool:
        if writer in self._committed:
            return True
        row = await self._conversations.get(address.shard, own_row_key(address, user))
        return row is not None and writer_in(row) == writer

    def _remember(self, writer: str) -> None:
        self._committed[writer] = None
        if len(self._committed) > REMEMBERED_COMMITS:
            del self._committed[next(iter(self._committed))]

    @override
    async def save_user(
        self,
        user: str,
        row: UserRow | None,
        joining: Address | None = None,
        *,
        session: str = "",
    ) -> tuple[UserRow | None, str]:
        operations = []
        if row is not None:
            columns = user_columns(row)
            check_size(columns, self._max_row_bytes)
            operations.append(write_over(Row(user, USER, columns, row.etag)))
        if joining is not None:
            named = {"SessionId": life_of(session)} if session else {}
            columns = {"Shard": joining.shard, **named, **MARK}
            entry = Row(user, f"in|{joining.key}", columns)
            operations.append(Operation("upsert", entry))
        etags = await self._users.write(operations)
        saved = replace(row, etag=etags[0]) if row is not None else None
        return saved, etags[-1] if joining is not None else ""

    @override
    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        instead_of: Sequence[DueRow] = (),
        private: Sequence[PrivateState] = (),
        forgetting: KeptSession | None = None,
    ) -> Conversation:
        address, kept = conversation.address, conversation.kept
        operations = [self._conversation_write(conversation)]
        if due is not None:
            warned = conversation.warned(*instead_of)
            since = conversation.last_accessed if warned else None
            row = DueRow(address, conversation.session, due, warned=warned, warned_since=since)
            operations.append(Operation("upsert", due_row(row)))
            operations += [Operation("delete", due_row(old)) for old in instead_of if old != row]
        for bag in private:
            columns = private_columns_of(conversation.life, bag)
            check_size(columns, self._max_row_bytes)
            key = private_key(conversation, bag.user)
            operations.append(Operation("upsert", Row(address.shard, key, columns)))
        for user, entry in conversation.own_rows.items():
            operations.append(Operation("upsert", own_row(conversation, user, entry)))
        if kept and kept.state is not None and kept.bags is None:
            operations.append(Operation("upsert", kept_row(address, kept)))
        elif forgetting:
            operations.append(Operation("delete", Row(address.shard, kept_row_key(address))))
        etag = await self._write_with_kept(conversation, operations, forgetting)
        for entry in conversation.own_rows.values():
            self._remember(entry.writer)
        kept = kept and replace(kept, state=None)
        return replace(conversation, own_rows={}, kept=kept, etag=etag)

    async def _write_with_kept(
        self,
        conversation: Conversation,
        operations: Sequence[Operation],
        forgetting: KeptSession | None,
    ) -> str:
        """Write them; if somebody else has deleted the row to forget, that is no conflict.

        But it is one for who resumes that session: then its private bags are gone, too.
        """
        try:
            etag, *_ = await self._conversations.write(operations)
        except ConflictError:
            if forgetting is None or conversation.goes_on_with(forgetting):
                raise
            gone = Row(conversation.address.shard, kept_row_key(conversation.address))
            if await self._conversations.get(gone.partition, gone.key, _KEY):
                raise
            others = [each for each in operations if each.row.key != gone.key]
            etag, *_ = await self._conversations.write(others)
        return etag

    # What a sweep needs

    @override
    async def due(
        self, shard: str, until: datetime, after: datetime | None = None
    ) -> AsyncIterator[Sequence[DueRow]]:
        first = f"d|{int(after.timestamp()):010d}|~" if after else "d|"
        # '~' sorts after every digit and letter: rows of that very second are included.
        last = f"d|{int(until.timestamp()):010d}|~"
        async for page in self._conversations.query(shard, first, last, _DUE):
            yield _readable(due_row_of, page)

    @override
    async def load_tracking(self, address: Address) -> Conversation | None:
        row = await self._conversations.get(address.shard, f"c|{address.key}", TRACKING)
        return conversation_of(address, row, with_state=False) if row else None

    @override
    async def refile(self, rows: Sequence[tuple[DueRow, DueRow]]) -> None:
        # A move to the same second would delete and write one row in one transaction.
        moves = [(old, new) for old, new in rows if old != new]
        for start in range(0, len(moves), REFILES_PER_TRANSACTION):
            batch = moves[start : start + REFILES_PER_TRANSACTION]
            if not await self._refile_together(batch):
                for old, new in batch:
                    await self._refile_one(old, new)

    async def _refile_together(self, moves: Sequence[tuple[DueRow, DueRow]]) -> bool:
        """Move them in one transaction; False: nothing was moved, so they go one by one."""
        operations = [operation for old, new in moves for operation in move_due_row(old, new)]
        # A long sweep may see a work item again, where another sweep has moved it. Then the two
        # meet, and a transaction writes each row once.
        if len({each.row.key for each in operations}) < len(operations):
            return False
        try:
            await self._conversations.write(operations)
        except ConflictError:
            return False  # another sweep moved one of them first
        return True

    async def _refile_one(self, old: DueRow, new: DueRow) -> None:
        try:
            await self._conversations.write(move_due_row(old, new))
        except ConflictError:
            return  # moved or finished by another sweep

    @override
    async def warn(self, row: DueRow, warned: DueRow) -> None:
        if row == warned:
            raise ConflictError("nothing would show that it is still there")
        await self._conversations.write(move_due_row(row, warned))

    @override
    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        moved = replace(row, due_seconds=due)
        move = move_due_row(row, moved) if moved != row else []
        await self._conversations.write([self._conversation_write(conversation), *move])

    @override
    async def settle_later(self, conversation: Conversation, row: DueRow, until: datetime) -> None:
        if not conversation.resume_until:
            await self._delete_private_bags(conversation)
        # The entries in its users' lists stay: by them an erasure finds the row.
        told, due = conversation.told(until), due_seconds(until)
        row = replace(row, is_told=True)
        try:
            await self.retry_later(told, row, due)
        except ConflictError:
            # Perhaps only its work item has been moved meanwhile. Then there are two for a while.
            moved = Operation("upsert", due_row(replace(row, due_seconds=due)))
            await self._conversations.write([self._conversation_write(told), moved])

    @override
    async def settle(self, conversation: Conversation) -> None:
        address = conversation.address
        await self._delete_what_hangs_on(conversation)
        try:
            await self._delete_row(address, conversation.etag)
        except ConflictError:
            current = await self.load_tracking(address)
            if current is not None and current.session == conversation.session:
                raise

    @override
    async def settle_dead(
        self, conversation: Conversation, row: DueRow, letter: DeadLetter
    ) -> None:
        address = conversation.address
        user = user_named_in(letter)
        if user:
            # Written before the letter, and before the conversation's own entry goes: so at any
            # moment the user's list leads to every row that names the user.
            await self._users.write([Operation("upsert", listed_letter(user, letter))])
        await self._delete_what_hangs_on(conversation)
        gone = Row(address.shard, f"c|{address.key}", {}, conversation.etag)
        operations = [Operation("delete", gone), Operation("insert", dead_letter_row(letter))]
        if not conversation.has_own_rows:
            operations.append(Operation("delete", due_row(row)))
        try:
            await self._conversations.write(operations)
        except ConflictError:
            current = await self.load_tracking(address)
            if await self._conversations.get(address.shard, dead_letter_key(letter)):
                return  # the first try succeeded, but its answer was lost
            if current is None or current.session != letter.session:
                await self._delete_listed(letter)  # nobody will write that letter any more
            raise

    async def _delete_private_bags(self, conversation: Conversation) -> None:
        if conversation.has_private and not conversation.has_own_rows:
            await self._delete_private_of(conversation.address, conversation.life)

    async def _delete_what_hangs_on(self, conversation: Conversation) -> None:
        address = conversation.address
        await self._delete_private_bags(conversation)
        for user, participant in conversation.users.items():
            with suppress(ConflictError):  # the user is back, and listed anew
                if participant.index_etag:
                    await self.leave(user, Membership(address, participant.index_etag))

    @override
    async def discard(self, address: Address, etag: str) -> None:
        await self._delete_row(address, etag)

    async def _delete_row(self, address: Address, etag: str) -> None:
        row = Row(address.shard, f"c|{address.key}", {}, etag)
        await self._conversations.write([Operation("delete", row)])

    @override
    async def clean_up(
        self, row: DueRow, *, has_private: bool, gone_at: datetime | None = None
    ) -> None:
        if has_private and not await self._delete_leftovers(row, gone_at):
            return
        await self._conversations.write([Operation("delete", due_row(row))])

    async def _delete_leftovers(self, work: DueRow, gone_at: datetime | None) -> bool:
        """Delete the session's leftovers, up to a limit; returns whether that was all."""
        prefix = f"p|{work.address.key}|"
        columns = [*_KEY, "SessionId", "Session", "LastsUntil"]
        pages = self._conversations.query(
            work.address.shard, prefix, prefix + "~", columns, MOST_LEFTOVERS
        )
        async for page in pages:
            found = [
                (leftover, row)
                for leftover, row in _readable(
                    lambda row: (leftover_of(row, work.session, gone_at), row), page
                )
                if leftover
            ]
            if gone_at:
                await self._unlist(work.address, dict(found))
            rows = [row for _, row in found]
            for start in range(0, len(rows), DELETES_PER_TRANSACTION):
                await self._delete_together(rows[start : start + DELETES_PER_TRANSACTION])
            if len(rows) >= MOST_LEFTOVERS:
                return False
        return True

    async def _unlist(self, address: Address, rows: Mapping[str, Row]) -> None:
        """Take the conversation off these users' lists, where it stands for the rows' session."""
        at_once = asyncio.Semaphore(LEFTOVERS_AT_ONCE)

        async def unlist(user: str, row: Row) -> None:
            session = row.columns.get("Session") or row.columns.get("SessionId")
            async with at_once:
                entry = await self._users.get(user, f"in|{address.key}", [*_KEY, "SessionId"])
                if entry is not None and entry.columns.get("SessionId") == session:
                    with suppress(ConflictError, NewerRowError):  # the user is back
                        await self._users.write([Operation("delete", _known(entry))])

        await asyncio.gather(*(unlist(user, row) for user, row in rows.items()))

    async def _delete_together(self, rows: Sequence[Row]) -> None:
        try:
            await self._conversations.write([Operation("delete", row) for row in rows])
        except ConflictError:
            for row in rows:
                await self._delete_unless_changed(row)

    async def _delete_private_of(self, address: Address, life: str) -> None:
        prefix = f"p|{address.key}|"
        pages = self._conversations.query(address.shard, prefix, prefix + "~", [*_KEY, "SessionId"])
        async for page in pages:
            for row in _readable(_known, page):
                if life_of(str(row.columns.get("SessionId"))) == life:
                    await self._delete_unless_changed(row)

    async def _delete_unless_changed(self, row: Row) -> None:
        try:
            await self._conversations.write([Operation("delete", row)])
        except ConflictError:
            return  # the user is back: the row belongs to the new session now

    # What the operator needs

    @override
    async def dead_letters(self, shard: str) -> AsyncIterator[Sequence[DeadLetter]]:
        async for page in self._conversations.query(shard, "x|", "x|~", LETTER):
            yield _readable(dead_letter_of, page)

    @override
    async def replay(self, letter: DeadLetter, now: datetime) -> bool:
        address, user = letter.address, user_named_in(letter)
        if await self.load_tracking(address) is not None:
            await self.drop(letter)
            return False
        users = {}
        if user:
            # As at a user's first message: the list names the conversation before it exists.
            _, index_etag = await self.save_user(user, None, joining=address)
            users[user] = Participant(index_etag=index_etag)
        expired = Conversation(
            address,
            letter.session,
            last_accessed=now,  # its age begins anew: the operator wants it sent
            status=Status.EXPIRED,
            readable_key=letter.readable_key,
            reference=letter.reference,
            locale=letter.locale,
            state=b"",
            users=users,
            expired_at=now,
        )
        due = DueRow(address, letter.session, due_seconds(now))
        try:
            await self._conversations.write(
                [
                    self._conversation_write(expired),
                    Operation("upsert", due_row(due)),
                    Operation("delete", Row(address.shard, dead_letter_key(letter))),
                ]
            )
        except ConflictError:
            current = await self.load_tracking(address)
            if current is None or current.session != letter.session:
                await self.drop(letter)
                return False
        await self._delete_listed(letter)
        return True

    @override
    async def drop(self, letter: DeadLetter) -> None:
        row = Row(letter.address.shard, dead_letter_key(letter))
        await self._conversations.write([Operation("delete", row)])
        await self._delete_listed(letter)

    async def _delete_listed(self, letter: DeadLetter) -> None:
        if user := user_named_in(letter):
            with suppress(NewerRowError):  # it leads to nothing any more
                await _delete_known(self._users, listed_letter(user, letter))

    # What an erasure needs

    @override
    async def load_listed(self, entry: Membership) -> DeadLetter | None:
        row = await self._conversations.get(entry.address.shard, _letter_key(entry))
        return dead_letter_of(row) if row else None

    @override
    async def drop_listed(self, entry: Membership) -> bool:
        row = Row(entry.address.shard, _letter_key(entry))
        return await _delete_known(self._conversations, row)

    @override
    async def file(self, row: DueRow) -> None:
        await self._conversations.write([Operation("upsert", due_row(row))])

    @override
    async def joined(self, user: str) -> Sequence[Membership]:
        pages = self._users.query(user, "in|", "in|~", [*_KEY, "Shard"])
        return [listed_conversation(row, self._shard_count) async for page in pages for row in page]

    @override
    async def leave(self, user: str, entry: Membership) -> None:
        row = Row(user, entry_key(entry), {}, entry.etag)
        await self._users.write([Operation("delete", row)])

    @override
    async def has_user(self, user: str) -> bool:
        return await self._users.get(user, USER, _KEY) is not None

    @override
    async def delete_user(self, user: str, make_sure: Check | None = None) -> bool:
        row = await self._users.get(user, USER, _KEY)
        if row is None:
            return False
        check_form(row)
        if make_sure:
            await make_sure()
        await self._users.write([Operation("delete", row)])
        return True

    @override
    async def delete_private(
        self, address: Address, user: str, make_sure: Check | None = None
    ) -> bool:
        first, own = f"p|{address.key}|{user}", own_row_key(address, user)
        pages = self._conversations.query(address.shard, first, own + "~", _KEY)
        rows = [_known(row) async for page in pages for row in page if user_of_private(row) == user]
        if make_sure:
            await make_sure()
        if rows:
            await self._conversations.write([Operation("delete", row) for row in rows])
        return any(row.key != own for row in rows)

    @override
    async def due_rows_of(self, address: Address) -> Sequence[DueRow]:
        pages = self._conversations.query(address.shard, "d|", "d|~", _DUE, 1000)
        rows = [row async for page in pages for row in _readable(due_row_of, page)]
        return [row for row in rows if row.address == address]

    @override
    async def mark_erasure(self, user: str) -> None:
        await self._users.write([Operation("upsert", Row(user, ERASURE, MARK))])

    @override
    async def is_erasure_marked(self, user: str) -> bool:
        return await self._users.get(user, ERASURE, _KEY) is not None

    @override
    async def unmark_erasure(self, user: str) -> None:
        await self._users.write([Operation("delete", Row(user, ERASURE))])

    def _conversation_write(self, conversation: Conversation) -> Operation:
        address = conversation.address
        key = f"c|{address.key}"
        if conversation.state is None and conversation.status is Status.EXPIRED:
            columns = swept_columns(conversation)
            return Operation("merge", Row(address.shard, key, columns, conversation.etag))
        columns = conversation_columns(conversation)
        check_size(columns, self._max_row_bytes)
        return write_over(Row(address.shard, key, columns, conversation.etag))


# What a row must be asked for before it is deleted: a newer version's is not.
_KEY = ("RowKey", FORM_COLUMN)
_DUE = [*_KEY, "Warned", "WarnedSince", "Told"]


def _readable(read: Callable[[Row], _T], rows: Iterable[Row]) -> list[_T]:
    """What can be read of these rows; the log names the others, and they stay as they are."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except (StateUnreadableError, NewerRowError) as error:
            logger.error("table: %s", error)  # noqa: TRY400 - it names the row
    return found


def _letter_key(entry: Membership) -> str:
    return f"x|{entry.expired_seconds:010d}|{entry.address.key}|{entry.session}"


def _known(row: Row) -> Row:
    check_form(row)
    return row


async def _delete_known(table: Table, row: Row) -> bool:
    """Delete a row, readable or not; returns whether there was one.

    Raises:
        NewerRowError: a newer version wrote it.
    """
    found = await table.get(row.partition, row.key, _KEY)
    if found is None:
        return False
    check_form(found)
    await table.write([Operation("delete", row)])
    return True
