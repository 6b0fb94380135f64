"""The Bot State service's operations, on the bot's own data.

Source: "Manage state data" (Bot Framework documentation): three kinds of data, an eTag in the body,
`*` if nothing was saved yet. docs/state-data.md lists each of its rules, and where it holds here.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from shared.domain.conversation import Conversation, KeptSession, Participant, PrivateState
from shared.domain.errors import ConflictError, StateUnreadableError, StorageUnavailableError
from shared.domain.identity import Address, ConversationKey, user_hash
from shared.domain.policy import Policy
from shared.domain.store import StateStore
from shared.domain.users import UserRow
from shared.state import codec
from shared.state.user_row import UserRows

_T = TypeVar("_T")

NOTHING_SAVED = "*"

# A bag is a JSON object. Any other value is kept as this single property of a bag.
VALUE = "$data"

_NOT_KNOWN = "it is not known yet which state counts"

# Without an eTag a save overwrites any version, so it may be tried again.
_MAX_ATTEMPTS = 8


class PreconditionFailedError(Exception):
    """The eTag is not that of the current data; nothing was changed."""

    def __str__(self) -> str:
        """The message for the caller."""
        return "the data have changed since that eTag"


class InvalidDataError(Exception):
    """The data cannot be kept; the message says why."""


@dataclass(frozen=True)
class BotData:
    """The service's BotData: `data` as JSON (None: nothing), and the eTag of this version."""

    data: Any
    etag: str


@dataclass(frozen=True)
class _Bag:
    """One bag as it is stored, and its row's name for errors."""

    packed: bytes
    version: str
    row: str

    @property
    def etag(self) -> str:
        return self.version if self.packed else NOTHING_SAVED


@dataclass(frozen=True)
class _Session:
    """The session that is read or written.

    `forgets` is what could be resumed before, and cannot any more once a new session is written.
    """

    conversation: Conversation
    is_new: bool
    forgets: KeptSession | None = None


