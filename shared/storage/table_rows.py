"""Rows and their keys: translates each kind of row from and to the domain's values."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from shared.domain.conversation import Bags, Conversation, Participant, Status, TakenTurn
from shared.domain.errors import StateTooLargeError, StateUnreadableError
from shared.domain.identity import Address
from shared.domain.reference import Reference
from shared.domain.users import Membership, UserRow
from shared.domain.work import DeadLetter, DueRow
from shared.storage.tables import Operation, Row

# A binary property holds at most 64 KiB.
CHUNK_BYTES = 64_000

TRACKING = (
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
    "Quiet",
    "Bags",
    "BagsToken",
)

LETTER = (
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


def check_size(columns: Mapping[str, Any], most_bytes: int) -> None:
    """Refuse a row that is too large.

    Raises:
        StateTooLargeError: it is too large.
    """
    size = sum(len(value) for value in columns.values() if isinstance(value, bytes | str))
    if size > most_bytes:
        raise StateTooLargeError(
            f"the row would hold {-(-size // 1024)} KiB of state, reference and ids;"
            f" the limit is {most_bytes // 1024} KiB"
        )


def write_over(row: Row) -> Operation:
    """The write of a row over the version that was read; an insert if there was none."""
    return Operation("replace" if row.etag else "insert", row)


def conversation_columns(conversation: Conversation) -> dict[str, Any]:
    """The columns of a conversation's row."""
    if conversation.state is None:
        raise ValueError("a conversation read without its state must not be written back")
    columns = {
        "ConversationKey": conversation.readable_key,
        "SessionId": conversation.session,
        "Status": str(conversation.status),
        "LastAccessed": conversation.last_accessed,
        "Reference": _reference_json(conversation.reference),
        "Locale": conversation.locale,
        "StateVersion": conversation.state_version or None,
        "Recent": compact_json([(each.activity, each.writer) for each in conversation.recent]),
        "Trace": conversation.trace or None,
        "HasPrivate": conversation.has_private or None,
        "Users": compact_json(
            {user: (each.writer, each.index_etag) for user, each in conversation.users.items()}
        ),
        "ExpiredAt": conversation.expired_at,
        "LeaseUntil": conversation.lease_until,
        "Attempts": conversation.attempts or None,
        "Moved": conversation.moved or None,
        "Quiet": conversation.quiet or None,
        "Bags": conversation.bags and conversation.bags.id,
        "BagsToken": (conversation.bags and conversation.bags.token) or None,
        **chunks(conversation.state, "State"),
        **chunks(conversation.replies, "Replies"),
    }
    return {name: value for name, value in columns.items() if value is not None}


