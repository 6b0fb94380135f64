"""Users are warned before their conversation expires, at most once for each stage."""

from dataclasses import replace
from datetime import UTC, time, timedelta
from typing import Any

import pytest

from shared.connector.client import ConnectorError
from shared.domain.conversation import Conversation
from shared.domain.timing import QuietHours, Timing
from shared.expiry.notice import Slot, Unlimited
from shared.storage.observed_table import ObservedTable
from tests import texts
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation
from tests.faults import FaultyTable, do_once
from tests.memory_table import MemoryTable

GROUP: dict[str, Any] = {
    "conversation": {"id": "talk", "conversationType": "groupChat", "isGroup": True}
}
STAY: dict[str, Any] = {"value": {"expiry": "stay"}}


def seconds(*numbers: float) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=number) for number in numbers)


def warning_bot(*warn_before: float, expire_after: float = 1000, **options: Any) -> BotInMemory:
    timing = Timing(timedelta(seconds=expire_after), seconds(*(warn_before or (300, 60))))
    return BotInMemory(FunctionBot(count_in_conversation), timing, **options)


def warnings(bot: BotInMemory) -> list[str]:
    return [text for text in bot.connector.texts if text.startswith("Are you still there?")]


async def sweeps(bot: BotInMemory, *, until: float, every: float = 10) -> list[tuple[float, str]]:
    """The times, counted from now, of all warnings and notices, and their texts."""
    found: list[tuple[float, str]] = []
    began = bot.clock()
    while (passed := (bot.clock() - began).total_seconds()) <= until:
        before = len(bot.connector.texts)
        report = await bot.sweep()
        assert report.failed == 0
        found += [(passed, text) for text in bot.connector.texts[before:]]
        bot.clock.sleep(every)
    return found


async def test_users_are_warned_at_each_stage_and_then_told() -> None:
    bot = warning_bot()
    await bot.say()
    assert await sweeps(bot, until=1100) == [
        (710, "Are you still there? I will close this conversation in 4 minutes."),
        (950, "Are you still there? I will close this conversation in 50 seconds."),
        (1010, texts.EXPIRED),
    ]
    assert bot.keys() == []


async def test_a_warning_has_a_button_and_says_its_session() -> None:
    bot = warning_bot()
    await bot.say(locale="de-AT")
    row = await bot.row()
    assert row
    bot.clock.sleep(705)
    assert (await bot.sweep()).warned == 1
    _, _, body = bot.connector.sent[-1]
    assert body["text"] == "Sind Sie noch da? Noch 4 Minuten, dann beende ich dieses Gespräch."
    assert body["locale"] == "de"
    (button,) = body["suggestedActions"]["actions"]
    assert button == {
        "type": "messageBack",
        "title": "Ich bin noch da",
        "text": "Ich bin noch da",
        "displayText": "Ich bin noch da",
        "value": {"expiry": "stay"},
    }
    assert body["channelData"] == {"warnedSession": row.session}