class StateData:
    """Reads and saves users', conversations' and private conversation data.

    Every operation may raise StorageUnavailableError. A save raises PreconditionFailedError,
    InvalidDataError for data that the codec does not know, or StateTooLargeError; then nothing
    was changed.

    Args:
        store: the store of the rows.
        policy: which timing holds for which conversation.
        now: the clock, in aware UTC.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        policy: Policy,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._policy = policy
        self._now = now
        self._queues: WeakValueDictionary[Address | str, asyncio.Lock] = WeakValueDictionary()

    async def get_user(self, channel_id: str, user_id: str) -> BotData:
        """The user's data on a channel."""
        user = user_hash(channel_id, user_id)

        async def attempt() -> _Bag:
            found = await self._user_rows(channel_id).read(user)
            return _Bag(found.state, found.row.etag if found.row else "", f"user {user}")

        return await _bot_data(await self._retried(attempt, _NOT_KNOWN))

    async def read_user(self, channel_id: str, user_id: str) -> dict[str, Any]:
        """The user's bag as JSON data. It needs none of the bot's classes, unlike `get_user`."""
        user = user_hash(channel_id, user_id)

        async def attempt() -> bytes:
            return (await self._user_rows(channel_id).read(user)).state

        packed = await self._retried(attempt, _NOT_KNOWN)
        with _damage_named(f"user {user}"):
            return await asyncio.to_thread(codec.unpack_data, packed)

    async def change_user(
        self, channel_id: str, user_id: str, change: Callable[[dict[str, Any]], None]
    ) -> None:
        """Change the user's bag; as `read_user`, it needs none of the bot's classes.

        Args:
            channel_id: the channel's id.
            user_id: the user's id there.
            change: changes the bag in place; called again if somebody else has changed it first.

        Raises:
            Exception: `change` raised it; nothing was changed.
        """
        user = user_hash(channel_id, user_id)

        async def attempt() -> None:
            found = await self._user_rows(channel_id).read(user)
            with _damage_named(f"user {user}"):
                before = await asyncio.to_thread(codec.unpack_data, found.state)
            bag = deepcopy(before)
            change(bag)
            if bag != before:
                packed = await asyncio.to_thread(_packed_data, bag, before)
                etag = found.row.etag if found.row else ""
                await self._store.save_user(user, UserRow(state=packed, etag=etag))

        await self._one_by_one(user, attempt)

    async def save_user(self, channel_id: str, user_id: str, new: BotData) -> BotData:
        """Save the user's data on a channel."""
        user = user_hash(channel_id, user_id)
        packed = await asyncio.to_thread(_packed, new.data)

        async def attempt() -> _Bag:
            found = await self._user_rows(channel_id).read(user)
            etag = found.row.etag if found.row else ""
            _check(new, _Bag(found.state, etag, f"user {user}"))
            saved, _ = await self._store.save_user(user, UserRow(state=packed, etag=etag))
            return _Bag(packed, saved.etag if saved else "", f"user {user}")

        return await self._save(user, attempt)

    async def get_conversation(self, channel_id: str, conversation_id: str) -> BotData:
        """The conversation's data."""
        session = await self._session(ConversationKey(channel_id, conversation_id))
        return await _bot_data(_conversation_bag(session))

    async def save_conversation(
        self, channel_id: str, conversation_id: str, new: BotData
    ) -> BotData:
        """Save the conversation's data."""
        key = ConversationKey(channel_id, conversation_id)
        packed = await asyncio.to_thread(_packed, new.data)

        async def attempt() -> _Bag:
            session = await self._session(key)
            _check(new, _conversation_bag(session))
            version = uuid4().hex[:16]
            changed = replace(session.conversation, state=packed, state_version=version)
            await self._store.save(changed, due=self._due(session), forgetting=session.forgets)
            return _Bag(packed, version, _named(changed))

        return await self._save(self._store.address(key.hash), attempt)

    async def get_private(self, channel_id: str, conversation_id: str, user_id: str) -> BotData:
        """The user's private data in a conversation."""
        session = await self._session(ConversationKey(channel_id, conversation_id))
        return await _bot_data(await self._private_bag(session, user_hash(channel_id, user_id)))

    async def save_private(
        self, channel_id: str, conversation_id: str, user_id: str, new: BotData
    ) -> BotData:
        """Save the user's private data in a conversation."""
        key = ConversationKey(channel_id, conversation_id)
        user = user_hash(channel_id, user_id)
        packed = await asyncio.to_thread(_packed, new.data)

        async def attempt() -> _Bag:
            session = await self._session(key)
            current = await self._private_bag(session, user)
            _check(new, current)
            conversation = session.conversation
            known = conversation.users.get(user) or Participant()
            in_row = conversation.has_place_for(user, self._store.users_in_row)
            # So that an erasure finds the data. What is there is found already.
            if not known.index_etag and (in_row or not current.packed):
                _, index_etag = await self._store.save_user(
                    user,
                    None,
                    conversation.address,
                    session="" if in_row else conversation.session,
                )
                known = replace(known, index_etag=index_etag)
            private = PrivateState(user, packed, version=uuid4().hex[:16])
            # The conversation is written too: a turn that has read the old data must start over.
            changed = conversation.joined_by(
                user, known if in_row else None, self._store.users_in_row
            )
            changed = replace(changed, has_private=True)
            await self._store.save(
                changed,
                due=self._due(session),
                private=[private],
                forgetting=session.forgets,
            )
            return _Bag(packed, private.version, _named(changed, user))

        return await self._save(self._store.address(key.hash), attempt)

    async def _save(self, where: Address | str, attempt: Callable[[], Awaitable[_Bag]]) -> BotData:
        return await _bot_data(await self._one_by_one(where, attempt))

    async def _one_by_one(self, where: Address | str, attempt: Callable[[], Awaitable[_T]]) -> _T:
        # Saves to one row follow each other, so only a turn or another process can come in between.
        async with self._queues.setdefault(where, asyncio.Lock()):
            return await self._retried(
                attempt, "the row changed again and again: nothing was saved"
            )

    async def _retried(self, attempt: Callable[[], Awaitable[_T]], failure: str) -> _T:
        for number in range(_MAX_ATTEMPTS):
            try:
                return await attempt()
            except ConflictError:
                # The eTag tells whether that changed these data.
                await asyncio.sleep(random.uniform(0, 0.05 * 2**number))  # noqa: S311 - no secret
        raise StorageUnavailableError(failure)

    def _user_rows(self, channel_id: str) -> UserRows:
        nowhere = Conversation(Address("", ""), session="", last_accessed=self._now())
        return UserRows(
            self._store,
            channel=channel_id,
            policy=self._policy,
            now=self._now,
            conversation=nowhere,
        )

    async def _private_bag(self, session: _Session, user: str) -> _Bag:
        if not session.conversation.has_private:
            return _Bag(b"", "", _named(session.conversation, user))
        private = await self._store.load_private(session.conversation, user)
        return _Bag(private.state, private.version, _named(session.conversation, user))

    def _due(self, session: _Session) -> int | None:
        """When a new session is due; None for an existing one, which has its due row."""
        if not session.is_new:
            return None
        return session.conversation.due(self._policy.of(session.conversation))

    async def _session(self, key: ConversationKey) -> _Session:
        address = self._store.address(key.hash)
        row, now = await self._store.load(address), self._now()
        if row is not None and not row.is_stale(now, self._policy.of(row)):
            return _Session(row, is_new=False)
        fresh = Conversation.begun(key, address, now)
        if row is not None:
            # The user was not told that it ended, and is told when this session ends.
            fresh = replace(
                fresh.succeeding(row, self._policy.without_own(row)),
                reference=row.reference,
                locale=row.locale,
            )
        kept = row.kept if row else None
        return _Session(fresh, is_new=True, forgets=kept if kept and kept.is_to_go(now) else None)


