"""Timeouts that differ by channel and type of conversation, in turns and in sweeps."""

from dataclasses import replace
from datetime import UTC, time, timedelta
from typing import Any

import pytest

from shared.connector.client import ConnectorError
from shared.domain.policy import Override
from shared.domain.reference import ConversationType
from shared.domain.timing import QuietHours, Timing
from tests import texts
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_every_bag
from tests.memory_table import MemoryTable

IN_CHANNEL: dict[str, Any] = {"conversation": {"id": "talk", "conversationType": "channel"}}
PERSONAL: dict[str, Any] = {"conversation": {"id": "personal", "conversationType": "personal"}}
TYPE_NOT_SAID: dict[str, Any] = {"conversation": {"id": "talk"}}


def in_channels(seconds: float | None = None, *, notify: bool | None = None) -> Override:
    return Override(
        types=frozenset({ConversationType.CHANNEL}),
        expire_after=None if seconds is None else timedelta(seconds=seconds),
        notify=notify,
    )


def bot_with(*overrides: Override) -> BotInMemory:
    return BotInMemory(
        FunctionBot(count_in_every_bag), Timing(timedelta(seconds=100)), overrides=overrides
    )


@pytest.mark.parametrize("seconds", [20, 250])
async def test_a_type_has_its_own_timeout_in_sweeps(seconds: int) -> None:
    bot = bot_with(in_channels(seconds))
    await bot.say(**IN_CHANNEL)
    assert await bot.expires_after(seconds)
    await bot.say(**PERSONAL)
    assert await bot.expires_after(100)


@pytest.mark.parametrize(("idle", "answers"), [(19, ["2 2 2"]), (20, ["1 2 1"])])
async def test_a_type_has_its_own_timeout_in_turns(idle: float, answers: list[str]) -> None:
    bot = bot_with(in_channels(20))
    await bot.say(**IN_CHANNEL)
    await bot.say(sender="bob", **PERSONAL)
    bot.clock.sleep(idle)
    assert (await bot.say(**IN_CHANNEL))[-1:] == answers
    assert await bot.say(sender="bob", **PERSONAL) == ["2 2 2"]


async def test_a_conversation_whose_users_are_not_to_be_told_expires_in_silence() -> None:
    bot = bot_with(in_channels(notify=False))
    for where in IN_CHANNEL, PERSONAL:
        await bot.say(**where)
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.expired, report.notified, report.silent) == (2, 1, 1)
    assert bot.connector.texts.count(texts.EXPIRED) == 1
    assert bot.keys() == []


@pytest.mark.parametrize(("idle", "told"), [(102.5, 1), (150, 1), (151, 0)])
async def test_users_are_told_only_so_long_after_the_last_use(idle: float, told: int) -> None:
    bot = bot_with(Override(notify_within=timedelta(seconds=150)))
    await bot.say(**IN_CHANNEL)
    bot.clock.sleep(idle)
    report = await bot.sweep()
    assert (report.expired, report.notified, report.silent) == (1, told, 1 - told)
    assert bot.keys() == []


async def test_a_notice_that_fails_is_tried_again_only_in_that_time() -> None:
    bot = bot_with(Override(notify_within=timedelta(seconds=150)))
    await bot.say(**IN_CHANNEL)
    bot.clock.sleep(103)
    bot.connector.refuse = lambda _: ConnectorError("not now", status=503)
    assert (await bot.sweep()).retried_later == 1
    bot.clock.sleep(100)
    report = await bot.sweep()
    assert (report.silent, report.retried_later) == (1, 0)
    assert bot.keys() == []


async def test_silence_waits_for_no_place_in_the_line() -> None:
    bot = bot_with(in_channels(notify=False))
    await bot.say(**IN_CHANNEL)
    bot.clock.sleep(103)
    assert (await bot.sweep(pace=_NoPlace())).silent == 1  # type: ignore[arg-type] # it is not asked


class _NoPlace:
    """Every question is an error."""


@pytest.mark.parametrize(("before", "after"), [(20_000, 20), (20, 20_000), (250, 110), (20, 20)])
@pytest.mark.parametrize("is_type_in_row", [True, False])
async def test_a_changed_timeout_of_a_type_undoes_no_user_state(
    before: int, after: int, *, is_type_in_row: bool
) -> None:
    bot = bot_with(in_channels(before))
    await bot.say(**IN_CHANNEL)
    assert await bot.say(**IN_CHANNEL) == ["2 2 2"]
    if not is_type_in_row:
        forget_types(bot)  # a version without a policy wrote it
    await bot.sweep(with_timeout=True)
    changed = replace(bot, overrides=[in_channels(after)])
    bot.clock.sleep(after + 3)
    await changed.sweep(with_timeout=True)
    assert await changed.row() is None
    assert await changed.say(**PERSONAL) == ["1 3 1"]


