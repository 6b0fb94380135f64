"""Timeouts over HTTP: those of a policy; a change undoes nothing that was saved."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import texts
from tests.bots import notebook_bot, timing_bot
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, User, running_bot
from tests.fake_channel import FakeChannel

BOT = notebook_bot
EXPIRE_AFTER = 600  # seconds, as in `settings_on`


@pytest.mark.parametrize("changed", [30, 60, 6_000, 600_000])
async def test_the_state_of_a_user_outlives_a_change_of_the_timeout(  # noqa: PLR0917 - fixtures
    bot: RunningBot,
    settings: dict[str, str],
    channel: FakeChannel,
    rows: StoredRows,
    tmp_path: Path,
    changed: int,
) -> None:
    expired, under_way = User(bot, channel), User(bot, channel)
    for user in expired, under_way:
        await user.say_all("one", "two")
    id_ = expired.activity()["from"]["id"]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    await rows.let_time_pass_for(id_, seconds=EXPIRE_AFTER + 10)
    await under_way.say("three")
    await bot.sweep()
    async with running_bot(
        settings | {"ExpireAfterSeconds": str(changed)}, tmp_path, bot=notebook_bot
    ) as other:
        for user, counts in (expired, (1, 3)), (under_way, (2, 4)):
            user.bot = other
            answer = json.loads(await user.say_all("after"))
            assert (answer["conversation"], answer["user"]) == counts


POLICY = """
[[override]]
conversation_type = "groupChat"
expire_after = "2h"

[[override]]
channel = "test"
conversation_type = "channel"
expire_after = "5m"
notify = false
"""


async def test_a_policy_gives_each_type_its_timeout_and_says_who_is_told(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    async with running_bot(settings | {"ExpiryPolicy": POLICY}, tmp_path, bot=notebook_bot) as bot:
        users = {type_: User(bot, channel) for type_ in ("personal", "groupChat", "channel")}
        for type_, user in users.items():
            where = {"id": user.conversation, "conversationType": type_}
            user.fields = {"conversation": where}
            await user.say_all("one", "two")
        for seconds, told in (310, []), (300, ["personal"]), (7_000, ["personal", "groupChat"]):
            await rows.let_time_pass(seconds=seconds)
            for user in users.values():
                await rows.let_time_pass_for(user.activity()["from"]["id"], seconds=seconds)
            await bot.sweep()
            assert [type_ for type_, user in users.items() if EXPIRED in user.heard[-1]] == told
        assert await rows.keys() == []
        for user in users.values():
            answer = json.loads(await user.say_all("after"))
            assert (answer["conversation"], answer["user"]) == (1, 3)


@pytest.mark.parametrize(
    ("words", "seconds", "told"),
    [
        (["hi"], 610, True),
        (["a minute"], 70, True),
        (["hi", "a minute"], 70, True),
        (["a day"], 610, False),
        (["a day", "a minute"], 70, True),
        (["a day", "as ever"], 610, True),
        (["never"], 10_000_000, False),
        (["wait"], 610, False),
        (["silent"], 610, False),
        (["a minute", "silent"], 70, False),
    ],
)
async def test_the_bots_own_code_sets_the_time_of_a_conversation(  # noqa: PLR0917 - fixtures
    settings: dict[str, str],
    channel: FakeChannel,
    rows: StoredRows,
    tmp_path: Path,
    words: list[str],
    seconds: int,
    *,
    told: bool,
) -> None:
    async with running_bot(settings, tmp_path, bot=timing_bot) as bot:
        user = User(bot, channel)
        for word in words:
            await user.say(word)
        stays = words[-1] in {"a day", "never", "wait"}
        await rows.let_time_pass(seconds=seconds)
        await rows.let_time_pass_for(user.activity()["from"]["id"], seconds=seconds)
        await bot.sweep()
        assert (EXPIRED in user.heard[-1]) == told
        # However early it has ended, nothing is lost that its user's state holds.
        counts = json.loads((await user.say("after"))[-1])
        assert counts[:2] == [len(words) + 1 if stays else 1, len(words) + 1]
        source = "the bot's code" if stays and words[-1] != "wait" else "ExpireAfterSeconds"
        assert counts[2] == source


async def test_in_quiet_hours_of_the_user_data_go_and_the_notice_waits(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    begins = datetime.now(UTC) - timedelta(hours=1)
    ends = begins + timedelta(hours=2)
    policy = (
        f'quiet_hours = {{ from = "{begins:%H:%M}", to = "{ends:%H:%M}", time_zone = "UTC" }}\n'
    )
    async with running_bot(settings | {"ExpiryPolicy": policy}, tmp_path, bot=notebook_bot) as bot:
        at_night, by_day = User(bot, channel), User(bot, channel)
        by_day.fields = {"localTimezone": "Pacific/Kiritimati"}  # 14 hours ahead
        for user in at_night, by_day:
            await user.say("one")
        await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
        report = await bot.sweep()
        assert "expired 2, notified 1, told later 1" in report
        assert EXPIRED not in at_night.heard[-1]
        assert EXPIRED in by_day.heard[-1]
        assert texts.WELCOME_BACK in await at_night.say("two")


async def test_a_session_ends_at_its_greatest_age_and_says_why(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    policy = {"ExpiryPolicy": 'max_age = "20m"'}
    async with running_bot(settings | policy, tmp_path, bot=notebook_bot) as bot:
        busy, silent = User(bot, channel), User(bot, channel)
        await silent.say_all("one", "two")
        for _ in range(3):
            await busy.say_all("on", "and on")
            await rows.let_time_pass(seconds=410)
            await bot.sweep()
        assert EXPIRED in silent.heard[-1]
        assert busy.heard[-1].startswith("This conversation has reached its time limit")
        await rows.let_time_pass(seconds=EXPIRE_AFTER)
        await bot.sweep()
        assert await rows.keys() == []
