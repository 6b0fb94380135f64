"""Storage requests of a turn, counted: this project, no tracking, a touch row.

All three run the same bot with state in an in-memory table. The second keeps its state with the
SDK's BotState, a row for each bag. The third also writes the time of each message to a row of its
own, which is how tutorials make idle conversations findable.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botbuilder.core import ActivityHandler, ConversationState, Storage, TurnContext, UserState
from botbuilder.schema import Activity, ChannelAccount, ConversationAccount

from benchmarks.report import note, ratio, table
from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import Connector
from shared.connector.credentials import TokenSource
from shared.domain.policy import Policy
from shared.domain.store import StateStore
from shared.domain.timing import Timing
from shared.state import codec
from shared.state.bags import state_bags
from shared.storage.observed_table import ObservedTable
from shared.storage.table_store import TableStore
from shared.storage.tables import Operation, Row, Table
from shared.turn.turn import Turns
from tests.bot_chat import RecordingAdapter
from tests.memory_table import MemoryTable

CHANNEL = "test"
EXPIRE_AFTER = timedelta(minutes=30)


class _CountingBot(ActivityHandler):
    """Counts the messages of a conversation but for "look", which changes nothing.

    On "read" and "write" it uses the user's state too.
    """

    def __init__(self, conversation_state: ConversationState, user_state: UserState) -> None:
        self._states = (conversation_state, user_state)
        self._count = conversation_state.create_property("count")
        self._name = user_state.create_property("name")

    async def on_turn(self, turn_context: TurnContext) -> None:
        """Answers, then saves the states."""
        await super().on_turn(turn_context)
        for state in self._states:
            await state.save_changes(turn_context)

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        """Sends nothing: that would cost no storage request."""
        count: Any = await self._count.get(turn_context)
        if turn_context.activity.text == "look":
            return
        await self._count.set(turn_context, (count or 0) + 1)
        if turn_context.activity.text == "read":
            await self._name.get(turn_context)
        if turn_context.activity.text == "write":
            await self._name.set(turn_context, f"name {count}")


class _Connector(Connector):
    """Takes whatever is sent."""

    async def request(
        self,
        method: str,
        service_url: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        is_anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        return {"id": "1"}


class _Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


class OurBot:
    """This project's turn; `take` returns the storage requests of a message."""

    def __init__(
        self,
        conversations: Table,
        users: Table,
        shards: int = 64,
        *,
        store: Callable[[Table, Table, int], StateStore] = TableStore,
    ) -> None:
        self._tables = ObservedTable(conversations), ObservedTable(users)
        self.clock = _Clock()
        self._authentication = InboundAuthentication(app_id="")
        conversation_state, user_state, _ = state_bags()
        self._turns = Turns(
            store(*self._tables, shards),
            BufferingAdapter(_Connector(TokenSource(app_id="")), self._authentication.sdk, ""),
            _CountingBot(conversation_state, user_state),
            policy=Policy(Timing(EXPIRE_AFTER)),
            now=self.clock,
        )

    async def take(self, text: str, conversation: str = "1", after_seconds: float = 60) -> int:
        """Take one message, so long after the last one."""
        self.clock.time += timedelta(seconds=after_seconds)
        before = self._requests
        activity = _message(text, conversation)
        await self._turns.take(activity, self._authentication.caller(None, "", ""))
        return self._requests - before

    @property
    def _requests(self) -> int:
        return sum(table.requests for table in self._tables)


class _RowPerBag(Storage):
    """The SDK's storage contract, kept as simply as it can be: one row for each bag."""

    def __init__(self, rows: ObservedTable) -> None:
        super().__init__()
        self._rows = rows

    async def read(self, keys: Iterable[str]) -> dict[str, Any]:
        found = {key: await self._rows.get(_row(key).partition, "bag") for key in keys}
        return {key: codec.unpack(row.columns["State"]) for key, row in found.items() if row}

    async def write(self, changes: dict[str, Any]) -> None:
        for key, bag in changes.items():
            row = _row(key, State=codec.pack(bag))
            await self._rows.write([Operation("upsert", row)])

    async def delete(self, keys: Iterable[str]) -> None:
        raise NotImplementedError("the bot deletes no bags")


class _StockBot:
    """The same bot on the SDK's states, with or without a row for the time of each message."""

    def __init__(self, *, touches_row: bool) -> None:
        self._rows = ObservedTable(MemoryTable())
        self._touches_row = touches_row
        storage = _RowPerBag(self._rows)
        self._bot = _CountingBot(ConversationState(storage), UserState(storage))

    async def take(self, text: str, conversation: str = "1") -> int:
        before = self._rows.requests
        activity = _message(text, conversation)
        await self._bot.on_turn(TurnContext(RecordingAdapter(), activity))
        if self._touches_row:
            row = _row(f"touch/{conversation}", LastAccessed=datetime.now(UTC))
            await self._rows.write([Operation("upsert", row)])
        return self._rows.requests - before


def _row(key: str, **columns: Any) -> Row:
    return Row(key.replace("/", "|"), "bag", columns)


def _message(text: str, conversation: str) -> Activity:
    return Activity(
        type="message",
        text=text,
        channel_id=CHANNEL,
        service_url="https://channel.example/",
        from_property=ChannelAccount(id="user"),
        recipient=ChannelAccount(id="bot"),
        conversation=ConversationAccount(id=conversation),
    )


async def _count() -> None:
    ours, plain = OurBot(MemoryTable(), MemoryTable()), _StockBot(touches_row=False)
    touching = _StockBot(touches_row=True)
    rows: list[list[object]] = []
    for what, text, conversation in (
        ("first message", "hello", "1"),
        ("later message", "hello", "1"),
        ("later, reads user state, none there yet", "read", "1"),
        ("later, writes user state", "write", "1"),
        ("later, reads user state", "read", "1"),
        ("first of another conversation", "hello", "2"),
        ("later, reads user state written in the other", "read", "2"),
    ):
        counts = [await bot.take(text, conversation) for bot in (ours, plain, touching)]
        rows.append([what, *counts, ratio(counts[2], counts[0])])
    rows += await _only_ours(ours)
    table(
        "Storage requests of a turn",
        ("", "* this project", "no tracking", "touch row", "ratio (touch row)"),
        rows,
    )
    note("The bot without tracking forgets nothing and nobody; '-': it has no such case.")


async def _only_ours(ours: OurBot) -> list[list[object]]:
    almost = EXPIRE_AFTER.total_seconds() - 5
    await ours.take("hello", "2", after_seconds=0)
    guarded = await ours.take("hello", "2", after_seconds=almost)
    expired = await ours.take("hello", "2", after_seconds=EXPIRE_AFTER.total_seconds())
    return [
        ["message in the last 30 s before expiry", guarded, "-", "-", "-"],
        ["message to an expired conversation", expired, "-", "-", "-"],
    ]


if __name__ == "__main__":
    asyncio.run(_count())
