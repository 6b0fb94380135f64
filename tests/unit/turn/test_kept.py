"""What knows of sessions knows of kept ones: what is left of them, and when it goes."""

from dataclasses import replace
from datetime import timedelta

import pytest
from botbuilder.core import TurnContext

from shared.domain.conversation import Conversation
from shared.expiry.notice import NoticeResult, Verdict
from shared.state.state_data import BotData, StateData
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    FunctionBot,
    activity,
    count_in_conversation,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable
from tests.texts import EXPIRED, WELCOME_BACK
from tests.unit.turn.test_resume import (
    GONE,
    RESUMED,
    TIMING,
    WELCOME,
    ResumableBot,
    bot,
    expire,
    press,
)

__all__ = ["bot"]  # a fixture

WINDOW = 3600 + 63


def documents(bot: BotInMemory) -> int:
    """How many documents of conversations there are."""
    if bot.cosmos is None:
        return 0
    assert isinstance(bot.cosmos.conversations, MemoryContainer)
    return len(bot.cosmos.conversations.stored)


async def forget(bot: BotInMemory) -> None:
    """Let every window be over, and every session expire; nothing may be left of them."""
    for _ in range(3):
        bot.clock.sleep(WINDOW)
        await bot.sweep()
    assert bot.keys() == []
    assert documents(bot) == 0


async def count_what_is_asked_for(bot: FunctionBot, context: TurnContext) -> None:
    """Counts in the bags that the message names, and says their numbers."""
    numbers = []
    for name in (context.activity.text or "").split():
        count = getattr(bot, name).create_property("count")
        numbers.append(str(await count.get(context, 0) + 1))
        await count.set(context, int(numbers[-1]))
    await context.send_activity(" ".join(numbers))


@pytest.fixture
def asked(bot: BotInMemory) -> BotInMemory:
    """A bot that changes the bags that it is asked to."""
    return BotInMemory(ResumableBot(count_what_is_asked_for), TIMING, cosmos=bot.cosmos)


async def test_user_state_of_a_kept_session_counts_after_a_new_one_that_left_it_alone(
    asked: BotInMemory,
) -> None:
    await asked.say("conversation user")
    value = await expire(asked)
    await asked.say("conversation")
    assert await press(asked, value) == [RESUMED, "at 1 1 0"]
    assert await asked.say("conversation user") == ["2 2"]


@pytest.mark.parametrize("bags", ["conversation", "private", "conversation private"])
@pytest.mark.parametrize("new", ["", "conversation private"])
async def test_nothing_is_left_of_a_session_that_was_resumed_beside_a_new_one(
    asked: BotInMemory, bags: str, new: str
) -> None:
    await asked.say(bags)
    value = await expire(asked)
    await asked.say(new)
    assert (await press(asked, value))[0] == RESUMED
    assert documents(asked) <= 1
    await forget(asked)


async def test_nothing_is_left_of_a_kept_session_once_the_new_one_has_ended(
    bot: BotInMemory,
) -> None:
    await bot.say()
    await expire(bot)
    await bot.take(activity(None, type="endOfConversation"))
    assert documents(bot) == 0
    await forget(bot)


async def test_nothing_is_left_of_a_kept_session_that_was_given_up_after_its_time(
    bot: BotInMemory,
) -> None:
    await bot.say()
    await expire(bot)
    for _ in range(90):  # a reaction gives nothing up, and keeps the new session alive
        bot.clock.sleep(41)
        await bot.take(activity(None, type="messageReaction") if _ else activity("hi"))
    await bot.say()
    assert documents(bot) <= 1
    await forget(bot)


# A notice that fails for good


@pytest.fixture
def faulty(bot: BotInMemory) -> tuple[BotInMemory, FaultyTable]:
    """A bot, and its table of conversations, which can fail."""
    table = FaultyTable(MemoryTable())
    counting = ResumableBot(count_in_every_bag)
    return BotInMemory(counting, TIMING, conversations=table, cosmos=bot.cosmos), table


async def refused_for_good(conversation: Conversation) -> NoticeResult:
    del conversation
    return NoticeResult(Verdict.DEAD, 400)


