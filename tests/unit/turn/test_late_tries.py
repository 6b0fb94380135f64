"""A turn's second try that comes after a session's length, when nobody knows of the first."""

import asyncio

import pytest

from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.turn.turn import MAX_ATTEMPTS
from tests.bot_in_memory import BotInMemory, FunctionBot, activity, count_in_every_bag
from tests.faults import FaultyTable
from tests.memory_table import MemoryTable


class Process:
    """One of several processes on the same tables; its commits of new sessions can be held."""

    def __init__(self, first: BotInMemory) -> None:
        self.at_commit, self.may_commit = asyncio.Event(), asyncio.Event()
        table = FaultyTable(first.conversations)
        table.before = self._hold
        self.bot = BotInMemory(
            first.bot,
            first.timing,
            first.clock,
            table,
            first.users,
            first.connector,
        )

    async def _hold(self, what: str) -> None:
        if what.startswith("write insert c|"):
            self.at_commit.set()
            await self.may_commit.wait()


@pytest.fixture
def bot() -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_every_bag))


async def test_of_two_copies_that_stood_still_it_may_be_the_older_one_that_counts(
    bot: BotInMemory,
) -> None:
    older, newer = Process(bot), Process(bot)
    first = asyncio.create_task(older.bot.say(id="m1"))
    await older.at_commit.wait()
    bot.clock.sleep(50)
    second = asyncio.create_task(newer.bot.say(id="m1"))
    await newer.at_commit.wait()
    older.may_commit.set()
    await first
    bot.clock.sleep(51)
    await bot.say(sender="bob")  # its session is over: another takes its place
    newer.may_commit.set()
    await second
    assert await bot.say(conversation={"id": "elsewhere"}) == ["1 2 1"]


async def test_a_late_copy_counts_once_with_what_it_finds_of_the_first(bot: BotInMemory) -> None:
    assert await bot.say(id="m1") == ["1 1 1"]
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 1  # nobody knows any more that it was taken
    assert await bot.say(id="m1") == ["1 1 1"]
    assert await bot.say() == ["2 2 2"]


@pytest.mark.parametrize("crashes", [1, 2])
async def test_a_late_copy_that_crashes_undoes_nothing_of_the_first(
    bot: BotInMemory, crashes: int
) -> None:
    assert await bot.say() == ["1 1 1"]
    assert await bot.say(id="m1") == ["2 2 2"]
    bot.clock.sleep(103)
    await bot.sweep()
    for _ in range(crashes):
        late = Process(bot)
        copy = asyncio.create_task(late.bot.say(id="m1"))
        await late.at_commit.wait()
        copy.cancel()
    await bot.say(sender="bob")
    assert await bot.say(conversation={"id": "elsewhere"}) == ["1 3 1"]
    assert await bot.say() == ["2 4 1"]


async def test_the_last_attempt_is_looked_at_once_more() -> None:
    table = FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_every_bag), conversations=table)
    commits = iter(range(1, MAX_ATTEMPTS + 1))

    async def refuse_all_but_the_last(what: str) -> None:
        if what.startswith("write insert c|") and next(commits) < MAX_ATTEMPTS:
            raise ConflictError("another writer")

    async def lose_the_answer(what: str) -> None:
        if what.startswith("write insert c|"):
            raise StorageUnavailableError("no answer")

    table.before, table.after = refuse_all_but_the_last, lose_the_answer
    assert await bot.say() == ["1 1 1"]
    assert await bot.say(activity().text) == ["2 2 2"]