async def test_in_teams_the_button_is_on_a_card() -> None:
    bot = warning_bot()
    await bot.say(channelId="msteams")
    bot.clock.sleep(705)
    assert (await bot.sweep()).warned == 1
    _, _, body = bot.connector.sent[-1]
    (card,) = body["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    (button,) = card["content"]["actions"]
    assert button == {
        "type": "Action.Submit",
        "title": "I'm still here",
        "data": {"expiry": "stay"},  # what the value of the press is then
    }
    assert "suggestedActions" not in body


async def test_the_button_keeps_the_conversation_and_the_bot_does_not_hear_of_it() -> None:
    bot = warning_bot()
    await bot.say()
    bot.clock.sleep(705)
    await bot.sweep()
    assert await bot.say("I'm still here", **STAY) == ["All right, I'll keep this conversation."]
    found = await sweeps(bot, until=980)
    assert [at for at, _ in found] == [710, 950]
    assert await bot.say() == ["2"]


async def test_a_button_that_is_pressed_too_late_gets_the_truth_and_begins_nothing() -> None:
    bot = warning_bot()
    await bot.say()
    bot.clock.sleep(705)
    await bot.sweep()
    bot.clock.sleep(310)
    assert await bot.say("I'm still here", **STAY) == [texts.EXPIRED]  # before the sweep
    await bot.sweep()
    assert bot.keys() == []
    assert await bot.say("I'm still here", **STAY) == [texts.EXPIRED]
    assert bot.keys() == []


async def test_who_is_back_is_warned_anew_and_in_time() -> None:
    bot = warning_bot()
    await bot.say()
    bot.clock.sleep(705)
    await bot.sweep()
    bot.clock.sleep(100)
    await bot.say()
    assert [at for at, _ in await sweeps(bot, until=1100)] == [710, 950, 1010]


@pytest.mark.parametrize("type_", ["event", "typing", "conversationUpdate"])
async def test_what_a_client_sends_by_itself_arms_no_stage_again(type_: str) -> None:
    bot = warning_bot(300)
    await bot.say()
    bot.clock.sleep(705)
    await bot.sweep()
    bot.clock.sleep(10)
    await bot.say(None, type=type_, name="application/vnd.microsoft.readReceipt")
    assert [at for at, _ in await sweeps(bot, until=400)] == [290]
    assert len(warnings(bot)) == 1


async def test_of_several_overdue_stages_only_the_last_one_is_sent() -> None:
    bot = warning_bot()
    await bot.say()
    bot.clock.sleep(950)
    assert (await bot.sweep()).warned == 1
    assert [at for at, _ in await sweeps(bot, until=100)] == [60]


@pytest.mark.parametrize(("late", "warned"), [(978, 1), (981, 0)])
async def test_nobody_is_warned_who_has_no_time_to_answer(late: float, warned: int) -> None:
    bot = warning_bot()
    await bot.say()
    bot.clock.sleep(late)
    assert (await bot.sweep()).warned == warned
    assert (await bot.sweep()).warned == 0


async def test_quiet_sessions_and_silent_ones_are_not_warned() -> None:
    bot = warning_bot()
    await bot.say(None, type="conversationUpdate", membersAdded=[{"id": "ann"}])
    bot.clock.sleep(950)
    assert (await bot.sweep()).warned == 0
    silent = replace(
        warning_bot(), timing=Timing(timedelta(seconds=1000), seconds(300), notify=False)
    )
    await silent.say()
    silent.clock.sleep(950)
    assert (await silent.sweep()).warned == 0


async def test_a_quiet_session_in_which_a_user_speaks_is_warned_in_time() -> None:
    bot = warning_bot()
    await bot.say(None, type="conversationUpdate", membersAdded=[{"id": "ann"}])
    bot.clock.sleep(720)
    await bot.sweep()
    await bot.say()
    assert [at for at, _ in await sweeps(bot, until=1100)] == [710, 950, 1010]


@pytest.mark.parametrize(
    ("status", "times"), [(429, 2), (401, 2), (503, 1), (500, 1), (404, 1), (None, 1)]
)
async def test_a_warning_goes_again_only_if_nobody_can_have_seen_it(
    status: int | None, times: int
) -> None:
    bot = warning_bot(300)
    await bot.say()
    bot.clock.sleep(705)
    tried: list[str] = []

    def refuse_once(body: dict[str, Any]) -> ConnectorError | None:
        tried.append(body["text"])
        return ConnectorError("no", status=status, code="no") if len(tried) == 1 else None

    bot.connector.refuse = refuse_once
    assert (await bot.sweep()).warned == 0
    bot.clock.sleep(20)
    await bot.sweep()
    assert len(tried) == times


async def test_a_sweep_that_dies_after_the_move_loses_the_warning_only() -> None:
    table = FaultyTable(MemoryTable())
    bot = warning_bot(300, conversations=table)
    await bot.say()
    bot.clock.sleep(705)

    async def dies() -> None:
        raise RuntimeError("the process dies")

    table.after = do_once("write delete d|", dies)
    await bot.sweep()
    table.after = FaultyTable(MemoryTable()).after
    assert [text for _, text in await sweeps(bot, until=400)] == [texts.EXPIRED]


async def test_who_comes_back_while_a_warning_waits_for_its_slot_is_not_warned() -> None:
    bot = warning_bot(300)
    await bot.say()
    bot.clock.sleep(705)
    here = bot

    class Pace(Unlimited):
        def reserve(self, _: Conversation, __: float) -> Slot:
            return Slot(0.5)

        def confirm(self, _: Conversation, __: Slot, ___: float) -> Slot:
            return Slot(0)

    original = bot.store.load_tracking
    looked = 0

    async def load_tracking(address: Any) -> Conversation | None:
        nonlocal looked
        looked += 1
        if looked == 2:  # after the wait
            await here.say()
        return await original(address)

    bot.store.load_tracking = load_tracking  # type: ignore[method-assign] # a user comes in
    report = await bot.sweep(pace=Pace())
    assert (report.warned, report.came_back) == (0, 1)


async def test_a_warning_that_waits_into_quiet_hours_is_left_out() -> None:
    bot = warning_bot(300)
    hours = QuietHours(time(12, 12), time(12, 14), UTC)
    bot = replace(bot, timing=replace(bot.timing, quiet_hours=hours))
    await bot.say()
    bot.clock.sleep(705)

    class Pace(Unlimited):
        def begin(self, _: Conversation, slot: Slot, __: float) -> Slot:
            bot.clock.sleep(20)
            return slot

    report = await bot.sweep(pace=Pace())
    assert (report.warned, report.looked_at) == (0, 1)
    assert [text for _, text in await sweeps(bot, until=400)] == [texts.EXPIRED]


async def test_a_warning_whose_place_is_gone_once_its_row_is_moved_goes_later() -> None:
    bot = warning_bot(300)
    await bot.say()
    bot.clock.sleep(705)

    class Pace(Unlimited):
        def begin(self, _: Conversation, __: Slot, ___: float) -> Slot:
            return Slot(20, granted=False)

    report = await bot.sweep(pace=Pace())
    assert (report.warned, report.retried_later) == (0, 1)
    bot.clock.sleep(15)
    assert (await bot.sweep()).looked_at == 0
    bot.clock.sleep(10)
    assert (await bot.sweep()).warned == 1


async def test_a_warning_costs_two_requests_beside_the_range_query() -> None:
    bot = warning_bot(300)
    await bot.say()
    bot.clock.sleep(705)
    table = ObservedTable(bot.conversations)
    counted = replace(bot, conversations=table)
    assert (await counted.sweep()).warned == 1
    assert table.requests - len(bot.store.shards) == 2


async def test_a_stage_that_is_added_later_holds_for_conversations_that_are_there() -> None:
    bot = replace(warning_bot(), timing=Timing(timedelta(seconds=1000)))
    await bot.say()
    await bot.sweep(with_timeout=True)
    bot.clock.sleep(705)
    with_stages = replace(bot, timing=warning_bot(300).timing)
    assert (await with_stages.sweep(with_timeout=True)).warned == 1


async def test_a_group_is_warned_together() -> None:
    bot = warning_bot(300)
    await bot.say(**GROUP)
    bot.clock.sleep(705)
    assert (await bot.sweep()).warned == 1
