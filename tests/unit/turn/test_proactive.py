"""Turns that the author's own code begins: they load, commit and send as any turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import ChannelAccount, ConversationParameters, ConversationReference

from shared.connector.client import ConnectorError
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import Limits
from shared.connector.references import reference_of
from shared.domain.errors import ConflictError, StorageUnavailableError
from tests.bot_in_memory import (
    SERVICE_URL,
    BotInMemory,
    FunctionBot,
    activity,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_table import MemoryTable

Logic = Callable[[TurnContext], Awaitable[None]]


def make_bot(**changed: Any) -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_every_bag), **changed)


def counting(bot: BotInMemory) -> Logic:
    async def count(context: TurnContext) -> None:
        assert isinstance(bot.bot, FunctionBot)
        await bot.bot.on_turn(context)

    return count


def reference(**changed: Any) -> ConversationReference:
    return TurnContext.get_conversation_reference(activity(**changed))


async def test_it_has_the_states_of_the_conversation_and_the_user() -> None:
    bot = make_bot()
    await bot.say()
    await bot.turns.continue_conversation(reference(), counting(bot))
    assert bot.connector.texts[-1] == "2 2 2"
    assert await bot.say() == ["3 3 3"]


async def test_it_keeps_no_session_alive() -> None:
    bot = make_bot()
    await bot.say()
    bot.clock.sleep(90)
    await bot.turns.continue_conversation(reference(), counting(bot))
    bot.clock.sleep(bot.timing.keeps_for_now.total_seconds() + 2.5)  # it writes user state
    report = await bot.sweep()
    assert (report.expired, report.notified) == (1, 1)


async def test_what_it_leaves_in_a_new_session_ends_without_a_notice() -> None:
    bot = make_bot()
    await bot.turns.continue_conversation(reference(), counting(bot))
    assert await bot.row() is not None
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.expired, report.notified) == (1, 0)


async def test_two_at_once_and_a_message_each_count_once() -> None:
    bot = make_bot()
    await asyncio.gather(
        bot.turns.continue_conversation(reference(), counting(bot)),
        bot.another_process().turns.continue_conversation(reference(), counting(bot)),
        bot.say(),
    )
    assert await bot.say() == ["4 4 4"]


async def test_it_runs_again_if_a_message_was_first() -> None:
    conversations = FaultyTable(MemoryTable())
    bot = make_bot(conversations=conversations)
    await bot.say()
    conversations.before = do_once("write replace c|", bot.another_process().say)
    await bot.turns.continue_conversation(reference(), counting(bot))
    assert bot.connector.texts[-1] == "3 3 3"


async def test_what_it_raises_reaches_its_caller_and_nothing_is_saved_or_sent() -> None:
    bot = make_bot()

    async def fail(context: TurnContext) -> None:
        await counting(bot)(context)
        raise LookupError("no such order")

    with pytest.raises(LookupError, match="no such order"):
        await bot.turns.continue_conversation(reference(), fail)
    assert bot.connector.sent == []
    assert await bot.row() is None


async def test_without_storage_nothing_is_sent() -> None:
    conversations = FaultyTable(MemoryTable())
    bot = make_bot(conversations=conversations)
    conversations.before = once("get c|", StorageUnavailableError("down"))
    with pytest.raises(StorageUnavailableError):
        await bot.turns.continue_conversation(reference(), counting(bot))
    assert bot.connector.sent == []


async def test_if_others_are_always_first_its_caller_learns_of_it() -> None:
    conversations = FaultyTable(MemoryTable())
    bot = make_bot(conversations=conversations)

    async def refuse(what: str) -> None:
        if what.startswith("write insert c|"):
            raise ConflictError("another writer")

    conversations.before = refuse
    with pytest.raises(ConflictError):
        await bot.turns.continue_conversation(reference(), counting(bot))
    assert bot.connector.sent == []


async def test_a_message_that_does_not_go_out_is_an_error_and_its_state_stays() -> None:
    bot = make_bot()
    bot.connector.refuse = lambda _: ConnectorError("blocked", status=403)
    with pytest.raises(ConnectorError, match="blocked"):
        await bot.turns.continue_conversation(reference(), counting(bot))
    bot.connector.refuse = lambda _: None
    assert await bot.say() == ["2 2 2"]


async def test_without_a_user_the_states_of_the_user_are_the_bots() -> None:
    bot = make_bot()
    await bot.say()
    without = reference()
    without.user = None
    await bot.turns.continue_conversation(without, counting(bot))
    assert bot.connector.texts[-1] == "2 1 1"
    assert await bot.say() == ["3 2 2"]


async def test_its_messages_are_notices_and_replies_go_first() -> None:
    bot = make_bot()
    one_in_two_seconds = (1, 2.0)
    limits = SendingLimits(
        Limits({"msteams": {"tenant": one_in_two_seconds}, "other": {"service_url": (1, 2.0)}}),
        clock=lambda: bot.clock().timestamp(),
        sleep=_sleep_on(bot),
    )
    bot.turns._adapter._limits = limits
    began = bot.clock()
    for _ in range(3):
        await bot.turns.continue_conversation(reference(), counting(bot))
    waited = (bot.clock() - began).total_seconds()
    assert 4 <= waited <= 5
    assert await bot.say() == ["4 4 4"]
    assert (bot.clock() - began).total_seconds() == waited  # the reply did not wait
    for _ in range(20):
        await limits.before_reply(reference_of(activity()))
    with pytest.raises(ConnectorError, match="limit is used up") as raised:
        await bot.turns.continue_conversation(reference(), counting(bot))
    assert raised.value.status == 429
    assert raised.value.retry_after_seconds


def _sleep_on(bot: BotInMemory) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        bot.clock.sleep(seconds)

    return sleep


async def test_a_conversation_is_begun_once_however_often_its_turn_runs() -> None:
    conversations = FaultyTable(MemoryTable())
    bot = make_bot(conversations=conversations)
    conversations.before = once("write insert c|", ConflictError("another writer"))
    parameters = ConversationParameters(
        is_group=False, members=[ChannelAccount(id="ann")], bot=ChannelAccount(id="bot")
    )
    begun = await bot.turns.create_conversation(
        "directline", SERVICE_URL, parameters, counting(bot)
    )
    paths = [path for _, path, _ in bot.connector.sent]
    assert paths.count("v3/conversations") == 1
    assert bot.connector.texts[-1] == "1 1 1"
    await bot.turns.continue_conversation(begun, counting(bot))
    assert bot.connector.texts[-1] == "2 2 2"


@pytest.mark.parametrize("how", ["save", "delete"])
async def test_saving_after_the_turn_raises(how: str) -> None:
    tasks: list[asyncio.Task[None]] = []
    is_over = asyncio.Event()

    async def begin(bot: FunctionBot, context: TurnContext) -> None:
        async def later() -> None:
            await is_over.wait()
            count = bot.conversation.create_property("count")
            await count.set(context, 7)
            if how == "save":
                await bot.conversation.save_changes(context)
            else:
                await bot.conversation.delete(context)

        tasks.append(asyncio.create_task(later()))
        await context.send_activity("working")

    await BotInMemory(FunctionBot(begin)).say()
    is_over.set()
    with pytest.raises(RuntimeError, match="this turn is over"):
        await tasks[0]
