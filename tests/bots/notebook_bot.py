"""A bot that counts in all three bags: who the tests of the state data chat with."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from botbuilder.core import (
    ActivityHandler,
    BotState,
    ConversationState,
    PrivateConversationState,
    TurnContext,
    UserState,
)
from botbuilder.schema import ActivityTypes, ChannelAccount

COUNT, TYPED, FAVOURITE = "count", "typed", "favourite"


@dataclass(frozen=True)
class Note:
    """A value of a class of the bot's own."""

    title: str
    page: int | None


STATE_TYPES = (Note,)

ONE_OF_EACH = {
    "decimal": Decimal("8.20"),
    "datetime": datetime(2026, 2, 28, 12, 30, tzinfo=UTC),
    "date": date(2026, 2, 28),
    "timedelta": timedelta(days=1, microseconds=1),
    "bytes": b"\x00\xff",
    "uuid": UUID(int=7),
    "infinite": float("inf"),
    "tuple": (1, (2, 3)),
    "set": {"one"},
    "numbered": {1: "one"},
    "enum": ActivityTypes.message,
    "account": ChannelAccount(id="ada", name="Ada"),
    "note": Note("Ada", None),
}


class NotebookBot(ActivityHandler):
    """Counts messages in each bag and says the counts; three texts make it do something else.

    "keep" keeps one value of each type, "compare" says whether they are still the same, and
    "favourite" says a preference. A message whose `value` names a folder is held, once it has
    read the bags, until there is a file `go` in it; a file `held` says that it is.
    """

    def __init__(
        self,
        conversation_state: ConversationState,
        user_state: UserState,
        private_state: PrivateConversationState,
    ) -> None:
        self._bags: dict[str, BotState] = {
            "user": user_state,
            "conversation": conversation_state,
            "private": private_state,
        }
        self._typed = user_state.create_property(TYPED)
        self._favourite = user_state.create_property(FAVOURITE)

    async def on_turn(self, turn_context: TurnContext) -> None:
        await super().on_turn(turn_context)
        for bag in self._bags.values():
            await bag.save_changes(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        match turn_context.activity.text:
            case "keep":
                await self._typed.set(turn_context, ONE_OF_EACH)
            case "compare":
                kept = await self._typed.get(turn_context)
                same = kept == ONE_OF_EACH and _types(kept) == _types(ONE_OF_EACH)
                await turn_context.send_activity("the same" if same else f"not the same: {kept}")
            case "favourite":
                await turn_context.send_activity(str(await self._favourite.get(turn_context)))
            case _:
                await self._count(turn_context)

    async def _count(self, turn_context: TurnContext) -> None:
        counts: dict[str, int] = {}
        for name, bag in self._bags.items():
            count = bag.create_property(COUNT)
            before: Any = await count.get(turn_context, int)  # the SDK's own states ignore a 0
            counts[name] = before + 1
            await count.set(turn_context, counts[name])
        if turn_context.activity.value:
            await _hold(Path(turn_context.activity.value))
        await turn_context.send_activity(json.dumps(counts))


def _types(values: Mapping[str, object]) -> dict[str, type]:
    return {name: type(value) for name, value in values.items()}


async def _hold(folder: Path) -> None:
    (folder / "held").touch()
    while not (folder / "go").exists():  # noqa: ASYNC110 - a file of another process has no event
        await asyncio.sleep(0.01)


create_bot = NotebookBot
