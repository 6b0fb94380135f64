"""A changed timeout holds for conversations that are there already, from the next sweep on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.conversation import Conversation
from shared.domain.timing import Timing
from shared.expiry.notice import NoticeResult
from tests import texts
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation
from tests.faults import FaultyTable, do_once
from tests.memory_table import MemoryTable


def bot_with(seconds: int) -> BotInMemory:
    return BotInMemory(
        FunctionBot(count_in_conversation), timing=Timing(timedelta(seconds=seconds))
    )


def changed(bot: BotInMemory, seconds: int) -> BotInMemory:
    return replace(bot, timing=Timing(timedelta(seconds=seconds)))


async def sweeps_every_ten_seconds(bot: BotInMemory, seconds: int) -> list[int]:
    """The seconds after which conversations expired."""
    expired_at: list[int] = []
    for second in range(0, seconds, 10):
        report = await bot.sweep(with_timeout=True)
        expired_at.extend([second] * report.expired)
        bot.clock.sleep(10)
    return expired_at


async def test_a_shorter_timeout_expires_what_is_idle_for_that_long_at_the_next_sweep() -> None:
    bot = bot_with(3600)
    await bot.say()
    await bot.sweep(with_timeout=True)
    bot.clock.sleep(100)
    shorter = changed(bot, 60)
    assert (await shorter.sweep(with_timeout=True)).notified == 1
    assert bot.connector.texts[-1] == texts.EXPIRED


async def test_what_another_writer_kept_from_expiring_is_looked_at_again() -> None:
    table = FaultyTable(MemoryTable())
    bot = replace(bot_with(3600), conversations=table)
    await bot.say()
    await bot.sweep(with_timeout=True)
    bot.clock.sleep(100)
    shorter = changed(bot, 60)

    async def write_the_same() -> None:
        row = await bot.row()
        assert row
        await bot.store.save(row)

    table.before = do_once("write replace c|", write_the_same)
    assert (await shorter.sweep(with_timeout=True)).came_back == 1
    bot.clock.sleep(10)
    assert (await shorter.sweep(with_timeout=True)).expired == 1


async def test_what_is_not_idle_for_that_long_expires_when_it_is() -> None:
    bot = bot_with(3600)
    await bot.sweep(with_timeout=True)
    for number in range(10):
        await bot.say(conversation={"id": f"talk{number}"})
        bot.clock.sleep(10)
    # The first message is 100 s old, the last 10 s; clocks may differ by 2 s.
    expired_at = await sweeps_every_ten_seconds(changed(bot, 60), 4000)
    assert expired_at == [0, 0, 0, 0, 10, 20, 30, 40, 50, 60]


async def test_each_due_row_is_looked_at_once_for_the_change_and_once_when_it_is_due() -> None:
    bot = bot_with(3600)
    await bot.sweep(with_timeout=True)
    for number in range(20):
        await bot.say(conversation={"id": f"talk{number}"})
    shorter = changed(bot, 600)
    looked_at = 0
    for _ in range(500):
        looked_at += (await shorter.sweep(with_timeout=True)).looked_at
        bot.clock.sleep(10)
    assert looked_at <= 2 * 20
    assert bot.keys() == ["c"]  # the control row


async def test_a_session_opened_after_the_change_expires_on_time_and_the_look_ahead_ends() -> None:
    bot = bot_with(3600)
    await bot.sweep(with_timeout=True)
    shorter = changed(bot, 60)
    await shorter.sweep(with_timeout=True)
    await shorter.say()
    assert await sweeps_every_ten_seconds(shorter, 200) == [70]
    assert (await bot.store.control()).longest == timedelta(seconds=3600)
    bot.clock.sleep(3600)
    await shorter.sweep(with_timeout=True)
    assert (await bot.store.control()).longest is None


async def test_a_longer_timeout_keeps_what_is_there_alive() -> None:
    bot = bot_with(60)
    await bot.say()
    await bot.sweep(with_timeout=True)
    longer = changed(bot, 600)
    bot.clock.sleep(100)
    report = await longer.sweep(with_timeout=True)
    assert (report.refiled, report.expired) == (1, 0)
    bot.clock.sleep(503)
    assert (await longer.sweep(with_timeout=True)).expired == 1


@pytest.mark.parametrize("seconds", [[3600, 60, 600], [3600, 600, 60], [60, 3600, 600]])
async def test_after_several_changes_the_last_one_holds(seconds: list[int]) -> None:
    bot = bot_with(seconds[0])
    await bot.say()
    for each in seconds[:2]:
        await changed(bot, each).sweep(send_nothing_yet, with_timeout=True)
    last = changed(bot, seconds[-1])
    expired_at = await sweeps_every_ten_seconds(last, 4000)
    assert len(expired_at) == 1
    assert seconds[-1] <= expired_at[0] <= seconds[-1] + 20


async def send_nothing_yet(_: Conversation) -> NoticeResult:
    raise AssertionError("nothing is idle yet")


async def test_an_unchanged_timeout_writes_nothing() -> None:
    bot = bot_with(60)
    await bot.sweep(with_timeout=True)
    before = await bot.store.control()
    await bot.sweep(with_timeout=True)
    assert await bot.store.control() == before
