"""Rows and their keys: translates each kind of row from and to the domain's values."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.domain.control import Control
from shared.domain.conversation import (
    USERS_IN_ROW,
    Bags,
    Conversation,
    KeptSession,
    Participant,
    PrivateState,
    Status,
    TakenTurn,
)
from shared.domain.errors import StateTooLargeError, StateUnreadableError
from shared.domain.identity import Address, address_of, life_of
from shared.domain.reference import ConversationType, Reference
from shared.domain.sweep_record import SweepRecord
from shared.domain.timing import NEVER, OwnTiming
from shared.domain.users import Membership, UserRow
from shared.domain.work import DeadLetter, DueRow
from shared.storage.columns import FORM, FORM_COLUMN, MOST_SECONDS, Columns, is_id, read_row
from shared.storage.tables import Operation, Row

# A binary property holds at most 64 KiB.
CHUNK_BYTES = 64_000

# In the column Timing: the conversation never expires.
_NEVER = "never"

# What every row written by this version says.
MARK = {FORM_COLUMN: FORM}

TRACKING = (
    FORM_COLUMN,
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
    "HasOwnRows",
    "ExpiredAt",
    "LeaseUntil",
    "Attempts",
    "Moved",
    "Quiet",
    "KeptUntil",
    "Timing",
    "BegunAt",
    "TimeZone",
    "StateVersion",
    "ResumeUntil",
    "Kept",
    "PrivatePlace",
    "Bags",
    "BagsToken",
)

LETTER = (
    "RowKey",
    FORM_COLUMN,
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
        "HasOwnRows": conversation.has_own_rows or None,
        "ExpiredAt": conversation.expired_at,
        "LeaseUntil": conversation.lease_until,
        "Attempts": conversation.attempts or None,
        "Moved": conversation.moved or None,
        "Quiet": conversation.quiet or None,
        "KeptUntil": conversation.kept_until,
        "Timing": _timing_json(conversation.own),
        "BegunAt": conversation.begun_at,
        "TimeZone": conversation.time_zone,
        "ResumeUntil": conversation.resume_until,
        "Kept": conversation.kept and compact_json(_kept_values(conversation.kept)),
        "PrivatePlace": conversation.private_place or None,
        "Bags": conversation.bags and conversation.bags.id,
        "BagsToken": (conversation.bags and conversation.bags.token) or None,
        **chunks(conversation.state, "State"),
        **chunks(conversation.replies, "Replies"),
    }
    return _marked(columns)


def swept_columns(conversation: Conversation) -> dict[str, Any]:
    """The columns that a sweep changes, for a merge: its state stays, which the sweep never reads.

    Each of them is there, as a merge takes none away.
    """
    columns = {
        "Status": str(conversation.status),
        "Reference": _reference_json(conversation.reference),
        "ExpiredAt": conversation.expired_at,
        "LeaseUntil": conversation.lease_until,
        "Attempts": conversation.attempts,
        "Moved": conversation.moved,
        "Quiet": conversation.quiet,
        "ResumeUntil": conversation.resume_until,
        "Kept": "",
    }
    return _marked(columns)


def conversation_of(address: Address, row: Row, *, with_state: bool = True) -> Conversation:
    """The conversation in a row.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        session, quiet = columns.id("SessionId"), columns.flag("Quiet")
        users = {
            _checked_id(user): _participant(each)
            for user, each in columns.json("Users", dict).items()
        }
        return Conversation(
            address=address,
            session=session,
            last_accessed=columns.time("LastAccessed"),
            status=Status(columns.text("Status")),
            readable_key=columns.text("ConversationKey"),
            reference=_reference_of(columns),
            locale=columns.text_or_none("Locale"),
            state=joined_chunks(row, "State") if with_state else None,
            state_version=columns.text("StateVersion", ""),
            recent=tuple(TakenTurn(*_texts(each, 2)) for each in columns.json("Recent", list)),
            replies=joined_chunks(row, "Replies") if with_state else b"",
            trace=columns.text("Trace", ""),
            has_private=columns.flag("HasPrivate"),
            users=users,
            # A version that does not know the column leaves it out, and every user in.
            has_own_rows=columns.flag("HasOwnRows") or len(users) >= USERS_IN_ROW,
            expired_at=columns.time_or_none("ExpiredAt"),
            lease_until=columns.time_or_none("LeaseUntil"),
            attempts=columns.number("Attempts", 0),
            moved=columns.flag("Moved"),
            quiet=quiet,
            kept_until=columns.time_or_none("KeptUntil"),
            own=_timing_of(columns.json("Timing", dict)),
            begun_at=columns.time_or_none("BegunAt"),
            time_zone=columns.text_or_none("TimeZone"),
            resume_until=columns.time_or_none("ResumeUntil"),
            kept=_kept_of(columns),
            private_place=_place(columns.get("PrivatePlace")),
            bags=_bags(columns, session),
            etag=row.etag,
        )