def _check(new: BotData, current: _Bag) -> None:
    if new.etag and new.etag != current.etag:
        raise PreconditionFailedError


def _conversation_bag(session: _Session) -> _Bag:
    conversation = session.conversation
    if session.is_new:
        return _Bag(b"", "", _named(conversation))
    return _Bag(conversation.state or b"", conversation.state_version, _named(conversation))


def _named(conversation: Conversation, user: str = "") -> str:
    address = conversation.address
    return f"conversation {address.shard}/{address.key}" + (f", user {user}" if user else "")


async def _bot_data(bag: _Bag) -> BotData:
    if not bag.packed:
        return BotData(None, NOTHING_SAVED)
    if len(bag.packed) > codec.LARGE_BYTES:
        return await asyncio.to_thread(_unpacked, bag)
    return _unpacked(bag)


def _unpacked(bag: _Bag) -> BotData:
    with _damage_named(bag.row):
        return BotData(as_json(bag.packed), bag.etag)


@contextmanager
def _damage_named(row: str) -> Iterator[None]:
    try:
        yield
    except codec.StateDecodeError as error:
        raise StateUnreadableError(f"state cannot be read: {row}: {error}") from error


def as_json(packed: bytes) -> Any:
    """A packed bag as the JSON data that callers from outside see; None for an empty one.

    Raises:
        StateDecodeError: the bytes are damaged.
    """
    if not packed:
        return None
    data = codec.encode(codec.unpack(packed))
    return data[VALUE] if data.keys() == {VALUE} else data


def _packed(data: Any) -> bytes:
    if data is None:
        return b""
    with _refusal_named():
        value = codec.decode(data)
        return codec.pack(value if isinstance(value, dict) else {VALUE: value})


def _packed_data(bag: dict[str, Any], before: dict[str, Any]) -> bytes:
    with _refusal_named():
        return codec.pack_data(bag, before)


@contextmanager
def _refusal_named() -> Iterator[None]:
    try:
        yield
    except (codec.StateDecodeError, codec.StateTypeError) as error:
        raise InvalidDataError(str(error)) from error
