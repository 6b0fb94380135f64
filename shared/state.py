"""The bot's three bags of state during one attempt of a turn, and the BotStates that use them.

ConversationState, UserState, PrivateConversationState  what a bot author works with
    └── TurnState  the rows this attempt has loaded; a save stages, the turn commits
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import botbuilder.core
from botbuilder.core import BotState, StatePropertyAccessor, Storage, TurnContext
from botbuilder.schema import Activity

from shared.conversations import (
    ConflictError,
    Conversation,
    ConversationStore,
    PrivateState,
    StateUnreadableError,
    StoreError,
    UserRow,
)
from shared.storage import codec
from shared.storage.store import user_hash

# A turn writes the user's row and then, milliseconds later, the conversation's. One that has not
# done the second after this long has crashed.
COMMIT_TAKES_AT_MOST = timedelta(seconds=30)


@dataclass(slots=True)
class _Bag:
    """One bag: as it was read (None: not read yet) and as it is to be written (None: unchanged)."""

    loaded: bytes | None = None
    staged: bytes | None = None

    @property
    def current(self) -> bytes | None:
        return self.loaded if self.staged is None else self.staged

    @property
    def change(self) -> bytes | None:
        """What has to be written; None if the bag is known to be as it was."""
        return None if self.staged == self.loaded else self.staged


class TurnState(Storage):
    """The rows one attempt of a turn works on; BotState sees them as its storage.

    Nothing is written here: `write` and `delete` stage, and the turn commits. Rows that the bot
    does not ask for are not read.

    Args:
        store: where the rows are.
        activity: the turn's activity; names the conversation and the user.
        conversation: the session's row, as loaded or freshly made (then with an empty state).
        my_writers: the ids under which earlier attempts of this turn tried to commit.
        expire_after: how long a conversation may be idle.
        now: the clock, in aware UTC.
    """

    TURN_STATE_KEY = "shared.state.TurnState"

    def __init__(
        self,
        store: ConversationStore,
        activity: Activity,
        conversation: Conversation,
        *,
        my_writers: Iterable[str],
        expire_after: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__()
        channel, user = activity.channel_id, activity.from_property.id
        in_conversation = f"{channel}/conversations/{activity.conversation.id}"
        self.user = user_hash(channel, user)
        self.conversation = conversation
        self.failure: StoreError | None = None
        self._store = store
        self._my_writers = frozenset(my_writers)
        self._expire_after = expire_after
        self._now = now
        self._user_row: UserRow | None = None
        self._bags = {
            in_conversation: _Bag(loaded=conversation.state or b""),
            f"{in_conversation}/users/{user}/": _Bag(),
            f"{channel}/users/{user}": _Bag(),
        }
        self._conversation_bag, self._private_bag, self._user_bag = self._bags.values()

    # The SDK's storage contract

    async def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """Fresh copies of the bags of those keys; a bag that is empty is left out."""
        if keys is None:
            raise TypeError("Keys are required when reading")
        found = {}
        for key in keys:
            bag = self._bag(key)
            if bag.current is None:
                bag.loaded = await self._load(bag)
            if bag.current:
                found[key] = self._unpacked(bag.current)
        return found

    async def write(self, changes: Mapping[str, Any]) -> None:
        """Stage the bags.

        Raises:
            StateTypeError: a value is of a type that state cannot hold; nothing is staged.
        """
        if changes is None:
            raise TypeError("Changes are required when writing")
        packed = {key: codec.pack(changes[key]) for key in changes}
        for key, value in packed.items():
            self._bag(key).staged = value

    async def delete(self, keys: Iterable[str]) -> None:
        """Stage the bags as empty; one that never was is no error."""
        for key in keys:
            self._bag(key).staged = b""

    def _bag(self, key: str) -> _Bag:
        try:
            return self._bags[key]
        except KeyError:
            raise KeyError(
                f"{key!r} is not state of this turn's conversation or user: a turn reads and writes"
                " the bags of its own activity only"
            ) from None

    async def _load(self, bag: _Bag) -> bytes:
        try:
            if bag is self._user_bag:
                return await self._load_user()
            if not self.conversation.has_private or not self.conversation.etag:
                return b""
            return await self._store.load_private(self.conversation, self.user)
        except StoreError as error:
            # Even if the bot swallows this, the turn must not commit what it did without the row.
            self.failure = error
            raise

    def _unpacked(self, packed: bytes) -> dict[str, Any]:
        try:
            return codec.unpack(packed)
        except codec.StateDecodeError as error:
            address = self.conversation.address
            self.failure = StateUnreadableError(
                f"state of {address.shard}/{address.key} or of its user {self.user}: {error}"
            )
            raise self.failure from error

    # The user's row, which no transaction spans together with the conversation's

    async def _load_user(self) -> bytes:
        self._user_row = row = await self._store.load_user(self.user)
        if row is None:
            return b""
        return row.before if await self._was_not_committed(row) else row.state

    async def _was_not_committed(self, row: UserRow) -> bool:
        """Whether the turn that wrote the user's row never committed its conversation.

        If that turn might still do so, it is stopped first: its conversation gets a new ETag.

        Raises:
            ConflictError: it cannot be known yet; the attempt starts over.
        """
        if not row.writer or row.address is None or row.written_at is None:
            return False
        if row.writer in self._my_writers:
            return True
        mine = self.conversation if row.address == self.conversation.address else None
        if mine and mine.session == row.session and self._committed(mine, row):
            return False
        there = await self._store.load(row.address)
        if mine and (there.etag if there else "") != mine.etag:
            raise ConflictError("the conversation has moved on since this turn loaded it")
        may_still_commit = (there.etag if there else "") == row.base_etag
        if there and there.session == row.session:
            if self._committed(there, row):
                return False
            if may_still_commit:
                stopped = await self._store.save(there)
                if mine:
                    self.conversation = replace(self.conversation, etag=stopped.etag)
            return True
        # A session that had yet to begin, or one that is over. Only time tells which.
        age = self._now() - row.written_at
        if may_still_commit and age < COMMIT_TAKES_AT_MOST:
            raise ConflictError("another turn of this user is being committed")
        return not may_still_commit and age < self._expire_after

    def _committed(self, conversation: Conversation, row: UserRow) -> bool:
        return conversation.user_writers.get(self.user) == row.writer

    # What the turn commits

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return any(bag.change is not None for bag in self._bags.values())

    @property
    def private_changes(self) -> list[PrivateState]:
        """The private bag as it is to be written, if it changed."""
        change = self._private_bag.change
        if change is None or not (change or self.conversation.has_private):
            return []
        return [PrivateState(self.user, change)]

    @property
    def conversation_state(self) -> bytes:
        """The conversation's bag as it is to be written."""
        return self._conversation_bag.current or b""

    async def save_user(self, writer: str, *, pending: bool) -> bool:
        """Write the user's row, if it changed; returns whether it did.

        Args:
            writer: the id of this attempt.
            pending: it counts only once the conversation's row says so (see `UserRow`).

        Raises:
            ConflictError: another turn of the user was first.
        """
        if self._user_bag.staged is not None and self._user_bag.loaded is None:
            self._user_bag.loaded = await self._load(self._user_bag)
        change = self._user_bag.change
        if change is None:
            return False
        row = UserRow(state=change, etag=self._user_row.etag if self._user_row else "")
        if pending:
            row = replace(
                row,
                before=self._user_bag.loaded or b"",
                writer=writer,
                address=self.conversation.address,
                session=self.conversation.session,
                base_etag=self.conversation.etag,
                written_at=self._now(),
            )
        self._user_row = await self._store.save_user(self.user, row)
        return True


