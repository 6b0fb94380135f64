"""Conversations and when they are stale: the domain. Time comes in as an argument; no I/O.

One conversation has one session at a time: from its first message to its expiry. What the store
must do with them are the protocols at the end.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol
from uuid import uuid4

# A message this close to the expiry saves its time of receipt before the dialog runs, so that a
# sweep cannot expire the session under it. A dialog that runs on until then again does so again.
MAX_GUARD = timedelta(seconds=30)

# Clocks of two instances may differ by this much; the sweep leaves younger due rows alone.
CLOCK_SKEW = timedelta(seconds=2)

# The session in the due row of an erasure, whose key is the user's hash.
ERASURE = "erase"

# Between the writes of one commit lie milliseconds. A turn that has not done the last one after
# this long has crashed.
COMMIT_TAKES_AT_MOST = timedelta(seconds=30)

# How long a claim keeps other sweeps away from an expired conversation.
LEASE = timedelta(seconds=60)


class StoreError(Exception):
    """Something went wrong between the app and its store."""


class ConflictError(StoreError):
    """Another writer was first: the row is not what it was when it was read."""


class StorageUnavailableError(StoreError):
    """The store did not answer, or refused. A write that raises this may still have happened."""


class StateTooLargeError(StoreError):
    """A row would be larger than the store may hold; nothing was written."""


class StateUnreadableError(StoreError):
    """A stored row cannot be read back: it was damaged or written by something else.

    `etag` is the row's, where it is known, so that it can be replaced.
    """

    def __init__(self, message: str, etag: str = "") -> None:
        super().__init__(message)
        self.etag = etag


@dataclass(frozen=True)
class ConversationKey:
    """What names a conversation on its channel.

    Raises:
        ValueError: the channel id holds the separator `|`, so two keys could look the same.
    """

    channel_id: str
    conversation_id: str

    def __post_init__(self) -> None:
        if "|" in self.channel_id:
            raise ValueError("channelId must not contain '|'")

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits: ids of any shape and length become keys a table accepts."""
        return sha256(f"{self.channel_id}|{self.conversation_id}".encode()).hexdigest()

    def address(self, shards: int) -> "Address":
        """Where the conversation lives in a table of so many shards."""
        return Address(shard=f"s{int(self.hash[:4], 16) % shards:03d}", key=self.hash[:32])


@dataclass(frozen=True, slots=True)
class Address:
    """Where a conversation lives: its shard (a partition) and its key within it."""

    shard: str
    key: str


class Status(StrEnum):
    """A conversation is active, or expired with its notice not yet settled."""

    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Participant:
    """What a conversation knows of a user who wrote in it.

    `writer` is the turn whose write of the user's state belongs to this session, if any.
    `index_etag` is the version of the row that lists the conversation with the user.
    """

    writer: str = ""
    index_etag: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn that was taken: the hash of its activity's id (empty: it had none) and its write."""

    activity: str
    writer: str


