"""Conversations and users as rows of two tables: `shared.conversations.ConversationStore`.

Row keys of the conversations table, all rows of one conversation in one partition (its shard):

    c|{key}                         the conversation: tracking and state in one entity
    p|{key}|{user}                  one user's private bag in it
    d|{due:010d}|{key}|{session}    the due row: one work item per session
    x|{expired:010d}|{key}|{session}  a dead letter: a notice that could not be delivered

Partition ctl: `ctl` describes the table, `sweep|{slot:02d}` are records of the last sweeps.

Users table, partition {user}:

    user                            the user's bag
    in|{key}                        a conversation the user wrote in
    in|{key}|{expired:010d}|{session}  a dead letter that names the user

`{key}` and `{user}` are hashes: ids hold characters that keys must not.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from shared.conversations import (
    Address,
    ConflictError,
    Conversation,
    DeadLetter,
    DueRow,
    Joined,
    Participant,
    PrivateState,
    StateTooLargeError,
    StateUnreadableError,
    Status,
    Taken,
    UserRow,
    due_seconds,
)
from shared.status import SweepRecord
from shared.storage.tables import Operation, Row, Table
from shared.timeout_change import Control

# A binary property holds 64 KiB; an entity 1 MiB, of which Azurite counts the base64 form.
CHUNK_BYTES = 64_000
MAX_ROW_BYTES = 700 * 1024

# The SDK builds a transaction of 100 operations in one 63-82 ms stretch of the event loop.
REFILES_PER_TRANSACTION = 5

CONTROL = "ctl"
USER = "user"

_TRACKING = (
    "SessionId",
    "Status",
    "LastAccessed",
    "ConversationKey",
    "Reference",
    "Locale",
    "Recent",
    "Trace",
    "HasPrivate",
    "Users",
    "ExpiredAt",
    "LeaseUntil",
    "Attempts",
    "Moved",
)

_LETTER = (
    "RowKey",
    "ConversationKey",
    "Reference",
    "Locale",
    "Reason",
    "HttpStatus",
    "Code",
    "Attempts",
    "ExpiredAt",
    "DeadAt",
)


def user_hash(channel_id: str, user_id: str) -> str:
    """What stands for a user in keys: 32 hexadecimal digits of channel and user id."""
    return sha256(f"{channel_id}/users/{user_id}".encode()).hexdigest()[:32]


def erasure_address(user: str, shard_count: int) -> Address:
    """Where the due row of a user's erasure lives."""
    return Address(f"s{int(user[:4], 16) % shard_count:03d}", user)


