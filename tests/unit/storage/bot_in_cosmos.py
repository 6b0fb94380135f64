"""A bot whose state is in Cosmos DB, in memory, where every table and container can fail."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from botbuilder.core import TurnContext

from tests.bot_in_memory import BotInMemory, FunctionBot, InCosmos, count_in_conversation
from tests.faults import FaultyContainer, FaultyTable, once
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable

TIME_TO_LIVE = timedelta(seconds=160)  # the bots here expire after 100 s

OnTurn = Callable[[FunctionBot, TurnContext], Awaitable[None]]


@dataclass
class Fixture:
    """A bot whose rows are in tables and whose bags are in containers; all of them can fail."""

    on_turn: OnTurn = count_in_conversation
    alone: bool = False
    spare_time: timedelta = timedelta(0)
    table: MemoryTable = field(default_factory=MemoryTable)
    documents: MemoryContainer = field(default_factory=MemoryContainer)
    user_documents: MemoryContainer = field(default_factory=MemoryContainer)

    def __post_init__(self) -> None:
        self.faulty_table = FaultyTable(self.table)
        self.faulty_documents = FaultyContainer(self.documents)
        self.bot = BotInMemory(
            FunctionBot(self.on_turn),
            conversations=self.faulty_table,
            cosmos=InCosmos(
                self.faulty_documents,
                self.user_documents,
                self.alone,
                lives=TIME_TO_LIVE,
                spare_time=self.spare_time,
            ),
        )
        self.documents.now = self.user_documents.now = self.bot.clock

    @property
    def requests(self) -> tuple[int, int]:
        """To the table, and to the container of conversation state."""
        return self.table.requests, self.documents.requests

    async def requests_of(self, action: Awaitable[object]) -> tuple[int, int]:
        """How many of them it makes."""
        before = self.requests
        await action
        return self.requests[0] - before[0], self.requests[1] - before[1]

    async def say(self, **changes: Any) -> list[str]:
        return await self.bot.say(**changes)

    def sleep(self, seconds: float) -> None:
        """Time passes, and takes with it what has outlived its own."""
        self.bot.clock.sleep(seconds)
        self.documents.outlive(TIME_TO_LIVE + self.spare_time)

    async def named(self) -> list[str]:
        """The documents that rows name."""
        rows = [row.columns.get("Bags") for row in self.table.rows.values()]
        return sorted(name for name in rows if name)

    def healthy(self) -> None:
        for each in (self.faulty_table, self.faulty_documents):
            each.before = each.after = once("nothing")