async def test_a_notice_that_fails_for_good_takes_along_what_could_be_resumed(
    bot: BotInMemory,
) -> None:
    await bot.say()
    bot.clock.sleep(103)
    assert (await bot.sweep(refused_for_good)).dead_lettered == 1
    assert bot.keys() == ["x"]
    assert documents(bot) == 0
    (letter,) = await bot.dead_letters()
    assert await bot.store.replay(letter, bot.clock())
    bot.clock.sleep(3)
    await bot.sweep()
    assert bot.connector.texts[-1] == EXPIRED  # which offers nothing
    assert bot.keys() == []


async def test_a_sweep_that_ends_before_its_dead_letter_is_written_leaves_nothing_to_resume(
    faulty: tuple[BotInMemory, FaultyTable],
) -> None:
    bot, table = faulty
    await bot.say()
    bot.clock.sleep(103)
    table.before = once("insert x|")
    assert (await bot.sweep(refused_for_good)).failed == 1
    row = await bot.row()
    assert row is not None
    assert (row.resume_until, row.state, documents(bot)) == (None, b"", 0)
    bot.clock.sleep(61)
    assert (await bot.sweep(refused_for_good)).dead_lettered == 1


@pytest.mark.parametrize("at", ["query p|", "insert x|"])
async def test_who_writes_while_a_dead_letter_is_being_written_begins_a_session_of_their_own(
    faulty: tuple[BotInMemory, FaultyTable], at: str
) -> None:
    bot, table = faulty
    if bot.cosmos and at == "query p|":
        pytest.skip("private bags are in the document")
    await bot.say()
    bot.clock.sleep(103)
    heard: list[str] = []

    async def write() -> None:
        heard.extend(await bot.say())

    table.before = do_once(at, write)
    assert (await bot.sweep(refused_for_good)).dead_lettered == 0
    assert heard == [WELCOME_BACK, "1 2 1"]
    assert await bot.say() == ["2 3 2"]


async def test_who_resumes_before_the_dead_letter_is_written_has_everything(
    faulty: tuple[BotInMemory, FaultyTable],
) -> None:
    bot, _ = faulty
    await bot.say()
    bot.clock.sleep(103)

    async def refuse_a_user_who_is_back(conversation: Conversation) -> NoticeResult:
        assert (await bot.say())[0] == WELCOME
        assert (await press(bot, button_of_the_welcome(bot)))[0] == RESUMED
        return await refused_for_good(conversation)

    report = await bot.sweep(refuse_a_user_who_is_back)
    assert (report.dead_lettered, report.left_to_others) == (0, 1)
    assert await bot.say() == ["2 3 2"]


def button_of_the_welcome(bot: BotInMemory) -> dict[str, object]:
    """The value of the button of the message before the last one."""
    (action,) = bot.connector.sent[-2][2]["suggestedActions"]["actions"]
    value: dict[str, object] = action["value"]
    return value


# The state data interface


def state_data(bot: BotInMemory) -> StateData:
    return StateData(bot.state_store, policy=bot.policy, now=bot.clock)


async def everything(bot: BotInMemory) -> list[object]:
    """What the interface has of the conversation, and of Ann in it."""
    data = state_data(bot)
    found = await data.get_conversation(CHANNEL, "talk")
    private = await data.get_private(CHANNEL, "talk", "ann")
    return [found.data, private.data]


async def test_the_state_data_interface_knows_no_kept_data(bot: BotInMemory) -> None:
    await bot.say()
    assert await everything(bot) == [{"count": 1}, {"count": 1}]
    value = await expire(bot)
    assert await everything(bot) == [None, None]
    await bot.say()
    assert await everything(bot) == [{"count": 1}, {"count": 1}]  # of the new session
    assert (await press(bot, value))[0] == RESUMED
    assert await everything(bot) == [{"count": 1}, {"count": 1}]


