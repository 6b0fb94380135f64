"""A bot that speaks to other conversations from its turns, by the calls of CloudAdapter."""

from typing import Any

from botbuilder.core import ActivityHandler, TurnContext, UserState
from botbuilder.core.teams import TeamsInfo
from botbuilder.schema import Activity, ConversationParameters

APP_ID = "00000000-0000-4000-8000-000000000016"

STATE_TYPES = ()


class ReachingBot(ActivityHandler):
    """Says each message; some reach further.

    "remember" keeps the conversation, and "tell" speaks there; "begin" begins one with the sender,
    and "channel" one in a channel of Teams.
    """

    def __init__(self, _: object, user_state: UserState, *__: object) -> None:
        self._state = user_state
        self._reference = user_state.create_property("reference")

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        sent, adapter = turn_context.activity, turn_context.adapter
        await turn_context.send_activity(f"You said {sent.text}")

        async def say(there: TurnContext) -> None:
            await there.send_activity(f"Told on behalf of {sent.from_property.name}")

        match sent.text:
            case "remember":
                reference = TurnContext.get_conversation_reference(sent)
                await self._reference.set(turn_context, reference)
            case "tell":
                kept: Any = await self._reference.get(turn_context)
                await adapter.continue_conversation(kept, say, APP_ID)
            case "begin":
                parameters = ConversationParameters(
                    is_group=False,
                    bot=sent.recipient,
                    members=[sent.from_property],
                    tenant_id=sent.conversation.tenant_id,
                )
                await adapter.create_conversation(
                    APP_ID, say, parameters, sent.channel_id, sent.service_url, None
                )
            case "channel":
                news = Activity(type="message", text="News")
                _, id_ = await TeamsInfo.send_message_to_teams_channel(
                    turn_context, news, "19:channel", bot_app_id=APP_ID
                )
                await turn_context.send_activity(f"News has an id: {bool(id_)}")
        await self._state.save_changes(turn_context)


create_bot = ReachingBot
