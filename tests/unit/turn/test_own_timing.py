"""The bot's own code sets the time of a conversation, in turns and in sweeps."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botbuilder.core import ActivityHandler, TurnContext

from shared.authors import end_conversation, expiry
from shared.authors.expiry import NEVER
from shared.connector.client import ConnectorError
from shared.domain.timing import Bounds, OwnTiming, Timing
from shared.storage.observed_table import ObservedTable
from tests import texts
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    Clock,
    FunctionBot,
    activity,
    count_in_conversation,
    count_in_every_bag,
)
from tests.memory_table import MemoryTable

Act = Callable[[TurnContext], None]


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


class TimingBot(FunctionBot):
    """Counts, and does what the test wants with the next turns."""

    def __init__(self, count: Any = count_in_conversation) -> None:
        self.next: list[Act] = []
        self.seen: list[Timing] = []

        async def act(bot: FunctionBot, context: TurnContext) -> None:
            await count(bot, context)
            if self.next:
                self.next.pop(0)(context)
            self.seen.append(expiry.of(context))

        super().__init__(act)


def bot_that(*acts: Act, count: Any = count_in_conversation, **options: Any) -> BotInMemory:
    bot = TimingBot(count)
    bot.next += acts
    return BotInMemory(bot, options.pop("timing", Timing(seconds(100))), **options)


def timeout(number: float) -> Act:
    return lambda context: expiry.set(context, expire_after=seconds(number))


def nothing(_: TurnContext) -> None:
    """An act that sets nothing."""


@pytest.mark.parametrize("number", [20, 500])
async def test_a_conversation_gets_its_own_timeout(number: float) -> None:
    bot = bot_that(timeout(number))
    await bot.say()
    assert await bot.expires_after(number)
    assert bot.connector.texts[-1] == texts.EXPIRED
    assert bot.keys() == []


@pytest.mark.parametrize("number", [20, 500])
async def test_a_later_turn_may_set_it_and_it_holds_until_the_session_ends(number: float) -> None:
    bot = bot_that(nothing, timeout(number))
    await bot.say()
    await bot.say()
    await bot.say()
    assert await bot.expires_after(number)
    await bot.say()
    assert await bot.expires_after(100)


async def test_the_next_message_starts_over_by_the_own_time_too() -> None:
    bot = bot_that(timeout(20))
    await bot.say()
    bot.clock.sleep(19)
    assert await bot.say() == ["2"]
    bot.clock.sleep(20)
    assert await bot.say() == [texts.WELCOME_BACK, "1"]


async def test_none_takes_back_what_was_set() -> None:
    bot = bot_that(
        timeout(500), lambda context: expiry.set(context, expire_after=None, notify=None)
    )
    await bot.say()
    await bot.say()
    row = await bot.row()
    assert row
    assert row.own is None
    assert await bot.expires_after(100)


async def test_a_user_who_is_not_to_be_told_is_not_told() -> None:
    bot = bot_that(lambda context: expiry.set(context, notify=False))
    await bot.say()
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.expired, report.silent, report.notified) == (1, 1, 0)
    assert texts.EXPIRED not in bot.connector.texts


async def test_a_warning_of_its_own_comes_in_time() -> None:
    bot = bot_that(lambda context: expiry.set(context, warn_before=[seconds(40)]))
    await bot.say()
    bot.clock.sleep(61)
    assert (await bot.sweep()).warned == 0
    bot.clock.sleep(1)
    assert (await bot.sweep()).warned == 1


async def test_a_policys_warning_that_the_own_time_has_no_room_for_is_left_out() -> None:
    bot = bot_that(timeout(50), timing=Timing(seconds(100), (seconds(40),)))
    await bot.say()
    bot.clock.sleep(30)
    assert (await bot.sweep()).warned == 0
    bot.clock.sleep(22)
    assert (await bot.sweep()).notified == 1


async def test_never_expires_while_idle_and_is_looked_at_once_a_month() -> None:
    bot = bot_that(lambda context: expiry.set(context, expire_after=NEVER))
    await bot.say()
    looked_at = 0
    for _ in range(24):
        bot.clock.sleep(31 * 24 * 3600)
        report = await bot.sweep()
        looked_at += report.looked_at
        assert report.expired == 0
    assert looked_at <= 24
    assert await bot.say() == ["2"]


async def test_never_ends_when_the_bot_says_so() -> None:
    bot = bot_that(lambda context: expiry.set(context, expire_after=NEVER), timeout(30))
    await bot.say()
    bot.clock.sleep(10_000)
    await bot.sweep()
    await bot.say()
    assert await bot.expires_after(30)


async def test_a_conversation_that_waits_for_us_is_kept() -> None:
    bot = bot_that(lambda context: expiry.keep_until(context, bot.clock() + seconds(1000)))
    await bot.say()
    bot.clock.sleep(500)
    assert (await bot.sweep()).expired == 0
    assert await bot.say() == ["2"]
    assert await bot.expires_after(500)


async def test_the_wait_can_be_over_sooner() -> None:
    bot = bot_that(
        lambda context: expiry.keep_until(context, bot.clock() + seconds(1000)),
        lambda context: expiry.keep_until(context, None),
    )
    await bot.say()
    await bot.say()
    assert await bot.expires_after(100)


async def test_a_turn_that_the_bot_begins_sets_it_and_warns_nobody_twice() -> None:
    bot = bot_that(timing=Timing(seconds(100), (seconds(40),)))
    await bot.say()
    bot.clock.sleep(62)
    assert (await bot.sweep()).warned == 1

    async def logic(context: TurnContext) -> None:
        expiry.set(context, expire_after=seconds(80))

    reference = TurnContext.get_conversation_reference(activity())
    await bot.turns.continue_conversation(reference, logic)
    bot.clock.sleep(10)
    assert (await bot.sweep()).warned == 0
    bot.clock.sleep(10)
    assert (await bot.sweep()).notified == 1


@pytest.mark.parametrize("asks", ["the same user", "another one first"])
@pytest.mark.parametrize("is_told", [True, False])
async def test_an_early_end_undoes_no_state_of_a_user(asks: str, *, is_told: bool) -> None:
    bot = bot_that(nothing, timeout(20), count=count_in_every_bag)
    assert await bot.say(sender="ann") == ["1 1 1"]
    await bot.say(sender="bob")
    bot.clock.sleep(23)
    if is_told:
        report = await bot.sweep()
        assert (report.notified, report.finished_already) == (1, 0)
    if asks == "another one first":
        await bot.say(sender="bob")
    assert (await bot.say(sender="ann"))[-1].split()[1] == "2"


async def test_what_is_left_of_an_early_end_goes_when_its_time_has_come() -> None:
    bot = bot_that(timeout(20), count=count_in_every_bag)
    await bot.say()
    bot.clock.sleep(23)
    assert (await bot.sweep()).notified == 1
    row = await bot.row()
    assert row
    assert (row.state, row.has_private, row.quiet) == (b"", False, True)
    bot.clock.sleep(80)
    report = await bot.sweep()
    assert (report.finished_already, report.silent, report.expired) == (1, 0, 0)
    assert bot.connector.texts.count(texts.EXPIRED) == 1
    assert bot.keys() == []


async def test_an_erasure_finds_what_is_left_of_an_early_end() -> None:
    bot = bot_that(timeout(20), count=count_in_every_bag)
    await bot.say()
    bot.clock.sleep(23)
    await bot.sweep()
    assert bot.keys() != []
    receipt = await bot.erasure.erase(CHANNEL, "ann")
    assert not receipt.left
    await bot.sweep()
    assert bot.keys() == []


async def test_who_is_back_after_an_early_end_is_still_found_by_an_erasure() -> None:
    bot = bot_that(timeout(20), count=count_in_every_bag)
    await bot.say()
    bot.clock.sleep(23)
    await bot.sweep()
    await bot.say()
    assert not (await bot.erasure.erase(CHANNEL, "ann")).left
    bot.clock.sleep(1000)
    await bot.sweep()
    assert bot.keys() == []


async def test_a_notice_that_cannot_be_delivered_does_not_undo_it_either() -> None:
    bot = bot_that(timeout(20), count=count_in_every_bag)
    await bot.say()
    bot.clock.sleep(23)
    bot.connector.refuse = lambda _: ConnectorError("too large", status=413)
    assert (await bot.sweep()).retried_later == 1
    bot.connector.refuse = lambda _: None
    assert (await bot.say())[-1] == "1 2 1"


@pytest.mark.parametrize("number", [20, 500])
async def test_it_costs_no_request_more(number: float) -> None:
    costs = []
    for acts in [nothing], [timeout(number)]:
        table = ObservedTable(MemoryTable())
        bot = bot_that(*acts, conversations=table)
        await bot.say()
        await bot.say()
        costs.append(table.requests)
    assert costs[0] == costs[1]


async def test_it_is_part_of_the_turn_and_not_saved_without_it() -> None:
    def fail(context: TurnContext) -> None:
        expiry.set(context, expire_after=seconds(500))
        raise LookupError("the bot's own")

    bot = bot_that(nothing, fail)
    await bot.say()
    await bot.say()
    row = await bot.row()
    assert row
    assert row.own is None


async def test_an_end_takes_it_back() -> None:
    def end(context: TurnContext) -> None:
        expiry.set(context, expire_after=seconds(500))
        end_conversation(context)

    bot = bot_that(end)
    await bot.say()
    row = await bot.row()
    assert row is None or row.own is None


async def test_without_a_session_the_log_says_that_it_counts_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = bot_that(timeout(500), count=_no_count)
    with caplog.at_level(logging.WARNING):
        await bot.say(type="conversationUpdate")
    assert "has no session to count for" in caplog.text


async def _no_count(bot: FunctionBot, context: TurnContext) -> None:
    del bot, context


async def test_the_bot_sees_what_holds_and_why() -> None:
    bot = bot_that(timeout(500))
    await bot.say()
    assert isinstance(bot.bot, TimingBot)
    (seen,) = bot.bot.seen
    assert (seen.expire_after, seen.sources["expire_after"]) == (seconds(500), "the bot's code")
    assert seen.notify


NOON = datetime(2026, 11, 22, 12)  # noqa: DTZ001 - not aware, on purpose


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (timeout(0), "must be one second or more"),
        (timeout(-5), "must be one second or more"),
        (timeout(1e9), "within ten years"),
        (lambda c: expiry.set(c, expire_after=30), "must be a timedelta or None"),  # type: ignore[arg-type]
        (lambda c: expiry.set(c, notify="no"), "must be True, False or None"),  # type: ignore[arg-type]
        (lambda c: expiry.set(c, warn_before=[40]), "must be a list of timedeltas"),  # type: ignore[list-item]
        (lambda c: expiry.set(c, warn_before=[seconds(5)]), "it must be 0:00:20 or more"),
        (lambda c: expiry.set(c, warn_before=[seconds(90)]), "20 s shorter than expire_after"),
        (
            lambda c: expiry.set(c, expire_after=seconds(50), warn_before=[seconds(40)]),
            "20 s shorter than expire_after",
        ),
        (lambda c: expiry.keep_until(c, NOON), "it needs a time zone"),
        (
            lambda c: expiry.keep_until(c, NOON.replace(year=9999).astimezone()),
            "within ten years",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(act: Act, message: str) -> None:
    errors: list[Exception] = []

    def caught(context: TurnContext) -> None:
        try:
            act(context)
        except (TypeError, ValueError) as error:
            errors.append(error)

    bot = bot_that(caught)
    await bot.say()
    assert message in str(errors[0])
    row = await bot.row()
    assert row
    assert row.own is None


@pytest.mark.parametrize("act", [timeout(71), lambda c: expiry.set(c, expire_after=NEVER)])
def test_where_the_database_deletes_state_a_longer_time_is_refused(act: Act) -> None:
    context = TurnContext(ActivityHandler(), activity())
    turn = expiry.OfTurn(
        Timing(seconds(60)), OwnTiming(), Bounds(most_idle=seconds(70)), Clock().now
    )
    turn.put_into(context)
    with pytest.raises(ValueError, match="CosmosDbTimeToLive"):
        act(context)
    timeout(70)(context)
    assert turn.own == OwnTiming(seconds(70))
    untracked = replace(turn, bounds=Bounds(is_tracked=False))
    untracked.put_into(context)
    with pytest.raises(RuntimeError, match="cannot be set"):
        timeout(70)(context)


def test_a_context_of_no_turn_is_named() -> None:
    with pytest.raises(RuntimeError, match="of no turn"):
        expiry.of(TurnContext(ActivityHandler(), activity()))


# The policy's greatest age


async def test_a_session_ends_at_its_greatest_age_in_its_first_pause() -> None:
    bot = bot_that(timing=Timing(seconds(100), max_age=seconds(300)))
    for number in range(1, 7):
        assert (await bot.sweep()).expired == 0
        assert await bot.say() == [str(number)]
        bot.clock.sleep(50)
    bot.clock.sleep(2)
    assert (await bot.sweep()).expired == 1
    assert bot.connector.texts[-1].startswith("This conversation has reached its time limit")


async def test_who_is_silent_before_that_age_is_told_so() -> None:
    bot = bot_that(timing=Timing(seconds(100), max_age=seconds(300)))
    await bot.say()
    bot.clock.sleep(102)
    assert (await bot.sweep()).notified == 1
    assert bot.connector.texts[-1] == texts.EXPIRED


async def test_nobody_is_cut_off_in_the_middle_of_an_exchange() -> None:
    bot = bot_that(timing=Timing(seconds(100), max_age=seconds(60)))
    for number in range(1, 12):
        assert await bot.say() == [str(number)]
        bot.clock.sleep(20)
        assert (await bot.sweep()).expired == 0
    bot.clock.sleep(12)
    assert (await bot.sweep()).expired == 1


async def test_the_own_time_does_not_outlast_the_greatest_age() -> None:
    bot = bot_that(
        lambda context: expiry.set(context, expire_after=NEVER),
        timing=Timing(seconds(100), max_age=seconds(1000)),
    )
    await bot.say()
    assert await bot.expires_after(1000)


async def test_a_greatest_age_that_is_new_counts_from_the_next_use() -> None:
    old = bot_that()
    await old.say()
    old.clock.sleep(90)
    new = bot_that(
        timing=Timing(seconds(100), max_age=seconds(50)),
        clock=old.clock,
        conversations=old.conversations,
        users=old.users,
    )
    await new.say()
    assert await new.expires_after(50)


# The docs


async def test_the_snippet_of_the_docs_runs() -> None:
    page = (Path(__file__).parents[3] / "docs/policy.md").read_text("utf-8")
    (snippet,) = (
        each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "expiry.set" in each
    )
    ready_at = Clock().now + seconds(900)
    names: dict[str, Any] = {"order": SimpleNamespace(ready_at=ready_at)}
    exec(snippet, names)

    async def act(bot: FunctionBot, context: TurnContext) -> None:
        await names["on_message_activity"](bot, context)

    bot = bot_that(count=act)
    await bot.say()
    row = await bot.row()
    assert row
    assert row.own == OwnTiming(timedelta(hours=8), notify=False, keep_until=ready_at)
