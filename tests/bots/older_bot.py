"""A bot that calls the methods of the SDK's older adapter, BotFrameworkAdapter."""

from typing import Any

from botbuilder.core import ActivityHandler, TurnContext
from botbuilder.core.teams import TeamsInfo
from botbuilder.schema import Activity, ConversationParameters

from tests.bots.reaching_bot import APP_ID

STATE_TYPES = ()


class OlderBot(ActivityHandler):
    """Says each message; some reach further, or ask."""

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
            case "channel":
                news = Activity(type="message", text="News")
                where, _ = await TeamsInfo.send_message_to_teams_channel(
                    turn_context, news, "19:channel"
                )
                await turn_context.send_activity(f"News in {where.channel_id}")
            case "client":
                client = await adapter.create_connector_client(sent.service_url)
                page = await client.conversations.get_conversations()
                members = await adapter.get_activity_members(turn_context, sent.id)
                known = [each.id for each in page.conversations]
                await turn_context.send_activity(f"{known} {[each.id for each in members]}")
            case text:
                await turn_context.send_activity(f"You said {text}")


def create_bot(*_: object) -> OlderBot:
    return OlderBot()
