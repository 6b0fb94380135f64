"""The bot's three bags of state during one attempt of a turn, and the BotStates that use them.

ConversationState, UserState, PrivateConversationState  for the bot's author
    └── TurnState  the rows this attempt has loaded; a save stages, the turn commits
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import botbuilder.core
from botbuilder.core import BotState, StatePropertyAccessor, TurnContext

from shared.state.turn_state import TurnState


class _TurnScopedState(BotState):
    """BotState without its faults.

    The SDK's BotState loads an empty state again (so a cleared state comes back), writes an empty
    row for every new conversation, cannot delete a state that was not loaded, and ignores a default
    of 0. The storage here is the turn's own TurnState, found through the turn context.
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
        """Read the bag once in a turn; with `force`, drop the changes since the last save."""
        if force or self.get_cached_state(turn_context) is None:
            key, rows = self.get_storage_key(turn_context), self._rows(turn_context)
            found = await rows.read([key])
            turn_context.turn_state[self._context_service_key] = _Cached(
                found.get(key) or {}, key, rows
            )

    async def save_changes(self, turn_context: TurnContext, force: bool = False) -> None:
        """Stage the bag; the turn commits it. An untouched bag costs nothing."""
        del force  # an equal state need never be written
        cached = self.get_cached_state(turn_context)
        if cached is not None:
            key = self.get_storage_key(turn_context)
            await self._rows(turn_context).write({key: cached.state})

    async def clear_state(self, turn_context: TurnContext) -> None:
        """Empty the bag; it stays empty for the rest of the turn, also after a read."""
        await self.load(turn_context)
        self.get_cached_state(turn_context).state.clear()

    async def delete(self, turn_context: TurnContext) -> None:
        """Empty the bag in storage too, whether or not it was loaded."""
        await self.clear_state(turn_context)
        await self.save_changes(turn_context)

    async def delete_property_value(self, turn_context: TurnContext, property_name: str) -> None:
        """Remove a property; it is no error if there is none."""
        self.get_cached_state(turn_context).state.pop(property_name, None)


@dataclass(slots=True)
class _Cached:
    """BotState keeps this in the turn context: the bag as the bot sees it."""

    state: dict[str, Any]
    _key: str
    _rows: TurnState

    @property
    def is_changed(self) -> bool:
        """Whether a save would change something.

        Raises:
            StateTypeError: state cannot hold the type of a value.
        """
        return self._rows.would_change(self._key, self.state)


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
        """The value. If there is none, it becomes the default, or the result of its factory."""
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
        """Remove the value; if there is none, nothing happens."""
        await self._bag.load(turn_context)
        await self._bag.delete_property_value(turn_context, self._name)


class ConversationState(_TurnScopedState, botbuilder.core.ConversationState):
    """State of the conversation, shared by all its users; gone when it expires."""


class UserState(_TurnScopedState, botbuilder.core.UserState):
    """State of the user on one channel; survives expiry."""


class PrivateConversationState(_TurnScopedState, botbuilder.core.PrivateConversationState):
    """State of one user in one conversation; gone when the conversation expires."""


def state_bags() -> tuple[ConversationState, UserState, PrivateConversationState]:
    """The three bags, for all turns of the process."""
    unused: Any = object()  # the SDK asks for a storage; ours is found through the turn context
    return ConversationState(unused), UserState(unused), PrivateConversationState(unused)