class TableStore:
    """A `ConversationStore` over two tables.

    Args:
        conversations: the table of conversations, their private bags and due rows.
        users: the table of users.
        shard_count: into how many partitions conversations are spread.
        max_row_bytes: the most that a row may hold.
    """

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

    @property
    def shards(self) -> Sequence[str]:
        """The names of all shards."""
        return [f"s{number:03d}" for number in range(self._shard_count)]

    async def control(self) -> Control:
        """The row that describes the table; written now if the table is new.

        Raises:
            StorageUnavailableError: the table does not exist, or no answer.
        """
        row = await self._conversations.get(CONTROL, CONTROL)
        if row is None:
            try:
                return await self.save_control(Control(self._shard_count))
            except ConflictError:  # another instance was first
                return await self.control()
        columns = row.columns
        return Control(
            shard_count=int(columns["Shards"]),
            expire_after=_seconds(columns.get("ExpireAfter")),
            longest=_seconds(columns.get("LongestExpireAfter")),
            looked_until=columns.get("LookedUntil"),
            over_at=columns.get("LookAheadOverAt"),
            etag=row.etag,
        )

    async def save_control(self, control: Control) -> Control:
        """Write that row over the version it was read at.

        Raises:
            ConflictError: it is another version by now.
        """
        columns = {
            "Shards": control.shard_count,
            "ExpireAfter": control.expire_after and int(control.expire_after.total_seconds()),
            "LongestExpireAfter": control.longest and int(control.longest.total_seconds()),
            "LookedUntil": control.looked_until,
            "LookAheadOverAt": control.over_at,
        }
        present = {name: value for name, value in columns.items() if value is not None}
        row = Row(CONTROL, CONTROL, present, control.etag)
        (etag,) = await self._conversations.write([_write_over(row)])
        return replace(control, etag=etag)

    # What the status page needs

    async def dead_letter_times(self, shard: str) -> AsyncIterator[Sequence[datetime]]:
        """Pages of when the conversations of the shard's dead letters expired, oldest first."""
        async for page in self._conversations.query(shard, "x|", "x|~", ["RowKey"]):
            yield [datetime.fromtimestamp(int(row.key.split("|")[1]), UTC) for row in page]

    async def sweeps(self) -> Sequence[SweepRecord]:
        """The last sweeps, newest first."""
        pages = self._conversations.query(CONTROL, "sweep|", "sweep|~", ["RowKey", "Record"])
        records = [json.loads(row.columns["Record"]) async for page in pages for row in page]
        found = [SweepRecord(**{**r, "at": datetime.fromisoformat(r["at"])}) for r in records]
        return sorted(found, key=lambda each: each.at, reverse=True)

    async def record_sweep(self, record: SweepRecord, slot: int) -> None:
        """Keep a sweep's record in place of what is in that slot: one request, no reading."""
        text = json.dumps({**asdict(record), "at": record.at.isoformat()})
        row = Row(CONTROL, f"sweep|{slot:02d}", {"Record": text})
        await self._conversations.write([Operation("upsert", row)])

    # What a turn needs

    async def load(self, address: Address) -> Conversation | None:
        """See `ConversationStore.load`."""
        row = await self._conversations.get(address.shard, f"c|{address.key}")
        return _conversation(address, row) if row else None

    async def load_private(self, conversation: Conversation, user: str) -> PrivateState:
        """See `ConversationStore.load_private`."""
        address = conversation.address
        row = await self._conversations.get(address.shard, f"p|{address.key}|{user}")
        if row is None or row.columns.get("SessionId") != conversation.session:
            return PrivateState(user, b"", "")
        return PrivateState(user, _join(row, "State"), row.columns.get("Version", ""))

    async def load_user(self, user: str) -> UserRow | None:
        """See `ConversationStore.load_user`."""
        row = await self._users.get(user, USER)
        return _user_row(row) if row else None

    async def save_user(
        self, user: str, row: UserRow | None, joining: Address | None = None
    ) -> tuple[UserRow | None, str]:
        """See `ConversationStore.save_user`."""
        operations = []
        if row is not None:
            columns = _user_columns(row)
            self._check_size(columns)
            operations.append(_write_over(Row(user, USER, columns, row.etag)))
        if joining is not None:
            entry = Row(user, f"in|{joining.key}", {"Shard": joining.shard})
            operations.append(Operation("upsert", entry))
        etags = await self._users.write(operations)
        saved = replace(row, etag=etags[0]) if row is not None else None
        return saved, etags[-1] if joining is not None else ""

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        private: Sequence[PrivateState] = (),
    ) -> Conversation:
        """See `ConversationStore.save`."""
        address = conversation.address
        operations = [self._conversation_write(conversation)]
        if due is not None:
            row = DueRow(address, conversation.session, due)
            operations.append(Operation("upsert", _due_row(row)))
        for bag in private:
            columns = {
                "SessionId": conversation.session,
                "Version": bag.version,
                **_split(bag.state, "State"),
            }
            self._check_size(columns)
            key = f"p|{address.key}|{bag.user}"
            operations.append(Operation("upsert", Row(address.shard, key, columns)))
        etag, *_ = await self._conversations.write(operations)
        return replace(conversation, etag=etag)

    # What a sweep needs

    async def due(
        self, shard: str, until: datetime, after: datetime | None = None
    ) -> AsyncIterator[Sequence[DueRow]]:
        """See `ConversationStore.due`."""
        first = f"d|{int(after.timestamp()):010d}|~" if after else "d|"
        # '~' sorts after every digit and letter: rows of that very second are included.
        last = f"d|{int(until.timestamp()):010d}|~"
        async for page in self._conversations.query(shard, first, last, ["RowKey"]):
            yield [_parsed_due_row(row) for row in page]

    async def load_tracking(self, address: Address) -> Conversation | None:
        """See `ConversationStore.load_tracking`."""
        row = await self._conversations.get(address.shard, f"c|{address.key}", _TRACKING)
        return _conversation(address, row, with_state=False) if row else None

    async def refile(self, rows: Sequence[tuple[DueRow, int]]) -> None:
        """See `ConversationStore.refile`."""
        moves = [(row, replace(row, due_seconds=due)) for row, due in rows]
        # A move to the same second would delete and write one row in one transaction.
        moves = [(old, new) for old, new in moves if old != new]
        for start in range(0, len(moves), REFILES_PER_TRANSACTION):
            batch = moves[start : start + REFILES_PER_TRANSACTION]
            try:
                await self._conversations.write(
                    [operation for old, new in batch for operation in _move(old, new)]
                )
            except ConflictError:
                # Another sweep moved one of them first: move the others one by one.
                for old, new in batch:
                    await self._refile_one(old, new)

    async def _refile_one(self, old: DueRow, new: DueRow) -> None:
        try:
            await self._conversations.write(_move(old, new))
        except ConflictError:
            return  # moved or finished by another sweep

    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        """See `ConversationStore.retry_later`."""
        moved = replace(row, due_seconds=due)
        move = _move(row, moved) if moved != row else []
        await self._conversations.write([self._conversation_write(conversation), *move])

    async def settle(self, conversation: Conversation) -> None:
        """See `ConversationStore.settle`."""
        address = conversation.address
        await self._delete_what_hangs_on(conversation)
        try:
            await self.discard(address, conversation.etag)
        except ConflictError:
            current = await self.load_tracking(address)
            if current is not None and current.session == conversation.session:
                raise

    async def settle_dead(
        self, conversation: Conversation, row: DueRow, letter: DeadLetter
    ) -> None:
        """See `ConversationStore.settle_dead`."""
        address = conversation.address
        user = _named_in(letter)
        if user:
            # Before the letter, and beside the conversation's own entry, which goes: at any moment
            # the user's list leads to whatever names the user.
            await self._users.write([Operation("upsert", _listed(user, letter))])
        await self._delete_what_hangs_on(conversation)
        gone = Row(address.shard, f"c|{address.key}", {}, conversation.etag)
        try:
            await self._conversations.write(
                [
                    Operation("delete", gone),
                    Operation("insert", _dead_letter_row(letter)),
                    Operation("delete", _due_row(row)),
                ]
            )
        except ConflictError:
            current = await self.load_tracking(address)
            if await self._conversations.get(address.shard, _dead_letter_key(letter)):
                return  # its own success: the answer to a first try was lost
            if current is None or current.session != letter.session:
                await self._delete_listed(letter)  # nobody will write that letter any more
            raise

    async def _delete_what_hangs_on(self, conversation: Conversation) -> None:
        address = conversation.address
        if conversation.has_private:
            await self._delete_private_of(address, conversation.session)
        for user, participant in conversation.users.items():
            with suppress(ConflictError):  # the user is back, and listed anew
                if participant.index_etag:
                    await self.leave(user, Joined(address, participant.index_etag))

    async def discard(self, address: Address, etag: str) -> None:
        """See `ConversationStore.discard`."""
        row = Row(address.shard, f"c|{address.key}", {}, etag)
        await self._conversations.write([Operation("delete", row)])

    async def clean_up(self, row: DueRow, *, has_private: bool) -> None:
        """See `ConversationStore.clean_up`."""
        if has_private:
            await self._delete_private_of(row.address, row.session)
        await self._conversations.write([Operation("delete", _due_row(row))])

    async def _delete_private_of(self, address: Address, session: str) -> None:
        prefix = f"p|{address.key}|"
        pages = self._conversations.query(
            address.shard, prefix, prefix + "~", ["RowKey", "SessionId"]
        )
        async for page in pages:
            for row in page:
                if row.columns.get("SessionId") == session:
                    await self._delete_unless_changed(row)

    async def _delete_unless_changed(self, row: Row) -> None:
        try:
            await self._conversations.write([Operation("delete", row)])
        except ConflictError:
            return  # the user is back: the row belongs to the new session now

    # What whoever runs the bot needs

    async def dead_letters(self, shard: str) -> AsyncIterator[Sequence[DeadLetter]]:
        """See `ConversationStore.dead_letters`."""
        async for page in self._conversations.query(shard, "x|", "x|~", _LETTER):
            yield [_dead_letter(row) for row in page]

    async def replay(self, letter: DeadLetter, now: datetime) -> bool:
        """See `ConversationStore.replay`."""
        address, user = letter.address, _named_in(letter)
        if await self.load_tracking(address) is not None:
            await self.drop(letter)
            return False
        users = {}
        if user:
            # As a user's first message does: the list leads to the conversation before it is there.
            _, index_etag = await self.save_user(user, None, joining=address)
            users[user] = Participant(index_etag=index_etag)
        expired = Conversation(
            address,
            letter.session,
            last_accessed=now,  # its age begins anew: whoever replays it wants it sent
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
                    Operation("upsert", _due_row(due)),
                    Operation("delete", Row(address.shard, _dead_letter_key(letter))),
                ]
            )
        except ConflictError:
            current = await self.load_tracking(address)
            if current is None or current.session != letter.session:
                await self.drop(letter)
                return False
        await self._delete_listed(letter)
        return True

    async def drop(self, letter: DeadLetter) -> None:
        """See `ConversationStore.drop`."""
        row = Row(letter.address.shard, _dead_letter_key(letter))
        await self._conversations.write([Operation("delete", row)])
        await self._delete_listed(letter)

    async def _delete_listed(self, letter: DeadLetter) -> None:
        if user := _named_in(letter):
            await self._users.write([Operation("delete", _listed(user, letter))])

    # What an erasure needs

    async def drop_listed(self, entry: Joined) -> bool:
        """See `ConversationStore.drop_listed`."""
        address = entry.address
        key = f"x|{entry.expired_seconds:010d}|{address.key}|{entry.session}"
        if await self._conversations.get(address.shard, key, ["RowKey"]) is None:
            return False
        await self._conversations.write([Operation("delete", Row(address.shard, key))])
        return True

    async def file(self, row: DueRow) -> None:
        """See `ConversationStore.file`."""
        await self._conversations.write([Operation("upsert", _due_row(row))])

    async def joined(self, user: str) -> Sequence[Joined]:
        """See `ConversationStore.joined`."""
        pages = self._users.query(user, "in|", "in|~", ["RowKey", "Shard"])
        return [_joined(row) async for page in pages for row in page]

    async def leave(self, user: str, entry: Joined) -> None:
        """See `ConversationStore.leave`."""
        row = Row(user, _entry_key(entry), {}, entry.etag)
        await self._users.write([Operation("delete", row)])

    async def has_user(self, user: str) -> bool:
        """See `ConversationStore.has_user`."""
        return await self._users.get(user, USER, ["RowKey"]) is not None

    async def delete_user(self, user: str) -> bool:
        """See `ConversationStore.delete_user`."""
        if not await self.has_user(user):
            return False
        await self._users.write([Operation("delete", Row(user, USER))])
        return True

    async def delete_private(self, address: Address, user: str) -> bool:
        """See `ConversationStore.delete_private`."""
        key = f"p|{address.key}|{user}"
        if await self._conversations.get(address.shard, key, ["RowKey"]) is None:
            return False
        await self._conversations.write([Operation("delete", Row(address.shard, key))])
        return True

    async def due_rows_of(self, address: Address) -> Sequence[DueRow]:
        """See `ConversationStore.due_rows_of`."""
        pages = self._conversations.query(address.shard, "d|", "d|~", ["RowKey"], 1000)
        rows = [_parsed_due_row(row) async for page in pages for row in page]
        return [row for row in rows if row.address == address]

    def _conversation_write(self, conversation: Conversation) -> Operation:
        columns = _conversation_columns(conversation)
        self._check_size(columns)
        address = conversation.address
        return _write_over(Row(address.shard, f"c|{address.key}", columns, conversation.etag))

    def _check_size(self, columns: Mapping[str, Any]) -> None:
        size = sum(len(value) for value in columns.values() if isinstance(value, bytes | str))
        if size > self._max_row_bytes:
            raise StateTooLargeError(
                f"the row would hold {-(-size // 1024)} KiB of state, reference and ids;"
                f" the limit is {self._max_row_bytes // 1024} KiB"
            )