def _marked(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that are there, with the mark of their form."""
    return {**{name: value for name, value in columns.items() if value is not None}, **MARK}


def _texts(value: object, count: int) -> list[str]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"it is no list of {count}")
    if not all(isinstance(each, str) for each in value):
        raise TypeError("it is no text")
    return value


def _participant(stored: object) -> Participant:
    writer, index_etag = _texts(stored, 2)
    return Participant(writer, index_etag)


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("it is no id")
    return text


def _reference_json(reference: Reference | None) -> str | None:
    return compact_json(reference.to_json()) if reference else None


def _reference_of(columns: Columns) -> Reference | None:
    stored = columns.json("Reference", dict)
    if not stored:
        return None
    reference = Reference.from_json(stored)
    accounts = [account for account in (reference.user, reference.bot) if account]
    needed = [reference.channel, reference.service_url, reference.conversation_id]
    needed += [account.id for account in accounts]
    optional = [reference.conversation_type, reference.tenant]
    optional += [text for each in accounts for text in (each.aad_object_id, each.role)]
    if not (
        all(isinstance(text, str) for text in needed)
        and all(text is None or isinstance(text, str) for text in optional)
        and (reference.is_group is None or isinstance(reference.is_group, bool))
    ):
        raise TypeError("Reference is no conversation reference")
    return reference


def _kept_values(kept: KeptSession) -> dict[str, Any]:
    values = {
        "session": kept.session,
        "until": kept.until.isoformat(),
        "version": kept.state_version,
        "private": kept.has_private,
        "place": kept.private_place,
        "timing": _timing_values(kept.own),
        "begun": kept.begun_at and kept.begun_at.isoformat(),
        "bags": kept.bags and kept.bags.id,
        "token": kept.bags and kept.bags.token,
    }
    return {name: value for name, value in values.items() if value}


def _kept_of(columns: Columns) -> KeptSession | None:
    found = columns.json("Kept", dict)
    if not found:
        return None
    session, document, begun = _checked_id(found["session"]), found.get("bags"), found.get("begun")
    version, token = _texts([found.get("version", ""), found.get("token", "")], 2)
    if not isinstance(document, str | None):
        raise TypeError("Kept has no document")
    return KeptSession(
        session=session,
        until=_aware(found["until"]),
        state_version=version,
        has_private=bool(found.get("private")),
        private_place=_place(found.get("place")),
        own=_timing_of(found.get("timing", {})),
        begun_at=_aware(begun) if begun else None,
        bags=Bags(document, life_of(session), token=token) if document else None,
    )


def _place(value: object) -> str:
    """A part of a key, or none."""
    if value in (None, ""):
        return ""
    return _checked_id(str(value))


def kept_row(address: Address, kept: KeptSession) -> Row:
    """The row with the state of a kept session; it goes as a private bag of that session would."""
    columns = {"SessionId": kept.life, **chunks(kept.state or b"", "State"), **MARK}
    return Row(address.shard, kept_row_key(address), columns)


def kept_row_key(address: Address) -> str:
    """The key of that row: no user's hash is `kept`."""
    return f"p|{address.key}|kept"


def state_kept_in(row: Row, kept: KeptSession) -> bytes | None:
    """The state in that row; None if it is of another session.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        if columns.id("SessionId") != kept.life:
            return None
        return joined_chunks(row, "State")


def _timing_json(own: OwnTiming | None) -> str | None:
    return compact_json(_timing_values(own))


def _timing_values(own: OwnTiming | None) -> dict[str, Any]:
    if own is None:
        return {}
    values = {
        "expire_after": _NEVER if own.expire_after == NEVER else _seconds(own.expire_after),
        "warn_before": own.warn_before and [_seconds(each) for each in own.warn_before],
        "notify": own.notify,
        "keep_until": own.keep_until and own.keep_until.isoformat(),
    }
    return {name: value for name, value in values.items() if value is not None}


def _timing_of(found: Mapping[str, Any]) -> OwnTiming | None:
    if not found:
        return None
    after, warnings, notify, until = map(
        found.get, ("expire_after", "warn_before", "notify", "keep_until")
    )
    if not isinstance(notify, bool | None) or not isinstance(warnings, list | None):
        raise TypeError("Timing is no timing")
    keep_until = None if until is None else _aware(until)
    return OwnTiming(
        expire_after=NEVER if after == _NEVER else _duration(after),
        warn_before=None if warnings is None else tuple(map(_checked_duration, warnings)),
        notify=notify,
        keep_until=keep_until,
    )


def _aware(text: object) -> datetime:
    found = datetime.fromisoformat(text) if isinstance(text, str) else None
    if found is None or found.tzinfo is None:
        raise ValueError("it is no aware time")
    return found


def _seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration else None


def _duration(seconds: object) -> timedelta | None:
    return None if seconds is None else _checked_duration(seconds)


def _checked_duration(seconds: object) -> timedelta:
    if not isinstance(seconds, float | int) or not 0 < seconds <= MOST_SECONDS:
        raise ValueError("Timing has no duration")
    return timedelta(seconds=seconds)


def _bags(columns: Columns, session: str) -> Bags | None:
    document = columns.text_or_none("Bags")
    if document is None:
        return None
    return Bags(document, life_of(session), token=columns.text("BagsToken", ""))


def private_key(conversation: Conversation, user: str) -> str:
    """The key of the row of a private bag.

    Sweeps of earlier versions delete it with its session, as it has no more parts than theirs.
    """
    place = f".{conversation.private_place}" if conversation.private_place else ""
    return f"p|{conversation.address.key}|{user}{place}"


def user_of_private(row: Row) -> str:
    """The user whose private bag, or own row, this is."""
    return row.key.split("|")[2].partition(".")[0]


def private_columns_of(life: str, bag: PrivateState) -> dict[str, Any]:
    """The columns of the row of a private bag."""
    return {"SessionId": life, "Version": bag.version, **chunks(bag.state, "State"), **MARK}


def private_of(row: Row, user: str, life: str | None) -> PrivateState:
    """The private bag in a row; an empty one if it belongs to another life (None: to any).

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        # An earlier version writes the whole id of a session that was resumed.
        if life is not None and life_of(columns.text("SessionId", "")) != life:
            return PrivateState(user, b"", "")
        return PrivateState(user, joined_chunks(row, "State"), columns.text("Version", ""))


def own_row(conversation: Conversation, user: str, entry: Participant) -> Row:
    """The row of a participant whom the conversation's row has no place for.

    Its session is not called SessionId: earlier versions delete what has the SessionId of a session
    that was ended early, and its turns may still be asked for.
    """
    columns = {
        "Session": conversation.life,
        "Writer": entry.writer,
        "LastsUntil": entry.lasts_until,
    }
    address = conversation.address
    return Row(address.shard, own_row_key(address, user), _marked(columns))


def own_row_key(address: Address, user: str) -> str:
    """The key of that row: it comes right after the user's private bag."""
    return f"p|{address.key}|{user}|w"


def writer_in(row: Row) -> str:
    """The turn that a participant's own row names.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        return columns.text("Writer")


def leftover_of(row: Row, session: str, gone_at: datetime | None) -> str:
    """The user whose row this is, if it is left over from this session; else empty.

    Args:
        row: of a private bag, or a participant's own.
        session: it is over.
        gone_at: when the conversation was seen to be gone; None: it has another session.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        _, _, _, *own = row.key.split("|")
        user, life = user_of_private(row), life_of(session)
        if not own:
            return user if life_of(columns.text("SessionId", "")) == life else ""
        until = columns.time_or_none("LastsUntil")
        is_of_life = life_of(columns.text("Session")) == life
        is_over = is_of_life or (until and gone_at and until < gone_at)
        return user if gone_at and is_over else ""


def user_columns(row: UserRow) -> dict[str, Any]:
    """The columns of a user's row."""
    columns = {
        # A version that does not know the second column takes the turn for committed.
        "Writer": None if row.own_row else row.writer or None,
        "OwnRowWriter": row.writer if row.own_row else None,
        "Conversation": f"{row.address.shard}|{row.address.key}" if row.address else None,
        "SessionId": row.session or None,
        "BaseETag": row.base_etag or None,
        "WrittenAt": row.written_at,
        "LastAccessed": row.last_accessed,
        "LastsUntil": row.lasts_until,
        "ConversationType": row.conversation_type and row.conversation_type.value,
        "CountsAnyway": row.counts_anyway or None,
        **chunks(row.state, "State"),
        **chunks(row.before, "Before"),
    }
    return _marked(columns)


def user_row_of(row: Row) -> UserRow:
    """The user's row as the domain has it.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        address, own_row_writer = None, columns.text("OwnRowWriter", "")
        where = columns.text_or_none("Conversation")
        if where is not None:
            shard, key = where.split("|")
            address = Address(_checked_id(shard), _checked_id(key))
        return UserRow(
            state=joined_chunks(row, "State"),
            etag=row.etag,
            before=joined_chunks(row, "Before"),
            writer=own_row_writer or columns.text("Writer", ""),
            address=address,
            session=life_of(columns.text("SessionId", "")),
            base_etag=columns.text("BaseETag", ""),
            written_at=columns.time_or_none("WrittenAt"),
            last_accessed=columns.time_or_none("LastAccessed"),
            lasts_until=columns.time_or_none("LastsUntil"),
            conversation_type=_type_of(columns),
            own_row=bool(own_row_writer),
            counts_anyway=columns.flag("CountsAnyway"),
        )


def _type_of(columns: Columns) -> ConversationType | None:
    found = columns.text_or_none("ConversationType")
    return ConversationType(found) if found is not None else None


def control_columns(control: Control) -> dict[str, Any]:
    """The columns of the row that describes the table."""
    return _marked(
        {
            "Shards": control.shard_count,
            "ExpireAfter": control.expire_after and int(control.expire_after.total_seconds()),
            "Policy": control.policy or None,
            "LongestExpireAfterNow": control.longest_now
            and int(control.longest_now.total_seconds()),
            "LongestExpireAfter": control.longest and int(control.longest.total_seconds()),
            "LookedUntil": control.looked_until,
            "LookAheadOverAt": control.over_at,
            "StateStore": control.state_store,
        }
    )


def control_of(row: Row) -> Control:
    """The description of the table in a row.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        return Control(
            shard_count=columns.number("Shards"),
            expire_after=columns.seconds_or_none("ExpireAfter"),
            policy=columns.text("Policy", ""),
            longest=columns.seconds_or_none("LongestExpireAfter"),
            longest_now=columns.seconds_or_none("LongestExpireAfterNow"),
            looked_until=columns.time_or_none("LookedUntil"),
            over_at=columns.time_or_none("LookAheadOverAt"),
            state_store=columns.text("StateStore", "tables"),  # tables of old do not say
            etag=row.etag,
        )


def sweep_record_of(row: Row) -> SweepRecord:
    """The record of a sweep in a row.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        return SweepRecord.from_json(columns.json("Record", dict))


def service_url_of(row: Row) -> str:
    """The service URL in a tenant's row.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        return columns.text("ServiceUrl")


def due_row(row: DueRow) -> Row:
    """The row of a work item; besides its key it says only whether its users were warned."""
    key = row.stored_key or f"d|{row.due_seconds:010d}|{row.address.key}|{row.session}"
    columns: dict[str, Any] = {}
    if row.warned:
        columns = {"Warned": row.warned, "WarnedSince": row.warned_since}
    if row.is_told:
        columns["Told"] = True
    return Row(row.address.shard, key, {**columns, **MARK})


def due_row_of(row: Row) -> DueRow:
    """The work item in a row; of a malformed key, what can be read.

    Raises:
        NewerRowError: a newer version wrote it.
    """
    try:
        with read_row(row) as columns:
            _, due, key, session = row.key.split("|")
            return DueRow(
                Address(row.partition, _checked_id(key)),
                _checked_id(session),
                _unix_time(due),
                warned=columns.number("Warned", 0),
                warned_since=columns.time_or_none("WarnedSince"),
                is_told=columns.flag("Told"),
            )
    except StateUnreadableError:
        _, _, key, session, *_ = [*row.key.split("|"), "", "", ""]
        is_known = is_id(key) and is_id(session)
        address = Address(row.partition, key if is_known else "")
        return DueRow(address, session if is_known else "", 0, stored_key=row.key)


def _unix_time(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) == 10):  # noqa: PLR2004 - see due_row
        raise ValueError("it is no time")
    return int(digits)


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
    return Row(letter.address.shard, dead_letter_key(letter), _marked(columns))