@dataclass(frozen=True, slots=True)
class PrivateState:
    """One user's private bag in one conversation, packed; it counts for its session only.

    `version` is another after each change.
    """

    user: str
    state: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Bags:
    """A session's bags where they are kept apart from its row, all in one document.

    `private` are those of its users, by their hash. `token` tells the store how new a copy of the
    document must be.
    """

    id: str
    session: str
    state: bytes = b""
    private: Mapping[str, PrivateState] = field(default_factory=dict)
    token: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation's row: tracking, and the packed state its dialogs left.

    `etag` is empty for a row that was never stored. `state` is None where it was not read, and
    `state_version` is another after each change of it. `users` are who wrote in this session, by
    their hash. `recent` are the last turns, which outlive a session; `replies` is what the very
    last one sends, packed, unless it is known to be sent; `trace` is its span, where it was traced.
    `moved` tells that a notice was refused at the address that the channel gave, and another took
    its place. `bags` are as they were stored, where that is not in this row.
    """

    address: Address
    session: str
    last_accessed: datetime
    status: Status = Status.ACTIVE
    readable_key: str = ""
    reference: Mapping[str, Any] | None = None
    locale: str | None = None
    state: bytes | None = None
    state_version: str = ""
    recent: tuple["Taken", ...] = ()
    replies: bytes = b""
    trace: str = ""
    has_private: bool = False
    users: Mapping[str, Participant] = field(default_factory=dict)
    expired_at: datetime | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    moved: bool = False
    bags: Bags | None = field(default=None, compare=False)
    etag: str = ""

    @classmethod
    def begun(cls, key: ConversationKey, address: Address, at: datetime) -> "Conversation":
        """A new session that begins now, with nothing in it and nothing stored."""
        return cls(
            address=address,
            session=new_session_id(),
            last_accessed=at,
            readable_key=f"{key.channel_id}|{key.conversation_id}"[:1000],
            state=b"",
        )

    def due(self, expire_after: timedelta) -> int:
        """When it will be stale, in Unix seconds as due rows have it."""
        return due_seconds(self.last_accessed + expire_after)

    def is_stale(self, now: datetime, expire_after: timedelta) -> bool:
        """Idle for `expire_after` or longer, or expired already.

        Source: "Expire a conversation" (Bot Framework documentation): the boundary is inclusive.
        """
        return self.status is Status.EXPIRED or now - self.last_accessed >= expire_after

    @property
    def is_replayed(self) -> bool:
        """Made of a dead letter: which turns its session took, nobody knows any more."""
        return self.expired_at is not None and self.expired_at <= self.last_accessed

    def needs_guard(self, now: datetime, expire_after: timedelta) -> bool:
        """So close to its expiry that a sweep might come before the turn's commit."""
        return self.guard_begins(expire_after) <= now

    def guard_begins(self, expire_after: timedelta) -> datetime:
        """When it gets so close to its expiry."""
        return self.last_accessed + expire_after - min(MAX_GUARD, expire_after / 4)

    def succeeding(self, ended: "Conversation") -> "Conversation":
        """This new session in the place of one that has ended, with what outlives that."""
        # An expired row's users are being taken off their lists by a sweep. And what users wrote
        # of their own state belongs to the session that has ended.
        listed = ended.users if ended.status is Status.ACTIVE else {}
        return replace(
            self,
            recent=ended.recent,
            users={user: replace(each, writer="") for user, each in listed.items()},
            bags=ended.bags,
            etag=ended.etag,
        )

    def is_personal(self, user: str) -> bool:
        """Whether it is between the bot and this user (by hash) alone."""
        where = self.reference["conversation"] if self.reference else {}
        return bool(where) and not where.get("isGroup") and set(self.users) <= {user}

    def claimed(self, now: datetime) -> "Conversation":
        """The row after a sweep's claim: state gone, expired, leased to that sweep."""
        return replace(
            self,
            status=Status.EXPIRED,
            state=b"",
            state_version="",
            replies=b"",
            expired_at=self.expired_at or now,
            lease_until=now + LEASE,
            attempts=self.attempts + 1,
        )

    def moved_to(self, service_url: str) -> "Conversation":
        """The row with another address for what is sent to it; done once in a session."""
        return replace(
            self, reference={**(self.reference or {}), "serviceUrl": service_url}, moved=True
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The notice of an expired session that could not be delivered, kept for whoever runs the bot.

    It holds what sending it again takes, and nothing that was said. The first attempt was right
    after `expired_at`, the last one right before `dead_at`.

    Attributes:
        reason: why it is not tried any more.
        status: the channel's last HTTP status, None where it gave none.
        code: the channel's own word for the failure, if it gave one.
    """

    address: Address
    session: str
    expired_at: datetime
    dead_at: datetime
    attempts: int
    reason: str
    status: int | None = None
    code: str = ""
    readable_key: str = ""
    reference: Mapping[str, Any] = field(default_factory=dict)
    locale: str | None = None

    @property
    def expired_seconds(self) -> int:
        """Unix time of the expiry, part of its key: a session has one dead letter at most."""
        return due_seconds(self.expired_at)


@dataclass(frozen=True, slots=True)
class DueRow:
    """One session's work item for the sweep; `due_seconds` is Unix time, rounded up."""

    address: Address
    session: str
    due_seconds: int


def due_seconds(moment: datetime) -> int:
    """Unix time of `moment`, rounded up so that nothing is due early."""
    return math.ceil(moment.timestamp())


def utc_now() -> datetime:
    """The clock that everything but a test uses."""
    return datetime.now(UTC)


def new_session_id() -> str:
    """An id for one life of a conversation."""
    return uuid4().hex[:16]


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user's bag, packed, and who wrote it last.

    A turn writes the user's row before the conversation's, and the conversation's write is the
    commit. Until then `before` is the user's state that still counts: `writer` (the turn),
    `address`, `session` and `base_etag` tell whose commit decides, and `last_accessed`, of that
    session, how long it would have lasted at least.
    """

    state: bytes
    etag: str = ""
    before: bytes = b""
    writer: str = ""
    address: Address | None = None
    session: str = ""
    base_etag: str = ""
    written_at: datetime | None = None
    last_accessed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """An entry of a user's list: a conversation that the user wrote in.

    With a `session` it stands for the dead letter of that session, which names the user.
    """

    address: Address
    etag: str
    session: str = ""
    expired_seconds: int = 0


class StateStore(Protocol):
    """What turns, the state functions and erasures need of a store.

    Every write of a conversation is conditional on the ETag it carries. Any method may raise
    StorageUnavailableError.
    """

    async def load(self, address: Address) -> Conversation | None:
        """The whole row with its state, or None."""

    async def load_private(self, conversation: Conversation, user: str) -> PrivateState:
        """The user's private bag of this session; empty if there is none."""

    async def load_user(self, user: str) -> UserRow | None:
        """The user's row, or None. `user` is the hash of channel and user id."""

    async def save_user(
        self, user: str, row: UserRow | None, joining: Address | None = None
    ) -> tuple[UserRow | None, str]:
        """Write the user's row over the version it was read at, and list a conversation there.

        Either may be None. Returns the row with its new ETag, and the ETag of the list's entry.

        Raises:
            ConflictError: the row is another version by now.
            StateTooLargeError: nothing was written.
        """

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        private: Sequence[PrivateState] = (),
    ) -> Conversation:
        """Write the conversation over the version it was read at, with its private bags.

        `due` (Unix seconds) files a due row for a new session in the same transaction.

        Raises:
            ConflictError: the row is another version by now.
            StateTooLargeError: nothing was written.
        """

    async def discard(self, address: Address, etag: str) -> None:
        """Delete a conversation that cannot be read, at this version.

        Raises:
            ConflictError: the conversation is another version by now.
        """

    async def drop_listed(self, entry: "Joined") -> bool:
        """Delete the dead letter that an entry stands for; returns whether there was one."""

    async def clean_up(self, row: DueRow, *, has_private: bool) -> None:
        """Delete what a finished session left: its private bags, then its work item."""

    async def file(self, row: DueRow) -> None:
        """Add a work item that hangs on no conversation."""

    async def joined(self, user: str) -> Sequence["Joined"]:
        """The conversations that the user is listed in, and the dead letters that name the user."""

    async def leave(self, user: str, entry: "Joined") -> None:
        """Remove an entry of the user's list, at its version.

        Raises:
            ConflictError: the user has joined that conversation again.
        """

    async def has_user(self, user: str) -> bool:
        """Whether there is a row of the user, readable or not."""

    async def delete_user(self, user: str) -> bool:
        """Delete the user's row; returns whether there was one."""

    async def delete_private(self, address: Address, user: str) -> bool:
        """Delete the user's private bag, of whatever session; returns whether there was one."""

    async def due_rows_of(self, address: Address) -> Sequence[DueRow]:
        """The conversation's work items, found among all of its shard."""