def _write_over(row: Row) -> Operation:
    """The write of a row over the version it was read at, which may be none."""
    return Operation("replace" if row.etag else "insert", row)


def _conversation_columns(conversation: Conversation) -> dict[str, Any]:
    if conversation.state is None:
        raise ValueError("a conversation read without its state must not be written back")
    columns = {
        "ConversationKey": conversation.readable_key,
        "SessionId": conversation.session,
        "Status": str(conversation.status),
        "LastAccessed": conversation.last_accessed,
        "Reference": _json(conversation.reference),
        "Locale": conversation.locale,
        "StateVersion": conversation.state_version or None,
        "Recent": _json([(each.activity, each.writer) for each in conversation.recent]),
        "Trace": conversation.trace or None,
        "HasPrivate": conversation.has_private or None,
        "Users": _json(
            {user: (each.writer, each.index_etag) for user, each in conversation.users.items()}
        ),
        "ExpiredAt": conversation.expired_at,
        "LeaseUntil": conversation.lease_until,
        "Attempts": conversation.attempts or None,
        "Moved": conversation.moved or None,
        **_split(conversation.state, "State"),
        **_split(conversation.replies, "Replies"),
    }
    return {name: value for name, value in columns.items() if value is not None}


def _conversation(address: Address, row: Row, *, with_state: bool = True) -> Conversation:
    columns = row.columns
    try:
        return Conversation(
            address=address,
            session=columns["SessionId"],
            last_accessed=columns["LastAccessed"],
            status=Status(columns["Status"]),
            readable_key=columns["ConversationKey"],
            reference=json.loads(columns.get("Reference") or "null"),
            locale=columns.get("Locale"),
            state=_join(row, "State") if with_state else None,
            state_version=columns.get("StateVersion", ""),
            recent=tuple(Taken(*each) for each in json.loads(columns.get("Recent") or "[]")),
            replies=_join(row, "Replies") if with_state else b"",
            trace=columns.get("Trace", ""),
            has_private=columns.get("HasPrivate", False),
            users={
                user: Participant(*each)
                for user, each in json.loads(columns.get("Users") or "{}").items()
            },
            expired_at=columns.get("ExpiredAt"),
            lease_until=columns.get("LeaseUntil"),
            attempts=columns.get("Attempts", 0),
            moved=columns.get("Moved", False),
            etag=row.etag,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateUnreadableError(f"row {row.partition}/{row.key}: {error!r}", row.etag) from error


def _user_columns(row: UserRow) -> dict[str, Any]:
    columns = {
        "Writer": row.writer or None,
        "Conversation": f"{row.address.shard}|{row.address.key}" if row.address else None,
        "SessionId": row.session or None,
        "BaseETag": row.base_etag or None,
        "WrittenAt": row.written_at,
        "LastAccessed": row.last_accessed,
        **_split(row.state, "State"),
        **_split(row.before, "Before"),
    }
    return {name: value for name, value in columns.items() if value is not None}


def _user_row(row: Row) -> UserRow:
    columns = row.columns
    address = None
    if "Conversation" in columns:
        shard, _, key = str(columns["Conversation"]).partition("|")
        address = Address(shard, key)
    return UserRow(
        state=_join(row, "State"),
        etag=row.etag,
        before=_join(row, "Before"),
        writer=columns.get("Writer", ""),
        address=address,
        session=columns.get("SessionId", ""),
        base_etag=columns.get("BaseETag", ""),
        written_at=columns.get("WrittenAt"),
        last_accessed=columns.get("LastAccessed"),
    )


def _seconds(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _due_row(row: DueRow) -> Row:
    key = f"d|{row.due_seconds:010d}|{row.address.key}|{row.session}"
    return Row(row.address.shard, key)


def _parsed_due_row(row: Row) -> DueRow:
    _, due, key, session = row.key.split("|")
    return DueRow(Address(row.partition, key), session, int(due))


def _dead_letter_key(letter: DeadLetter) -> str:
    return f"x|{letter.expired_seconds:010d}|{letter.address.key}|{letter.session}"


def _dead_letter_row(letter: DeadLetter) -> Row:
    columns = {
        "ConversationKey": letter.readable_key,
        "Reference": _json(letter.reference),
        "Locale": letter.locale,
        "Reason": letter.reason,
        "HttpStatus": letter.status,
        "Code": letter.code or None,
        "Attempts": letter.attempts,
        "ExpiredAt": letter.expired_at,
        "DeadAt": letter.dead_at,
    }
    present = {name: value for name, value in columns.items() if value is not None}
    return Row(letter.address.shard, _dead_letter_key(letter), present)


def _dead_letter(row: Row) -> DeadLetter:
    columns = row.columns
    try:
        _, _, key, session = row.key.split("|")
        return DeadLetter(
            address=Address(row.partition, key),
            session=session,
            expired_at=columns["ExpiredAt"],
            dead_at=columns["DeadAt"],
            attempts=columns["Attempts"],
            reason=columns["Reason"],
            status=columns.get("HttpStatus"),
            code=columns.get("Code", ""),
            readable_key=columns["ConversationKey"],
            reference=json.loads(columns.get("Reference", "{}")),
            locale=columns.get("Locale"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateUnreadableError(f"row {row.partition}/{row.key}: {error!r}", row.etag) from error


def _named_in(letter: DeadLetter) -> str:
    """The hash of the user whom the letter names; empty for a group's."""
    user = letter.reference.get("user")
    return user_hash(letter.reference["channelId"], user["id"]) if user else ""


def _listed(user: str, letter: DeadLetter) -> Row:
    address = letter.address
    entry = Joined(address, "", letter.session, letter.expired_seconds)
    return Row(user, _entry_key(entry), {"Shard": address.shard})


def _entry_key(entry: Joined) -> str:
    of_letter = f"|{entry.expired_seconds:010d}|{entry.session}" if entry.session else ""
    return f"in|{entry.address.key}{of_letter}"


def _joined(row: Row) -> Joined:
    _, key, *of_letter = row.key.split("|")
    address = Address(str(row.columns["Shard"]), key)
    if not of_letter:
        return Joined(address, row.etag)
    expired, session = of_letter
    return Joined(address, row.etag, session, int(expired))


def _move(old: DueRow, new: DueRow) -> list[Operation]:
    return [Operation("delete", _due_row(old)), Operation("upsert", _due_row(new))]


def _split(packed: bytes, name: str) -> dict[str, bytes]:
    """The bytes in columns of CHUNK_BYTES, numbered so that a reader can tell one is missing."""
    chunks = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]
    return {f"{name}{number:02d}": chunk for number, chunk in enumerate(chunks)}


def _join(row: Row, name: str) -> bytes:
    """The bytes that `_split` cut up; a missing chunk shows when they are unpacked, or here."""
    numbers = sorted(
        int(column.removeprefix(name))
        for column in row.columns
        if column.startswith(name) and column.removeprefix(name).isdigit()
    )
    if numbers != list(range(len(numbers))):
        raise StateUnreadableError(
            f"row {row.partition}/{row.key}: a chunk of {name} is missing", row.etag
        )
    chunks = [row.columns[f"{name}{number:02d}"] for number in numbers]
    if not all(isinstance(chunk, bytes) for chunk in chunks):
        raise StateUnreadableError(
            f"row {row.partition}/{row.key}: a chunk of {name} is not binary", row.etag
        )
    return b"".join(chunks)


def _json(value: object) -> str | None:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else None