def forget_types(bot: BotInMemory) -> None:
    assert isinstance(bot.users, MemoryTable)
    assert bot.cosmos or any("ConversationType" in row.columns for row in bot.users.rows.values())
    for at, row in bot.users.rows.items():
        older = {name: value for name, value in row.columns.items() if name != "ConversationType"}
        bot.users.rows[at] = replace(row, columns=older)


async def test_without_overrides_no_row_says_a_type() -> None:
    bot = bot_with()
    await bot.say(**IN_CHANNEL)
    assert isinstance(bot.users, MemoryTable)
    assert not any("ConversationType" in row.columns for row in bot.users.rows.values())


@pytest.mark.parametrize("first", [TYPE_NOT_SAID, IN_CHANNEL])
async def test_a_shorter_timeout_holds_as_soon_as_an_activity_says_the_type(
    first: dict[str, Any],
) -> None:
    bot = bot_with(in_channels(20))
    await bot.say(**first)
    await bot.say(**IN_CHANNEL)
    assert bot.keys().count("d") == 1
    assert await bot.expires_after(20)
    assert bot.keys() == []


async def test_a_type_that_is_left_out_later_is_still_known() -> None:
    bot = bot_with(in_channels(250))
    await bot.say(**IN_CHANNEL)
    await bot.say(**TYPE_NOT_SAID)
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say(**TYPE_NOT_SAID) == ["3 3 3"]


async def test_a_change_of_which_type_is_which_holds_from_the_next_sweep_on() -> None:
    personal = Override(
        types=frozenset({ConversationType.PERSONAL}), expire_after=timedelta(seconds=20_000)
    )
    bot = bot_with(in_channels(20_000))
    await bot.say(**IN_CHANNEL)
    await bot.sweep(with_timeout=True)
    bot.clock.sleep(103)
    # The shortest and the longest timeout are as before.
    swapped = replace(bot, overrides=[personal])
    assert (await swapped.sweep(with_timeout=True)).expired == 1


async def test_a_policy_that_stays_is_noted_once() -> None:
    bot = bot_with(in_channels(20_000))
    await bot.sweep(with_timeout=True)
    before = await bot.store.control()
    bot.clock.sleep(60)
    await bot.sweep(with_timeout=True)
    assert await bot.store.control() == before
    assert before.range_ahead(bot.clock()) is None


# The clock of the tests begins at 12:00 UTC.
LUNCH = Override(quiet_hours=QuietHours(time(12, 1), time(13), UTC))


async def test_in_quiet_hours_data_go_in_time_and_users_are_told_after_them() -> None:
    bot = bot_with(LUNCH)
    await bot.say(**PERSONAL)
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.expired, report.told_later, report.notified) == (1, 1, 0)
    row = await bot.row("personal")
    assert row
    assert row.state == b""
    bot.clock.sleep(3600 - 103 - 1)
    assert (await bot.sweep()).notified == 0
    bot.clock.sleep(4)
    assert (await bot.sweep()).notified == 1
    assert bot.keys() == []


async def test_who_comes_back_in_quiet_hours_starts_over_and_is_not_told_later() -> None:
    bot = bot_with(LUNCH)
    await bot.say(**PERSONAL)
    bot.clock.sleep(103)
    await bot.sweep()
    assert (await bot.say(**PERSONAL))[0] == texts.WELCOME_BACK
    for _ in range(100):
        bot.clock.sleep(20)
        await bot.say(**PERSONAL)
        await bot.sweep()
    assert texts.EXPIRED not in bot.connector.texts


async def test_in_quiet_hours_nobody_is_warned() -> None:
    bot = bot_with(LUNCH, Override(warn_before=(timedelta(seconds=40), timedelta(seconds=25))))
    await bot.say(**PERSONAL)
    bot.clock.sleep(62)
    assert (await bot.sweep()).warned == 0
    bot.clock.sleep(3600)
    assert (await bot.sweep()).notified == 1


@pytest.mark.parametrize(
    ("zone", "where", "told"),
    [
        ("Asia/Tokyo", PERSONAL, 1),
        ("Europe/London", PERSONAL, 0),
        ("Nowhere/Land", PERSONAL, 0),
        ("Asia/Tokyo", {"conversation": {"id": "talk", "isGroup": True}}, 0),
    ],
)
async def test_the_users_own_zone_counts_but_not_in_a_group(
    zone: str, where: dict[str, Any], told: int
) -> None:
    bot = bot_with(LUNCH)
    await bot.say(localTimezone=zone, **where)
    await bot.say(**where)  # which names no zone
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == told


async def test_without_quiet_hours_the_zone_is_not_stored() -> None:
    bot = bot_with()
    await bot.say(localTimezone="Asia/Tokyo")
    row = await bot.row()
    assert row
    assert row.time_zone is None
