"""The stores of a bot in memory, as an app has them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from typing_extensions import override

from shared.domain.errors import StorageUnavailableError
from shared.domain.store import ConversationStore, StateStore, Stores
from tests.bot_in_memory import BotInMemory


class StoresInMemory(Stores):
    """The stores of a bot in memory; while `down`, they are not ready."""

    REQUESTS = 7  # that each sweep is said to have made
    has_rows = True

    def __init__(self, bot: BotInMemory) -> None:
        self._bot = bot
        self.down = False
        self.asked = 0

    @override
    def for_turns(self) -> StateStore:
        return self._bot.store

    @override
    def for_sweeps(self) -> ConversationStore:
        return self._bot.store

    @override
    def counted(self) -> tuple[ConversationStore, Callable[[], int]]:
        return self._bot.store, lambda: self.REQUESTS

    @override
    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        self.asked += 1
        if self.down:
            raise StorageUnavailableError("the tables are down")
        yield
