"""A bot with hooks: what its users have begun to order survives, and they are signed out."""

import asyncio
from typing import Any

from botbuilder.core import ActivityHandler, ConversationState, TurnContext, UserState
from botbuilder.schema import Activity

from shared.authors.ending import EndingConversation

CONNECTION = "the-connection"

STATE_TYPES = ()


class PartingBot(ActivityHandler):
    """Keeps the last text as the order of this conversation, and says what it knows."""

    def __init__(
        self, conversation_state: ConversationState, user_state: UserState, *_: object
    ) -> None:
        self._states = conversation_state, user_state
        self._order = conversation_state.create_property("order")
        self._left = user_state.create_property("left")

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        left = await self._left.get(turn_context)
        await self._order.set(turn_context, turn_context.activity.text)
        await turn_context.send_activity(f"You had left {left}." if left else "Noted.")
        for state in self._states:
            await state.save_changes(turn_context)


async def on_warned(conversation: EndingConversation) -> str:
    """Names the order."""
    return f"Is {conversation.state['order']} all?"


async def on_expired(conversation: EndingConversation) -> Any:
    """Keeps the order for the user and signs out; some orders go wrong."""
    match conversation.state["order"]:
        case "something slow":
            await asyncio.sleep(3600)
        case "something broken":
            raise RuntimeError("the hook is broken")
        case "something wrong":
            return {"text": "no message"}
        case "something huge":
            return "x" * 100_000
        case "nothing":
            return ""
        case "a card":
            return Activity(text="A card", attachment_layout="list")
    order = conversation.state["order"]
    await conversation.update_user_state(lambda bag: bag.update(left=order))
    if order == "a place":
        await conversation.sign_out(CONNECTION)
    return f"I have kept {order} for you."


create_bot = PartingBot
