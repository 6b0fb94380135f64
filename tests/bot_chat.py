"""Chatting with a bot without a channel: the storage and the adapter that the bot tests share."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from botbuilder.core import (
    Bot,
    BotAdapter,
    ConversationState,
    PrivateConversationState,
    Storage,
    TurnContext,
    UserState,
)
from botbuilder.schema import (
    Activity,
    ChannelAccount,
    ConversationAccount,
    ConversationReference,
    ResourceResponse,
)

from shared.bot import STATE_TYPES
from shared.state import codec, state_types

state_types.register(*STATE_TYPES)


class StaleETagError(Exception):
    """A row was written by someone else since it was read."""


class PackedStorage(Storage):
    """Rows as bytes, so no object outlives its turn; a write needs the ETag of the last one.

    The SDK's MemoryStorage shares live objects between turns and lets the last write win.
    """

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, bytes]] = {}
        self.keys_read: list[str] = []
        self.keys_written: list[str] = []

    async def read(self, keys: Iterable[str]) -> dict[str, Any]:
        await asyncio.sleep(0)  # as with a real store, another turn runs meanwhile
        keys = list(keys)
        self.keys_read += keys
        return {
            key: codec.unpack(self.rows[key][1]) | {"e_tag": self.rows[key][0]}
            for key in keys
            if key in self.rows
        }

    async def write(self, changes: dict[str, dict[str, Any]]) -> None:
        await asyncio.sleep(0)
        for key, bag in changes.items():
            etag = self.rows.get(key, (0, b""))[0]
            if bag.get("e_tag", 0) != etag:
                raise StaleETagError(key)
            packed = codec.pack({name: value for name, value in bag.items() if name != "e_tag"})
            self.keys_written.append(key)
            self.rows[key] = (etag + 1, packed)
            bag["e_tag"] = etag + 1

    async def delete(self, keys: Iterable[str]) -> None:
        raise NotImplementedError("the bot deletes no rows")

    def bag(self, key: str) -> dict[str, Any]:
        """What the row holds now; empty without a row."""
        return codec.unpack(self.rows[key][1]) if key in self.rows else {}


class RecordingAdapter(BotAdapter):
    """Keeps what a turn sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Activity] = []

    async def send_activities(
        self, context: TurnContext, activities: list[Activity]
    ) -> list[ResourceResponse]:
        self.sent += activities
        return [ResourceResponse(id="") for _ in activities]

    async def update_activity(self, context: TurnContext, activity: Activity) -> None:
        raise NotImplementedError("the bot updates no activities")

    async def delete_activity(self, context: TurnContext, reference: ConversationReference) -> None:
        raise NotImplementedError("the bot deletes no activities")


def states(
    storage: Storage,
) -> tuple[ConversationState, UserState, PrivateConversationState]:
    return ConversationState(storage), UserState(storage), PrivateConversationState(storage)


class Chat:
    """One user's conversation with a bot."""

    def __init__(
        self, bot: Bot, user: str = "ada", channel_id: str = "emulator", locale: Any = "en-US"
    ) -> None:
        self.conversation_key = f"{channel_id}/conversations/with-{user}"
        self.user_key = f"{channel_id}/users/{user}"
        self._bot: Any = bot  # it may have methods that a Bot need not have
        self._envelope = Activity(
            channel_id=channel_id,
            service_url="https://channel.example",
            locale=locale,
            from_property=ChannelAccount(id=user),
            recipient=ChannelAccount(id="bot"),
            conversation=ConversationAccount(id=f"with-{user}"),
        )

    async def deliver(self, **fields: Any) -> list[Activity]:
        """Sends the bot an activity; returns all that it sends back."""
        return await self._deliver(self._bot.on_turn, fields)

    async def resume(self) -> list[str]:
        """Has the bot go on after an expiry; returns the texts of its replies."""
        sent = await self._deliver(self._bot.on_resumed, {"type": "message", "text": "Resume"})
        return [text_of(reply) for reply in sent]

    async def _deliver(
        self, handler: Callable[[TurnContext], Awaitable[None]], fields: Mapping[str, Any]
    ) -> list[Activity]:
        activity = copy.deepcopy(self._envelope)
        for name, value in fields.items():
            setattr(activity, name, value)
        adapter = RecordingAdapter()
        await handler(TurnContext(adapter, activity))
        return adapter.sent

    async def say(self, text: str | None, **fields: Any) -> list[str]:
        """Sends the bot a message; returns the texts of its replies."""
        return [text_of(reply) for reply in await self.deliver(type="message", text=text, **fields)]


def text_of(reply: Activity) -> str:
    """The reply's text; where the channel shows choices on a hero card, the card's."""
    assert reply.type == "message"
    return str(reply.text or reply.attachments[0].content.text)
