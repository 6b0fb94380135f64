"""A bot that notes numbers for good: what it notes twice, or loses, shows."""

import json
from typing import Any

from botbuilder.core import (
    ActivityHandler,
    ConversationState,
    PrivateConversationState,
    TurnContext,
    UserState,
)

WELCOME = "welcome"

STATE_TYPES: tuple[type, ...] = ()


class LedgerBot(ActivityHandler):
    """Notes a number in the user's state and says which; "?" makes it say all of them.

    The first message of a session is only welcomed, unless it is "?". A number that is noted
    counts in the conversation's state too, so each turn writes both rows.
    """

    def __init__(
        self,
        conversation_state: ConversationState,
        user_state: UserState,
        private_state: PrivateConversationState,
    ) -> None:
        self._bags = (conversation_state, user_state, private_state)
        self._count = conversation_state.create_property("count")
        self._numbers = user_state.create_property("numbers")

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        for bag in self._bags:
            await bag.save_changes(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        text = turn_context.activity.text
        count: Any = await self._count.get(turn_context, 0)
        await self._count.set(turn_context, count + 1)
        if text != "?" and count == 0:
            await turn_context.send_activity(WELCOME)
            return
        numbers: Any = await self._numbers.get(turn_context, list)
        if text == "?":
            await turn_context.send_activity(json.dumps(numbers))
        else:
            numbers.append(int(text))
            await turn_context.send_activity(f"noted {text}")


create_bot = LedgerBot