class _TurnScopedState(BotState):
    """BotState without its faults.

    The SDK's loads again what is empty (so a cleared state comes back), writes an empty row for
    every new conversation, cannot delete what was not loaded, and takes a default of 0 for none.
    Its storage is the turn's own TurnState, found through the turn context.
    """

    def _rows(self, turn_context: TurnContext) -> TurnState:
        rows = turn_context.turn_state.get(TurnState.TURN_STATE_KEY)
        if not isinstance(rows, TurnState):
            raise TypeError("state can be used in a turn that the messages function runs, only")
        return rows

    def create_property(self, name: str) -> "StateProperty":
        """An accessor of the property of that name."""
        if not name:
            raise TypeError("a state property needs a name")
        return StateProperty(self, name)

    async def load(self, turn_context: TurnContext, force: bool = False) -> None:
        """Read the bag, once a turn; with `force`, drop what was changed since the last save."""
        if force or self.get_cached_state(turn_context) is None:
            key = self.get_storage_key(turn_context)
            found = await self._rows(turn_context).read([key])
            turn_context.turn_state[self._context_service_key] = _Cached(found.get(key) or {})

    async def save_changes(self, turn_context: TurnContext, force: bool = False) -> None:
        """Stage the bag; the turn commits it. One that was not touched costs nothing."""
        del force  # what is equal need never be written
        cached = self.get_cached_state(turn_context)
        if cached is not None:
            key = self.get_storage_key(turn_context)
            await self._rows(turn_context).write({key: cached.state})

    async def clear_state(self, turn_context: TurnContext) -> None:
        """Empty the bag; it stays empty, whatever is read later in the turn."""
        await self.load(turn_context)
        self.get_cached_state(turn_context).state.clear()

    async def delete(self, turn_context: TurnContext) -> None:
        """Empty the bag in storage too, whether or not it was loaded."""
        await self.clear_state(turn_context)
        await self.save_changes(turn_context)

    async def delete_property_value(self, turn_context: TurnContext, property_name: str) -> None:
        """Remove a property; one that is not there is no error."""
        self.get_cached_state(turn_context).state.pop(property_name, None)


