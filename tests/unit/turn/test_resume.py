"""An expired conversation is resumed: where it was, once, by its own button, and until its time."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from botbuilder.core import TurnContext

from shared.domain.conversation import Status
from shared.domain.timing import Timing
from tests.bot_in_memory import (
    BotInMemory,
    FunctionBot,
    InCosmos,
    activity,
    count_in_every_bag,
)

EXPIRED = (
    "This conversation has expired because I did not hear from you."
    " For 1 hour you can still go on where you were. Or write to start over."
)
RESUMED = "Welcome back! Let's go on where we were."
GONE = "I no longer have that conversation, so we cannot go on with it. Just write to me."
STAYED = "All right, I'll keep this conversation."
WELCOME = "Welcome back! I had closed our last conversation. You can resume it, or just go on here."
TIMING = Timing(timedelta(seconds=100), resume_within=timedelta(hours=1))


class ResumableBot(FunctionBot):
    """Counts in every bag; once resumed, it says how far it was."""

    async def on_resumed(self, context: TurnContext) -> None:
        bags = (self.conversation, self.user, self.private)
        numbers = [str(await bag.create_property("count").get(context, 0)) for bag in bags]
        await context.send_activity("at " + " ".join(numbers))


def in_tables() -> InCosmos | None:
    return None


@pytest.fixture(params=[in_tables, InCosmos], ids=["tables", "cosmos"])
def bot(request: pytest.FixtureRequest) -> BotInMemory:
    where: Callable[[], InCosmos | None] = request.param
    return BotInMemory(ResumableBot(count_in_every_bag), TIMING, cosmos=where())


async def expire(bot: BotInMemory, seconds: float = 103) -> Mapping[str, Any]:
    """Let it expire; returns the value of the button of its notice."""
    bot.clock.sleep(seconds)
    await bot.sweep()
    return button(bot)


def button(bot: BotInMemory) -> Mapping[str, Any]:
    """The value of the button of the last message."""
    (action,) = bot.connector.sent[-1][2]["suggestedActions"]["actions"]
    value: Mapping[str, Any] = action["value"]
    return value


async def press(bot: BotInMemory, value: Mapping[str, Any], **changes: Any) -> list[str]:
    return await bot.say("Resume", value=value, **changes)


async def test_the_notice_has_a_button_that_goes_on_where_it_was(bot: BotInMemory) -> None:
    await bot.say()
    await bot.say()
    value = await expire(bot)
    assert bot.connector.texts[-1] == EXPIRED
    assert await press(bot, value) == [RESUMED, "at 2 2 2"]
    assert await bot.say() == ["3 3 3"]


async def test_it_expires_again_and_is_resumed_again(bot: BotInMemory) -> None:
    await bot.say()
    for _ in range(3):
        assert await press(bot, await expire(bot)) == [RESUMED, "at 1 1 1"]
    value = await expire(bot)
    bot.clock.sleep(3700)
    await bot.sweep()
    assert await press(bot, value) == [GONE]
    assert bot.keys() == []


async def test_who_just_writes_is_offered_it_in_the_welcome(bot: BotInMemory) -> None:
    await bot.say()
    await bot.say()
    await expire(bot)
    assert await bot.say() == [WELCOME, "1 3 1"]
    value = bot.connector.sent[-2][2]["suggestedActions"]["actions"][0]["value"]
    assert await press(bot, value) == [RESUMED, "at 2 3 2"]
    assert await bot.say() == ["3 4 3"]


async def test_who_goes_on_without_it_has_given_it_up(bot: BotInMemory) -> None:
    await bot.say()
    value = await expire(bot)
    await bot.say()
    assert await bot.say() == ["2 3 2"]
    assert await press(bot, value) == [GONE]
    assert await bot.say() == ["3 4 3"]


async def test_a_reaction_gives_nothing_up(bot: BotInMemory) -> None:
    await bot.say()
    value = await expire(bot)
    await bot.say()
    reaction = {"type": "messageReaction", "timestamp": "2026-11-22T12:00:00Z"}
    await bot.take(activity(None, **reaction))
    assert (await press(bot, value))[0] == RESUMED


async def test_before_the_sweep_has_come_the_welcome_offers_it(bot: BotInMemory) -> None:
    await bot.say()
    bot.clock.sleep(150)
    assert await bot.say() == [WELCOME, "1 2 1"]
    value = bot.connector.sent[-2][2]["suggestedActions"]["actions"][0]["value"]
    await bot.sweep()
    assert await press(bot, value) == [RESUMED, "at 1 2 1"]


async def test_two_presses_resume_it_once(bot: BotInMemory) -> None:
    await bot.say()
    value = await expire(bot)
    assert await press(bot, value) == [RESUMED, "at 1 1 1"]
    assert await press(bot, value) == [STAYED]
    assert await bot.say() == ["2 2 2"]


async def test_an_old_work_item_takes_nothing_from_a_session_that_was_resumed(
    bot: BotInMemory,
) -> None:
    await bot.say()
    await press(bot, await expire(bot))
    bot.clock.sleep(3500)
    await bot.sweep()  # it expires again
    await bot.say()
    value = bot.connector.sent[-2][2]["suggestedActions"]["actions"][0]["value"]
    bot.clock.sleep(90)
    await bot.sweep()  # the first session could be resumed until now
    assert await press(bot, value) == [RESUMED, "at 1 2 1"]


@pytest.mark.parametrize("word", ["resume", " Resume ", "RESUME"])
async def test_its_title_as_a_message_does_the_same(bot: BotInMemory, word: str) -> None:
    await bot.say()
    await expire(bot)
    assert await bot.say(word) == [RESUMED, "at 1 1 1"]


async def test_the_title_counts_in_the_language_of_the_notice(bot: BotInMemory) -> None:
    await bot.say(locale="de-DE")
    await expire(bot)
    assert await bot.say("fortsetzen") == [
        "Willkommen zurück! Machen wir dort weiter, wo wir waren.",
        "at 1 1 1",
    ]


async def test_in_a_group_the_word_means_nothing_but_the_button_does(bot: BotInMemory) -> None:
    group: dict[str, Any] = {"conversation": {"id": "talk", "isGroup": True}}
    await bot.say(**group)
    value = await expire(bot)
    assert (await bot.say("resume", **group))[0] == WELCOME
    assert await press(bot, value, sender="bob", **group) == [RESUMED, "at 1 0 0"]


async def test_a_word_that_offers_nothing_is_the_bots(bot: BotInMemory) -> None:
    assert await bot.say("resume") == ["1 1 1"]
    assert await bot.say("resume") == ["2 2 2"]


async def test_after_its_time_it_is_gone(bot: BotInMemory) -> None:
    await bot.say()
    value = await expire(bot)
    bot.clock.sleep(3601)  # no sweep has come yet
    assert await press(bot, value) == [GONE]
    assert await bot.say() == ["1 2 1"]


async def test_a_sweep_takes_it_away_when_its_time_is_over(bot: BotInMemory) -> None:
    await bot.say()
    await expire(bot)
    bot.clock.sleep(3600 + 63)
    report = await bot.sweep()
    assert report.finished_already == 1
    assert bot.keys() == []


async def test_a_session_that_was_given_up_leaves_nothing(bot: BotInMemory) -> None:
    await bot.say()
    await expire(bot)
    await bot.say()
    await bot.say()
    bot.clock.sleep(3600 + 63)
    await bot.sweep()
    bot.clock.sleep(3600 + 63)
    await bot.sweep()
    assert bot.keys() == []


async def test_it_is_offered_once_more_beside_a_session_that_expires(bot: BotInMemory) -> None:
    await bot.say()
    old = await expire(bot)
    await bot.say()
    new = await expire(bot)
    assert new != old
    assert await press(bot, old) == [GONE]
    assert await press(bot, new) == [RESUMED, "at 1 2 1"]


async def test_who_wants_to_stay_too_late_is_offered_it(bot: BotInMemory) -> None:
    await bot.say()
    await expire(bot)
    assert await bot.say("stay", value={"expiry": "stay"}) == [EXPIRED]
    assert await press(bot, button(bot)) == [RESUMED, "at 1 1 1"]


@pytest.mark.parametrize(
    "value",
    [
        {"expiry": "resume"},
        {"expiry": "resume", "session": 7},
        {"expiry": "resume", "session": None},
        {"expiry": "resume", "session": ["9f3c"]},
        {"expiry": "resume", "session": "../../c|x"},
        {"expiry": "resume", "session": "x" * 100_000},
    ],
)
async def test_a_forged_press_runs_nothing(bot: BotInMemory, value: Mapping[str, Any]) -> None:
    assert await press(bot, value) == [GONE]
    await bot.say()
    assert await press(bot, value) == [GONE]
    await expire(bot)
    assert await press(bot, value) == [GONE]
    assert isinstance(bot.bot, FunctionBot)
    assert bot.bot.runs == 1
    row = await bot.row()
    assert row is not None
    assert row.status is Status.EXPIRED


async def test_an_ended_conversation_cannot_be_resumed(bot: BotInMemory) -> None:
    await bot.say()
    value = await expire(bot)
    await bot.take(activity(None, type="endOfConversation"))
    assert await press(bot, value) == [GONE]


async def test_a_session_without_state_is_not_offered() -> None:
    async def echo(bot: FunctionBot, context: TurnContext) -> None:
        del bot
        await context.send_activity("echo")

    bot = BotInMemory(FunctionBot(echo), TIMING)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert bot.connector.texts[-1] == (
        "This conversation has expired because I did not hear from you. Write to start over."
    )
    assert bot.keys() == []


async def test_an_erasure_takes_it_along(bot: BotInMemory) -> None:
    await bot.say()
    value = await expire(bot)
    await bot.erasure.erase("directline", "ann")
    assert await press(bot, value) == [GONE]
    await bot.say()
    await expire(bot)
    await bot.say()  # beside the kept one
    await bot.erasure.erase("directline", "ann")
    assert bot.keys().count("p") == 0
    bot.clock.sleep(4000)
    await bot.sweep()
    assert bot.keys() == []