class ConversationStore(StateStore, Protocol):
    """What the sweep needs of a store, and dead letters do."""

    def due(
        self, shard: str, until: datetime, after: datetime | None = None
    ) -> AsyncIterator[Sequence[DueRow]]:
        """Pages of the shard's work items due by `until`, and after `after`, oldest first."""

    async def load_tracking(self, address: Address) -> Conversation | None:
        """The row without its state, or None."""

    async def refile(self, rows: Sequence[tuple[DueRow, int]]) -> None:
        """Move each work item (all of one shard) to its new due time, in Unix seconds."""

    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        """Lease an expired conversation until `due` and move its work item there, in one step.

        Raises:
            ConflictError: the conversation is another version by now.
        """

    async def settle(self, conversation: Conversation) -> None:
        """Delete the expired conversation at this version; that it is gone is no error.

        What hangs on its session goes first: private bags, and entries in its users' lists.

        Raises:
            ConflictError: the conversation is another version by now.
        """

    async def settle_dead(
        self, conversation: Conversation, row: DueRow, letter: DeadLetter
    ) -> None:
        """Settle the expired conversation at this version, and keep its notice as a dead letter.

        In one step, with its work item: there is a dead letter if, and only if, this settled it.

        Raises:
            ConflictError: the conversation is another version, or gone; nothing was kept.
        """

    def dead_letters(self, shard: str) -> AsyncIterator[Sequence[DeadLetter]]:
        """Pages of the shard's dead letters, those that expired first, first."""

    async def replay(self, letter: DeadLetter, now: datetime) -> bool:
        """Turn a dead letter back into an expired conversation whose notice is due `now`.

        Returns False if the user was back first: then the letter is dropped; or if it is gone.
        """

    async def drop(self, letter: DeadLetter) -> None:
        """Delete a dead letter; that it is gone is no error."""

    @property
    def shards(self) -> Sequence[str]:
        """The names of all shards."""