@dataclass(slots=True)
class _Cached:
    """What BotState keeps in the turn context: the bag as the bot sees it."""

    state: dict[str, Any]


class StateProperty(StatePropertyAccessor):
    """One property of a bag."""

    def __init__(self, bag: _TurnScopedState, name: str) -> None:
        self._bag = bag
        self._name = name

    @property
    def name(self) -> str:
        """The property's name."""
        return self._name

    async def get(self, turn_context: TurnContext, default_value_or_factory: Any = None) -> Any:
        """The value; where there is none, the default (or what it makes), kept from then on."""
        await self._bag.load(turn_context)
        state = self._bag.get_cached_state(turn_context).state
        if self._name not in state:
            if default_value_or_factory is None:
                return None
            state[self._name] = (
                default_value_or_factory()
                if callable(default_value_or_factory)
                else deepcopy(default_value_or_factory)
            )
        return state[self._name]

    async def set(self, turn_context: TurnContext, value: Any) -> None:
        """Set the value."""
        await self._bag.load(turn_context)
        await self._bag.set_property_value(turn_context, self._name, value)

    async def delete(self, turn_context: TurnContext) -> None:
        """Remove the value; where there is none, nothing happens."""
        await self._bag.load(turn_context)
        await self._bag.delete_property_value(turn_context, self._name)


class ConversationState(_TurnScopedState, botbuilder.core.ConversationState):
    """State of the conversation, shared by all who take part; gone when it expires."""


class UserState(_TurnScopedState, botbuilder.core.UserState):
    """State of the user on one channel; survives expiry."""


class PrivateConversationState(_TurnScopedState, botbuilder.core.PrivateConversationState):
    """State of one user in one conversation; gone when the conversation expires."""


def state_bags() -> tuple[ConversationState, UserState, PrivateConversationState]:
    """The three bags, for all turns of the process."""
    unused: Any = object()  # the SDK asks for a storage; ours is found through the turn context
    return ConversationState(unused), UserState(unused), PrivateConversationState(unused)
