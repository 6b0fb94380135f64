"""A bot whose turns take as long as a test wants: as one that asks a language model."""

import asyncio
import os
from pathlib import Path
from typing import Any

from botbuilder.core import (
    ActivityHandler,
    ConversationState,
    InvokeResponse,
    PrivateConversationState,
    TurnContext,
    UserState,
)

GATES = "SLOW_BOT_GATES"  # the folder that the bot looks into

STATE_TYPES: tuple[type, ...] = ()


class SlowBot(ActivityHandler):
    """Numbers the messages of a session.

    "NAME" is answered once there is a file NAME in the folder of gates; "wait N", after N seconds.
    """

    def __init__(
        self,
        conversation_state: ConversationState,
        user_state: UserState,
        private_state: PrivateConversationState,
    ) -> None:
        self._bag = conversation_state
        self._count = conversation_state.create_property("count")
        self._gates = Path(os.environ.get(GATES, "."))

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        await self._bag.save_changes(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        text = turn_context.activity.text
        if text.startswith("wait "):
            await asyncio.sleep(float(text.removeprefix("wait ")))
        else:
            while not (self._gates / text).exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.05)
        count: Any = await self._count.get(turn_context, 0)
        await self._count.set(turn_context, count + 1)
        await turn_context.send_activity(f"{count + 1}: {text}")

    async def on_invoke_activity(self, turn_context: TurnContext) -> InvokeResponse:
        return InvokeResponse(status=200, body={"asked": turn_context.activity.name})


create_bot = SlowBot
