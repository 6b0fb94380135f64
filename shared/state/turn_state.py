"""The rows that one attempt of a turn works on, as the SDK's storage."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botbuilder.core import Storage
from botbuilder.schema import Activity

from shared.domain.conversation import Conversation, Participant, PrivateState
from shared.domain.errors import StateUnreadableError, StoreError
from shared.domain.identity import user_hash
from shared.domain.policy import Policy
from shared.domain.store import StateStore
from shared.domain.users import UserRow
from shared.domain.values import replace
from shared.state import codec
from shared.state.kept_ids import BagName, KeptIds
from shared.state.user_row import UserRows, UserState


@dataclass(slots=True)
class _Bag:
    """One bag: as read (None: not read yet) and as it will be written (None: unchanged)."""

    name: str
    loaded: bytes | None = None
    staged: bytes | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # only one of two readers loads

    @property
    def current(self) -> bytes | None:
        return self.loaded if self.staged is None else self.staged

    @property
    def change(self) -> bytes | None:
        """The new content to write; None if the bag did not change."""
        return None if self.staged == self.loaded else self.staged


class TurnState(Storage):
    """The rows one attempt of a turn works on; BotState sees them as its storage.

    Nothing is written here: `write` and `delete` stage, and the turn commits. Only rows that the
    bot asks for are read.

    Args:
        store: the store of the rows.
        activity: the turn's activity; names the conversation and the user.
        conversation: the session's row, as loaded or freshly made (then with an empty state).
        turn: the id of the turn, the same in each of its attempts and for each copy of its
            activity.
        policy: which timing holds for which conversation.
        now: the clock, in aware UTC.
    """

    TURN_STATE_KEY = "shared.state.TurnState"

    def __init__(
        self,
        store: StateStore,
        activity: Activity,
        conversation: Conversation,
        *,
        turn: str,
        policy: Policy,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__()
        channel, user = activity.channel_id, activity.from_property.id
        in_conversation = f"{channel}/conversations/{activity.conversation.id}"
        self.user = user_hash(channel, user)
        self.failure: StoreError | None = None
        self._is_closed = False
        self._store = store
        self._policy = policy
        self._now = now
        self._user_rows = UserRows(
            store,
            channel=channel,
            policy=policy,
            now=now,
            turn=turn,
            conversation=conversation,
        )
        self._user = UserState()
        self._bags = {
            in_conversation: _Bag("the conversation's", loaded=conversation.state or b""),
            f"{in_conversation}/users/{user}/": _Bag("the private"),
            f"{channel}/users/{user}": _Bag("the user's"),
        }
        self._conversation_bag, self._private_bag, self._user_bag = self._bags.values()

    @property
    def conversation(self) -> Conversation:
        """The session's row as this attempt found it, at its current ETag."""
        return self._user_rows.conversation

    def close(self) -> None:
        """The bot's code has ended: what comes later cannot be saved any more."""
        self._is_closed = True

    def used_at(self, at: datetime) -> None:
        """Set the time of last use, for the next save of the session's row."""
        self._user_rows.conversation = self.conversation.used_at(at)

    async def keep_alive(self, *, is_use: bool) -> None:
        """Save that the session goes on; if that fails, the turn must start over.

        Args:
            is_use: whether it is certain that this turn uses the session.
        """
        now = self._now()
        here = self.conversation
        kept = here.used_at(now) if is_use else here.kept_alive(now, self._policy.of(here))
        try:
            self._user_rows.conversation = await self._store.save(kept)
        except StoreError as error:
            self.failure = error

    # The SDK's storage contract

    async def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """Fresh copies of the bags with these keys; empty bags are left out."""
        if keys is None:
            raise TypeError("Keys are required when reading")
        bags = {key: self._bag(key) for key in keys}
        await asyncio.gather(*(self._make_sure_of(bag) for bag in bags.values()))
        found: dict[str, Any] = {}
        for key, bag in bags.items():
            if bag.current:
                is_large = len(bag.current) > codec.LARGE_BYTES
                found[key] = (
                    await asyncio.to_thread(self._unpacked, bag)
                    if is_large
                    else self._unpacked(bag)
                )
        return found

    async def write(self, changes: Mapping[str, Any]) -> None:
        """Stage the bags.

        Raises:
            RuntimeError: the turn is over; nothing would be saved.
            StateTypeError: state cannot hold the type of a value; nothing is staged.
        """
        if changes is None:
            raise TypeError("Changes are required when writing")
        self._check_open()
        packed = {key: codec.pack(changes[key]) for key in changes}
        for key, value in packed.items():
            self._bag(key).staged = value

    def would_change(self, key: str, value: dict[str, Any]) -> bool:
        """Whether writing this value to the bag, which was read, would change it.

        Raises:
            StateTypeError: state cannot hold the type of something in it.
        """
        return codec.pack(value) != (self._bag(key).current or b"")

    async def delete(self, keys: Iterable[str]) -> None:
        """Stage the bags as empty; it is no error if one never existed.

        Raises:
            RuntimeError: the turn is over; nothing would be saved.
        """
        self._check_open()
        for key in keys:
            self._bag(key).staged = b""

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError(
                "state is saved in its turn, and this turn is over: await what saves it, or begin a"
                " turn with continue_conversation"
            )

    def _bag(self, key: str) -> _Bag:
        try:
            return self._bags[key]
        except KeyError:
            raise KeyError(
                f"{key!r} is not state of this turn's conversation or user: a turn reads and writes"
                " the bags of its own activity only"
            ) from None

    async def _make_sure_of(self, bag: _Bag) -> None:
        async with bag.lock:
            if bag.current is None:
                bag.loaded = await self._load(bag)

    async def _load(self, bag: _Bag) -> bytes:
        try:
            if bag is self._user_bag:
                self._user = await self._user_rows.read(self.user)
                return self._user.state
            if not self.conversation.has_private:
                return b""
            return (await self._store.load_private(self.conversation, self.user)).state
        except StoreError as error:
            # Even if the bot catches this, the turn must not commit: it worked without the row.
            self.failure = error
            raise

    def _unpacked(self, bag: _Bag) -> dict[str, Any]:
        try:
            return codec.unpack(bag.current or b"")
        except codec.StateDecodeError as error:
            address = self.conversation.address
            self.failure = StateUnreadableError(
                f"{bag.name} state cannot be read: conversation {address.shard}/{address.key},"
                f" user {self.user}: {error}"
            )
            raise self.failure from error

    # What the turn commits

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return any(bag.change is not None for bag in self._bags.values())

    @property
    def changes_user(self) -> bool:
        """Whether the bot has set the user's bag; a bag that was not read may be equal to it."""
        return self._user_bag.change is not None

    @property
    def has_session_change(self) -> bool:
        """Whether there is a change of conversation state or private state to write."""
        return self.conversation_change is not None or bool(self.private_changes(version=""))

    def private_changes(self, version: str) -> list[PrivateState]:
        """The private bag to write, if it changed."""
        change = self._private_bag.change
        if change is None or not (change or self.conversation.has_private):
            return []
        return [PrivateState(self.user, change, version)]

    @property
    def conversation_change(self) -> bytes | None:
        """The conversation's bag to write, if it changed."""
        return self._conversation_bag.change

    async def keeping(self, placeholders: Collection[str]) -> KeptIds | None:
        """Where this attempt has kept some of these placeholders; None if nowhere."""
        if not placeholders:
            return None
        bags: Mapping[BagName, _Bag] = {
            "conversation": self._conversation_bag,
            "private": self._private_bag,
            "user": self._user_bag,
        }
        holding = [name for name, bag in bags.items() if await _holds(bag, placeholders)]
        return KeptIds(holding, self.conversation.session, self.user) if holding else None

    async def save_user(self, *, joining: bool) -> Participant | None:
        """Write the user's row, if it changed. It counts once the conversation's row names it.

        Returns the user's new entry for the conversation's row; None if the entry stays.

        Args:
            joining: whether to add the conversation to the user's list.

        Raises:
            ConflictError: another turn of the user was first.
        """
        change = await self._user_change()
        in_row = self.conversation.has_place_for(self.user, self._store.users_in_row)
        row = None
        if change is not None:
            row = self._user_rows.row_of(self._user, change, own_row=not in_row)
        if not in_row:
            return await self._save_in_own_row(row)
        known = self.conversation.users.get(self.user)
        joins = joining and (known is None or not known.index_etag)
        if row is None and not joins:
            return None
        address = self.conversation.address if joins else None
        saved, index_etag = await self._store.save_user(self.user, row, address)
        self._user = replace(self._user, row=saved or self._user.row)
        known = known or Participant()
        return Participant(
            writer=row.writer if row else known.writer, index_etag=index_etag or known.index_etag
        )

    async def _save_in_own_row(self, row: UserRow | None) -> Participant | None:
        """The same for a user whom the conversation's row has no place for.

        The list names the conversation only if there is a row of the user in it. So what was read
        of these rows tells whether it does: an erasure deletes them first.
        """
        before, here = self._user.row, self.conversation
        is_listed = (
            before is not None
            and before.own_row
            and (before.address, before.session) == (here.address, here.life)
        ) or bool(self._private_bag.loaded)
        joins = not is_listed and (row is not None or bool(self.private_changes(version="")))
        if row is None and not joins:
            return None
        address = here.address if joins else None
        saved, _ = await self._store.save_user(self.user, row, address, session=here.session)
        self._user = replace(self._user, row=saved or self._user.row)
        return Participant(writer=row.writer, lasts_until=row.lasts_until) if row else None

    async def save_user_alone(self) -> None:
        """Write the user's row, if it changed. It counts at once, as there is no conversation.

        Raises:
            ConflictError: another turn of the user was first.
        """
        change = await self._user_change()
        if change is not None:
            etag = self._user.row.etag if self._user.row else ""
            await self._store.save_user(self.user, UserRow(state=change, etag=etag))

    async def _user_change(self) -> bytes | None:
        if self._user_bag.staged is not None and self._user_bag.loaded is None:
            # A bag that was set without a read still needs the version to write over.
            self._user_bag.loaded = await self._load(self._user_bag)
        return self._user_bag.change


async def _holds(bag: _Bag, placeholders: Collection[str]) -> bool:
    packed = bag.current or b""
    try:
        if len(packed) > codec.LARGE_BYTES:
            found = await asyncio.to_thread(codec.placeholders, packed)
        else:
            found = codec.placeholders(packed)
    except codec.StateDecodeError:
        return False  # the bot has not looked at it
    return not found.isdisjoint(placeholders)
