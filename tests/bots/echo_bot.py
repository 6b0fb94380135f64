"""A bot that says again what it hears; what stands in shared/bot when `make test-own-bot` runs."""

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


def create_bot(_: ConversationState, __: UserState, ___: PrivateConversationState) -> Bot:
    """Return the bot."""
    return EchoBot()