@pytest.mark.parametrize("beside", [False, True], ids=["kept", "kept beside one that is over"])
@pytest.mark.parametrize("kind", ["conversation", "private"])
async def test_what_is_saved_from_outside_begins_a_session_and_what_was_kept_is_gone(
    bot: BotInMemory, kind: str, beside: bool
) -> None:
    await bot.say()
    value = await expire(bot)
    if beside:
        await bot.say()
        bot.clock.sleep(103)  # no sweep has come yet
    new, data = BotData({"count": 7}, ""), state_data(bot)
    if kind == "conversation":
        await data.save_conversation(CHANNEL, "talk", new)
    else:
        await data.save_private(CHANNEL, "talk", "ann", new)
    assert await press(bot, value) == [GONE]
    saved = [{"count": 7} if kind == each else None for each in ("conversation", "private")]
    assert await everything(bot) == saved
    assert documents(bot) <= 1
    await forget(bot)


@pytest.mark.parametrize("is_pressed", [False, True])
async def test_what_somebody_else_has_deleted_is_gone_and_holds_up_nobody(
    asked: BotInMemory, *, is_pressed: bool
) -> None:
    await asked.say("conversation private")
    value = await expire(asked)
    await asked.say("conversation")
    row = await asked.row()
    assert row
    await asked.store.delete_kept(row.address, row.kept)  # as an earlier version's sweep does
    if is_pressed:
        assert await press(asked, value) == [GONE]
    assert await asked.say("conversation") == ["2"]
    assert await press(asked, value) == [GONE]
    await forget(asked)


# Requests


class Requests:
    """What a bot asks of its two tables: the verb and the kind of each row of a request."""

    def __init__(self, *, resume_within: timedelta) -> None:
        self._made: list[str] = []
        tables = FaultyTable(MemoryTable()), FaultyTable(MemoryTable())
        self.bot = BotInMemory(
            FunctionBot(count_in_conversation),
            replace(TIMING, resume_within=resume_within),
            conversations=tables[0],
            users=tables[1],
        )
        for table in tables:
            table.before = self._note

    async def _note(self, doing: str) -> None:
        if not doing.startswith("query d|"):  # which each shard of each sweep costs
            words = doing.removeprefix("write ").split()
            self._made.append(" ".join(word.partition("|")[0] for word in words))

    def made(self) -> list[str]:
        """Since the last call."""
        made, self._made = self._made, []
        return made


async def test_without_a_time_to_resume_the_requests_are_those_of_before() -> None:
    requests = Requests(resume_within=timedelta(0))
    bot = requests.bot
    await bot.say()
    assert requests.made() == ["get c", "upsert in", "insert c upsert d"]
    await bot.say()
    assert requests.made() == ["get c", "replace c"]
    bot.clock.sleep(103)
    await bot.sweep()
    assert requests.made() == ["get c", "replace c", "delete in", "delete c", "delete d"]
    await bot.say()
    requests.made()
    bot.clock.sleep(103)
    await bot.say()  # before the sweep
    assert requests.made() == ["get c", "replace c upsert d"]


async def test_a_kept_expiry_is_at_most_four_requests_a_look_and_one_for_each_user() -> None:
    requests = Requests(resume_within=timedelta(hours=1))
    bot = requests.bot
    await bot.say()
    requests.made()
    bot.clock.sleep(103)
    await bot.sweep()
    assert requests.made() == ["get c", "merge c", "merge c delete d upsert d"]
    bot.clock.sleep(WINDOW)
    await bot.sweep()
    assert requests.made() == ["get c", "replace c", "delete in", "delete c", "delete d"]


async def test_to_resume_costs_no_more_than_a_turn_and_beside_a_new_session_one_read_more() -> None:
    requests = Requests(resume_within=timedelta(hours=1))
    bot = requests.bot
    await bot.say()
    value = await expire(bot)
    requests.made()
    await press(bot, value)
    assert requests.made() == ["get c", "replace c upsert d"]
    value = await expire(bot)
    requests.made()
    await bot.say()
    assert requests.made() == ["get c", "replace c upsert d upsert p"]
    await press(bot, value)
    assert requests.made() == ["get c", "get p", "replace c upsert d delete p"]
    value = await expire(bot)
    await bot.say()
    requests.made()
    await bot.say()  # gives it up
    assert requests.made() == ["get c", "replace c delete p"]
    await bot.say()
    assert requests.made() == ["get c", "replace c"]