def conversation_of(address: Address, row: Row, *, with_state: bool = True) -> Conversation:
    """The conversation in a row.

    Raises:
        StateUnreadableError: the row is damaged.
    """
    columns = row.columns
    try:
        return Conversation(
            address=address,
            session=columns["SessionId"],
            last_accessed=columns["LastAccessed"],
            status=Status(columns["Status"]),
            readable_key=columns["ConversationKey"],
            reference=_reference_of(columns),
            locale=columns.get("Locale"),
            state=joined_chunks(row, "State") if with_state else None,
            state_version=columns.get("StateVersion", ""),
            recent=tuple(TakenTurn(*each) for each in json.loads(columns.get("Recent") or "[]")),
            replies=joined_chunks(row, "Replies") if with_state else b"",
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
            quiet=columns.get("Quiet", False),
            bags=_bags(columns),
            etag=row.etag,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateUnreadableError(f"row {row.partition}/{row.key}: {error!r}", row.etag) from error


def _reference_json(reference: Reference | None) -> str | None:
    return compact_json(reference.to_json()) if reference else None


def _reference_of(columns: Mapping[str, Any]) -> Reference | None:
    stored = columns.get("Reference")
    return Reference.from_json(json.loads(stored)) if stored else None


def _bags(columns: Mapping[str, Any]) -> Bags | None:
    if "Bags" not in columns:
        return None
    return Bags(columns["Bags"], columns["SessionId"], token=columns.get("BagsToken", ""))


def user_columns(row: UserRow) -> dict[str, Any]:
    """The columns of a user's row."""
    columns = {
        "Writer": row.writer or None,
        "Conversation": f"{row.address.shard}|{row.address.key}" if row.address else None,
        "SessionId": row.session or None,
        "BaseETag": row.base_etag or None,
        "WrittenAt": row.written_at,
        "LastAccessed": row.last_accessed,
        "LastsUntil": row.lasts_until,
        **chunks(row.state, "State"),
        **chunks(row.before, "Before"),
    }
    return {name: value for name, value in columns.items() if value is not None}


def user_row_of(row: Row) -> UserRow:
    """The user's row as the domain has it.

    Raises:
        StateUnreadableError: a chunk of its state is missing.
    """
    columns = row.columns
    address = None
    if "Conversation" in columns:
        shard, _, key = str(columns["Conversation"]).partition("|")
        address = Address(shard, key)
    return UserRow(
        state=joined_chunks(row, "State"),
        etag=row.etag,
        before=joined_chunks(row, "Before"),
        writer=columns.get("Writer", ""),
        address=address,
        session=columns.get("SessionId", ""),
        base_etag=columns.get("BaseETag", ""),
        written_at=columns.get("WrittenAt"),
        last_accessed=columns.get("LastAccessed"),
        lasts_until=columns.get("LastsUntil"),
    )


def seconds_or_none(value: int | None) -> timedelta | None:
    """This number of seconds, or None."""
    return None if value is None else timedelta(seconds=value)


def due_row(row: DueRow) -> Row:
    """The row of a work item; it has only a key."""
    key = f"d|{row.due_seconds:010d}|{row.address.key}|{row.session}"
    return Row(row.address.shard, key)


def due_row_of(row: Row) -> DueRow:
    """The work item in a row."""
    _, due, key, session = row.key.split("|")
    return DueRow(Address(row.partition, key), session, int(due))


def dead_letter_key(letter: DeadLetter) -> str:
    """The key of a dead letter's row: a session has at most one."""
    return f"x|{letter.expired_seconds:010d}|{letter.address.key}|{letter.session}"


def dead_letter_row(letter: DeadLetter) -> Row:
    """The row of a dead letter."""
    columns = {
        "ConversationKey": letter.readable_key,
        "Reference": _reference_json(letter.reference),
        "Locale": letter.locale,
        "Reason": letter.reason,
        "HttpStatus": letter.status,
        "Code": letter.code or None,
        "Attempts": letter.attempts,
        "ExpiredAt": letter.expired_at,
        "DeadAt": letter.dead_at,
    }
    present = {name: value for name, value in columns.items() if value is not None}
    return Row(letter.address.shard, dead_letter_key(letter), present)


def dead_letter_of(row: Row) -> DeadLetter:
    """The dead letter in a row.

    Raises:
        StateUnreadableError: the row is damaged.
    """
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
            reference=_reference_of(columns),
            locale=columns.get("Locale"),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateUnreadableError(f"row {row.partition}/{row.key}: {error!r}", row.etag) from error


def user_named_in(letter: DeadLetter) -> str:
    """The hash of the user whom the letter names; empty for a group's letter."""
    return letter.reference.user_hash if letter.reference else ""


def listed_letter(user: str, letter: DeadLetter) -> Row:
    """The entry of the user's list that stands for a dead letter."""
    address = letter.address
    entry = Membership(address, "", letter.session, letter.expired_seconds)
    return Row(user, entry_key(entry), {"Shard": address.shard})


def entry_key(entry: Membership) -> str:
    """The key of an entry of a user's list."""
    of_letter = f"|{entry.expired_seconds:010d}|{entry.session}" if entry.session else ""
    return f"in|{entry.address.key}{of_letter}"


def listed_conversation(row: Row) -> Membership:
    """The entry of a user's list in a row."""
    _, key, *of_letter = row.key.split("|")
    address = Address(str(row.columns["Shard"]), key)
    if not of_letter:
        return Membership(address, row.etag)
    expired, session = of_letter
    return Membership(address, row.etag, session, int(expired))


def move_due_row(old: DueRow, new: DueRow) -> list[Operation]:
    """The writes, of one transaction, that move a work item."""
    return [Operation("delete", due_row(old)), Operation("upsert", due_row(new))]


def chunks(packed: bytes, name: str) -> dict[str, bytes]:
    """The bytes in columns of CHUNK_BYTES, numbered so that a reader sees if one is missing."""
    chunks = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]
    return {f"{name}{number:02d}": chunk for number, chunk in enumerate(chunks)}


def joined_chunks(row: Row, name: str) -> bytes:
    """The bytes that `chunks` cut up. A missing last chunk shows only when they are unpacked."""
    numbers = sorted(
        int(column.removeprefix(name))
        for column in row.columns
        if column.startswith(name) and column.removeprefix(name).isdigit()
    )
    if numbers != list(range(len(numbers))):
        raise StateUnreadableError(
            f"row {row.partition}/{row.key}: a chunk of {name} is missing", row.etag
        )
    found = [row.columns[f"{name}{number:02d}"] for number in numbers]
    if not all(isinstance(chunk, bytes) for chunk in found):
        raise StateUnreadableError(
            f"row {row.partition}/{row.key}: a chunk of {name} is not binary", row.etag
        )
    return b"".join(found)


def compact_json(value: object) -> str | None:
    """The value as JSON; None for nothing."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else None
