"""A bot that calls the methods of the SDK's older adapter, BotFrameworkAdapter."""

from typing import Any

from botbuilder.core import (
    ActivityHandler,
    ConversationState,
    PrivateConversationState,
    TurnContext,
    UserState,
)
from botbuilder.schema import ConversationParameters

STATE_TYPES: tuple[type, ...] = ()


class OlderBot(ActivityHandler):
    """Writes to each member ("members"), to the sender ("sender") or where it was told ("here")."""

    def __init__(
        self,
        conversation_state: ConversationState,
        user_state: UserState,
        private_state: PrivateConversationState,
    ) -> None:
        pass

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        sent, adapter = turn_context.activity, turn_context.adapter
        reference = TurnContext.get_conversation_reference(sent)

        async def say(there: TurnContext) -> None:
            await there.send_activity(f"Hello from {sent.text}")

        async def say_there(begun: TurnContext) -> None:
            new = TurnContext.get_conversation_reference(begun.activity)
            await adapter.continue_conversation(new, say, APP_ID)

        match sent.text:
            case "members":
                for member in await adapter.get_conversation_members(turn_context):
                    parameters: Any = ConversationParameters(
                        is_group=False, bot=sent.recipient, members=[member]
                    )
                    await adapter.create_conversation(reference, say_there, parameters)
                await turn_context.send_activity("All members know")
            case "sender":
                await adapter.create_conversation(reference, say)
            case "client":
                client = await adapter.create_connector_client(sent.service_url)
                page = await client.conversations.get_conversations()
                members = await adapter.get_activity_members(turn_context, sent.id)
                known = [each.id for each in page.conversations]
                await turn_context.send_activity(f"{known} {[each.id for each in members]}")
            case text:
                await turn_context.send_activity(f"You said {text}")


APP_ID = "00000000-0000-4000-8000-000000000016"
create_bot = OlderBot