def dead_letter_of(row: Row) -> DeadLetter:
    """The dead letter in a row.

    Raises:
        StateUnreadableError: the row is damaged.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row) as columns:
        _, expired, key, session = row.key.split("|")
        letter = DeadLetter(
            address=Address(row.partition, _checked_id(key)),
            session=_checked_id(session),
            expired_at=columns.time("ExpiredAt"),
            dead_at=columns.time("DeadAt"),
            attempts=columns.number("Attempts"),
            reason=columns.text("Reason"),
            status=columns.number_or_none("HttpStatus"),
            code=columns.text("Code", ""),
            readable_key=columns.text("ConversationKey"),
            reference=_reference_of(columns),
            locale=columns.text_or_none("Locale"),
        )
        if letter.expired_seconds != _unix_time(expired):
            raise ValueError("its key has another time than ExpiredAt")
        return letter


def dead_letter_seconds(row: Row) -> int:
    """When the conversation of a dead letter expired, in Unix seconds, by the row's key alone.

    Raises:
        StateUnreadableError: the key is malformed.
        NewerRowError: a newer version wrote it.
    """
    with read_row(row):
        _, expired, _, _ = row.key.split("|")
        return _unix_time(expired)


def user_named_in(letter: DeadLetter) -> str:
    """The hash of the user whom the letter names; empty for a group's letter."""
    return letter.reference.user_hash if letter.reference else ""


