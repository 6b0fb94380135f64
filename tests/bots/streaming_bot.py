"""A bot that writes its answers bit by bit, and changes a card that an earlier turn has sent."""

import asyncio
import os
from pathlib import Path
from typing import Any

from botbuilder.core import ActivityHandler, ConversationState, TurnContext
from botbuilder.schema import Activity

from tests.bots.slow_bot import GATES

CHUNKS, ANSWER = ("Hello", "Hello from", "Hello from the"), "Hello from the model."

STATE_TYPES = ()


class StreamingBot(ActivityHandler):
    """Streams by "updates" or by "streamId"; keeps a "card" in state, which the rest changes.

    If there is a folder of gates, streams end once it has a file `end`.
    """

    def __init__(self, conversation_state: ConversationState, *_: object) -> None:
        self._state = conversation_state
        self._card = conversation_state.create_property("card")
        self._gates = Path(os.environ[GATES]) if GATES in os.environ else None

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        match turn_context.activity.text:
            case "updates":
                await self._stream_by_updates(turn_context)
            case "streamId":
                await self._stream_by_id(turn_context)
            case "card":
                sent: Any = await turn_context.send_activity("Choose")
                await self._card.set(turn_context, sent.id)
            case text:
                kept: Any = await self._card.get(turn_context)
                changed = Activity(type="message", id=kept, text=f"Chosen: {text}")
                await turn_context.update_activity(changed)
        await self._state.save_changes(turn_context)

    async def _stream_by_updates(self, turn_context: TurnContext) -> None:
        sent: Any = await turn_context.send_activity(CHUNKS[0])
        for text in CHUNKS[1:]:
            await turn_context.update_activity(Activity(type="message", id=sent.id, text=text))
        await self._end()
        await turn_context.update_activity(Activity(type="message", id=sent.id, text=ANSWER))

    async def _stream_by_id(self, turn_context: TurnContext) -> None:
        stream: dict[str, Any] = {"streamType": "streaming"}
        for number, text in enumerate(CHUNKS, 1):
            data = {**stream, "streamSequence": number}
            sent: Any = await turn_context.send_activity(
                Activity(type="typing", text=text, channel_data=data)
            )
            stream.setdefault("streamId", sent.id)
        await self._end()
        data = {**stream, "streamType": "final"}
        await turn_context.send_activity(Activity(type="message", text=ANSWER, channel_data=data))

    async def _end(self) -> None:
        if self._gates:
            while not (self._gates / "end").exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)


create_bot = StreamingBot
