"""The inbox when a process dies at any of its requests: each turn once, in order, none lost."""

import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from botbuilder.core import TurnContext

from shared.domain.inbox import Waiting
from shared.storage.table_inbox import TableInbox
from shared.storage.tables import Operation, Row, Table
from shared.turn.long_turns import MAX_ATTEMPTS, LongTurns, conversation_of
from tests.bot_in_memory import BotInMemory, FunctionBot, activity, anonymous
from tests.memory_queue import MemoryQueue
from tests.memory_table import MemoryTable

SEEDS = 60
MOST_DEATHS = MAX_ATTEMPTS - 1  # so that no turn is given up
MESSAGES = 4


class CrashError(BaseException):
    """The process is gone."""


class Crashing(Table):
    """A table in memory; the process dies before or after one of its requests."""

    def __init__(self, memory: MemoryTable, dies: Callable[[], bool]) -> None:
        self._memory = memory
        self._dies = dies

    def _die(self) -> None:
        if self._dies():
            raise CrashError

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        self._die()
        return await self._memory.get(partition, key, select)

    async def write(self, operations: Sequence[Operation]) -> list[str]:
        self._die()
        written = await self._memory.write(operations)
        self._die()
        return written

    async def query(self, *given: Any, **options: Any) -> AsyncIterator[list[Row]]:
        self._die()
        async for page in self._memory.query(*given, **options):
            yield page


async def note(bot: FunctionBot, context: TurnContext) -> None:
    """Notes each text in the conversation's state, and says all of them."""
    noted = bot.conversation.create_property("noted")
    texts = [*await noted.get(context, list), context.activity.text]
    await noted.set(context, texts)
    await context.send_activity(json.dumps(texts))


async def noted_after(  # noqa: C901 - one world, a few actors
    seed: int, long_turns: type[LongTurns] = LongTurns
) -> tuple[list[str], int]:
    """What the turns noted in the end, and how many processes died meanwhile."""
    chance, deaths = random.Random(seed), 0

    def dies() -> bool:
        nonlocal deaths
        is_dead = deaths < MOST_DEATHS and chance.random() < 0.06
        deaths += is_dead
        return is_dead

    bot = BotInMemory(
        FunctionBot(note), timing=_long(), conversations=Crashing(MemoryTable(), dies)
    )
    inbox, queue = TableInbox(Crashing(MemoryTable(), dies)), MemoryQueue()

    async def in_a_process(do: Callable[[LongTurns], Any]) -> bool:
        process = bot.another_process()
        try:
            await do(long_turns(inbox, queue, process.turns, now=bot.clock))
        except CrashError:
            return False
        return True

    async def serve() -> None:
        message = await queue.receive(600)
        if message:
            conversation = conversation_of(message.text.encode())
            if await in_a_process(lambda turns: turns.run(conversation)):
                await queue.delete(message)

    for number in range(MESSAGES):
        fields = {**activity(str(number)).serialize(), "serviceUrl": "https://channel.example/"}
        body = json.dumps(fields).encode()
        while not await in_a_process(sending(fields, body)):  # no 202: the channel sends it again
            bot.clock.sleep(0.001)
        bot.clock.sleep(0.001)
        if chance.random() < 0.5:
            await serve()
    for _ in range(30):
        await serve()
        bot.clock.sleep(61)
        queue.sleep(61)
        await in_a_process(lambda turns: turns.wake())
    said = [json.loads(text) for text in bot.connector.texts]
    return max(said, key=len, default=[]), deaths


def sending(fields: dict[str, Any], body: bytes) -> Callable[[LongTurns], Any]:
    return lambda turns: turns.accept(activity(**fields), anonymous(), body)


def _long() -> Any:
    timing = BotInMemory(FunctionBot(note)).timing
    return type(timing)(timedelta(days=1))


@pytest.mark.slow
async def test_whatever_dies_each_turn_is_taken_once_and_in_order() -> None:
    died = 0
    for seed in range(SEEDS):
        noted, deaths = await noted_after(seed)
        assert noted == [str(number) for number in range(MESSAGES)], seed
        died += deaths
    assert died > SEEDS


class RemovesFirst(LongTurns):
    async def _take(self, leased: Waiting) -> None:
        await self._inbox.remove(leased)
        await super()._take(leased)


class NeverWakes(LongTurns):
    async def wake(self) -> int:
        return 0

    async def run(self, conversation: str) -> None:
        if (
            await self._inbox.first(conversation) or Waiting("", "", b"", self._now())
        ).attempts == 0:
            await super().run(conversation)


@pytest.mark.parametrize("mutant", [RemovesFirst, NeverWakes])
async def test_a_broken_rule_is_found(mutant: type[LongTurns]) -> None:
    for seed in range(SEEDS):
        noted, _ = await noted_after(seed, mutant)
        if noted != [str(number) for number in range(MESSAGES)]:
            return
    pytest.fail("nobody noticed")
