"""A bot that sets the time of a conversation as it is told to, and counts a user's messages."""

import json
from datetime import UTC, datetime, timedelta

from botbuilder.core import (
    ActivityHandler,
    Bot,
    ConversationState,
    PrivateConversationState,
    TurnContext,
    UserState,
)

from shared.authors import expiry

STATE_TYPES: tuple[type, ...] = ()

NUMBERS = {
    "a minute": timedelta(minutes=1),
    "a day": timedelta(days=1),
    "never": expiry.NEVER,
    "as ever": None,
}


class TimingBot(ActivityHandler):
    """Understands the words of `NUMBERS`, "silent" and "wait"; answers with its two counts."""

    def __init__(self, conversation_state: ConversationState, user_state: UserState) -> None:
        self._states = (conversation_state, user_state)
        self._counts = [each.create_property("count") for each in self._states]

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        """Set the time, count, and answer."""
        text = turn_context.activity.text
        if text in NUMBERS:
            expiry.set(turn_context, expire_after=NUMBERS[text])
        elif text == "silent":
            expiry.set(turn_context, notify=False)
        elif text == "wait":
            expiry.keep_until(turn_context, datetime.now(UTC) + timedelta(days=2))
        found: list[int] = []
        for count in self._counts:
            before: int = await count.get(turn_context, 0)  # type: ignore[assignment] # any value
            found.append(before + 1)
            await count.set(turn_context, found[-1])
        timing = expiry.of(turn_context)
        await turn_context.send_activity(json.dumps([*found, timing.sources["expire_after"]]))

    async def on_turn(self, turn_context: TurnContext) -> None:
        """Save both states after each turn."""
        await super().on_turn(turn_context)
        for each in self._states:
            await each.save_changes(turn_context)


def create_bot(
    conversation_state: ConversationState,
    user_state: UserState,
    private_state: PrivateConversationState,
) -> Bot:
    """Return the bot; it keeps nothing privately."""
    del private_state
    return TimingBot(conversation_state, user_state)