def listed_letter(user: str, letter: DeadLetter) -> Row:
    """The entry of the user's list that stands for a dead letter."""
    address = letter.address
    entry = Membership(address, "", letter.session, letter.expired_seconds)
    return Row(user, entry_key(entry), {"Shard": address.shard, **MARK})


def entry_key(entry: Membership) -> str:
    """The key of an entry of a user's list."""
    if entry.stored_key:
        return entry.stored_key
    of_letter = f"|{entry.expired_seconds:010d}|{entry.session}" if entry.session else ""
    return f"in|{entry.address.key}{of_letter}"


def listed_conversation(row: Row, shard_count: int) -> Membership:
    """The entry of a user's list in a row; one of a malformed key leads nowhere.

    Raises:
        NewerRowError: a newer version wrote it.
    """
    try:
        with read_row(row) as columns:
            _, key, *of_letter = row.key.split("|")
            shard = columns.text_or_none("Shard") if is_id(columns.get("Shard")) else None
            address = Address(shard, key) if shard else address_of(key, shard_count)
            if not of_letter:
                return Membership(Address(address.shard, _checked_id(key)), row.etag)
            expired, session = of_letter
            return Membership(address, row.etag, _checked_id(session), _unix_time(expired))
    except StateUnreadableError:
        return Membership(Address("", ""), row.etag, stored_key=row.key)


def move_due_row(old: DueRow, new: DueRow) -> list[Operation]:
    """The writes, of one transaction, that move a work item."""
    return [Operation("delete", due_row(old)), Operation("upsert", due_row(new))]


def chunks(packed: bytes, name: str) -> dict[str, bytes]:
    """The bytes in columns of CHUNK_BYTES, numbered so that a reader sees if one is missing."""
    chunks = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]
    return {f"{name}{number:02d}": chunk for number, chunk in enumerate(chunks)}


def joined_chunks(row: Row, name: str) -> bytes:
    """The bytes that `chunks` cut up. A missing last chunk shows only when they are unpacked."""
    ends = [column[len(name) :] for column in row.columns if column.startswith(name)]
    numbers = sorted(int(end) for end in ends if end.isdigit())
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


_COMPACT = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":")
)  # `dumps` makes one each time


def compact_json(value: object) -> str | None:
    """The value as JSON; None for nothing."""
    return _COMPACT.encode(value) if value else None
