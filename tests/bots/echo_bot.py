"""A bot that repeats what it hears: it stands in shared/bot when `make test-own-bot` runs."""

from botbuilder.core import (
    ActivityHandler,
    Bot,
    ConversationState,
    PrivateConversationState,
    TurnContext,
    UserState,
)

STATE_TYPES: tuple[type, ...] = ()


class EchoBot(ActivityHandler):
    """Answers each message with its text; it keeps nothing."""

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        """Send the text back."""
        await turn_context.send_activity(f"You said: {turn_context.activity.text}")


def create_bot(
    conversation_state: ConversationState,
    user_state: UserState,
    private_state: PrivateConversationState,
) -> Bot:
    """Return the bot; it needs no state."""
    return EchoBot()
