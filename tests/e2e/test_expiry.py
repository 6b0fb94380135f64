"""Conversations expire, by the next message or by the sweep, over real HTTP and on real tables."""

import asyncio
from pathlib import Path

import pytest

from shared.domain.identity import user_hash
from shared.state import codec, state_types
from shared.storage.table_store import TableStore
from tests.bots.survey_bot import NAME, TRANSPORT, Answers
from tests.e2e.running_bot import EXPIRED, WELCOME_BACK, RunningBot, StoredRows, User, running_bot
from tests.fake_channel import Answer, FakeChannel, until

EXPIRE_AFTER = 600  # seconds, as in `settings_on`
LONGER_THAN_A_LEASE = 61
LONGER_THAN_A_RETRY = 15

# The bot gives a channel less time for an answer: 15 s would be half of all these tests' time.
IMPATIENCE = """
from shared.connector.client import Connector
Connector.__init__.__kwdefaults__["total_timeout_seconds"] = 2
"""

state_types.register(Answers)


async def test_a_message_after_the_timeout_starts_over_and_one_before_it_goes_on(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    late, early = User(bot, channel), User(bot, channel)
    await late.say("hello")
    await rows.let_time_pass(seconds=60)
    await early.say("hello")
    await rows.let_time_pass(seconds=EXPIRE_AFTER - 60)
    assert NAME in (await early.say("Car"))[0]
    welcome, transport = await late.say("Car")
    assert WELCOME_BACK in welcome
    assert TRANSPORT in transport
    (name,) = await late.say("Car")
    assert NAME in name


async def test_a_silent_conversation_is_told_cleared_and_forgotten(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = User(bot, channel, fields={"locale": "en-GB"})
    await user.say_all("hello", "Car")
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "expired 1, notified 1" in await bot.sweep()
    notice = channel.sent_to(user.conversation)[-1]
    assert EXPIRED in notice["text"]
    assert notice["locale"] == "en"
    assert notice["recipient"]["id"] == user.activity()["from"]["id"]
    assert await rows.keys() == []
    (transport,) = await user.say("hello")
    assert TRANSPORT in transport


@pytest.mark.parametrize(
    ("conversation", "tenant"),
    [
        ({}, "72f988bf"),
        ({"isGroup": True, "conversationType": "channel"}, "72f988bf"),
        ({"tenantId": ""}, "72f988bf"),
        ({"tenantId": "another"}, "another"),
    ],
)
async def test_a_notice_goes_to_the_tenant_that_only_channel_data_named(
    bot: RunningBot,
    channel: FakeChannel,
    rows: StoredRows,
    conversation: dict[str, object],
    tenant: str,
) -> None:
    user = User(bot, channel, fields={"channelId": "msteams"})
    user.fields |= {
        "conversation": {"id": user.conversation, **conversation},
        "channelData": {"tenant": {"id": "72f988bf"}, "channel": {"id": "19:x"}},
    }
    await user.say("hello")
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "expired 1, notified 1" in await bot.sweep()
    assert channel.sent_to(user.conversation)[-1]["conversation"]["tenantId"] == tenant


@pytest.mark.parametrize("channel_id", ["slack", "facebook", "telegram", "email", "line"])
async def test_a_native_channel_is_told_without_channel_data(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, channel_id: str
) -> None:
    native, other = User(bot, channel, fields={"channelId": channel_id}), User(bot, channel)
    await native.say("hello")
    await other.say("hello")
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "expired 2, notified 2" in await bot.sweep()
    notice = channel.sent_to(native.conversation)[-1]
    assert EXPIRED in notice["text"]
    assert "channelData" not in notice
    assert channel.sent_to(other.conversation)[-1]["channelData"].keys() == {"expiredSession"}


async def test_a_conversation_that_was_touched_lives_on_for_another_timeout(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = User(bot, channel)
    await user.say("hello")
    await rows.let_time_pass(seconds=EXPIRE_AFTER - 60)
    await user.say("Car")
    await rows.let_time_pass(seconds=EXPIRE_AFTER - 60)
    assert "refiled 1" in await bot.sweep()
    assert EXPIRED not in user.heard[-1]
    await rows.let_time_pass(seconds=70)
    assert "notified 1" in await bot.sweep()
    assert EXPIRED in user.heard[-1]


async def test_what_the_bot_knows_of_a_user_survives(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = User(bot, channel)
    await user.say_all("hello", "Bicycle", "Ada", "36")
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    await bot.sweep()
    assert await rows.keys() == []
    activity = user.activity()
    stored = await TableStore(rows.conversations, rows.users, 4).load_user(
        user_hash(activity["channelId"], activity["from"]["id"])
    )
    assert stored
    assert codec.unpack(stored.state) == {"Answers": Answers("Bicycle", "Ada", 36)}


async def test_with_notices_off_state_is_cleared_and_nothing_said(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    async with running_bot({**settings, "ExpiryNotice": "off"}, tmp_path) as bot:
        user = User(bot, channel)
        await user.say("hello")
        await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
        assert "expired 1" in await bot.sweep()
        assert len(user.heard) == 1
        assert await rows.keys() == []


@pytest.mark.parametrize("status", [403, 404])
async def test_a_notice_that_is_refused_for_good_is_never_tried_again(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, status: int
) -> None:
    user = User(bot, channel)
    await user.say("hello")
    body = {"error": {"code": "ConversationBlockedByUser", "message": "said the channel"}}
    channel.answers[user.conversation] = [Answer(status, body)]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert f"notice failures {{{status}: 1}}" in await bot.sweep()
    assert await rows.keys() == []
    channel.answers.clear()
    await rows.let_time_pass(days=1)
    assert "nothing due" in await bot.sweep()
    assert len(user.heard) == 2
    await user.say("hello")  # another session, another notice
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "notified 1" in await bot.sweep()
    assert [EXPIRED in text for text in user.heard] == [False, True, False, True]


async def test_failing_notices_stop_no_others_and_are_tried_again_later(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    failures = {
        "unavailable": Answer(503),
        "an odd body": Answer(502, b"<html>"),
        "busy": Answer(429, headers={"Retry-After": "1"}),
        "cut off": Answer(drop=True),
    }
    failing = [User(bot, channel, name) for name in failures]
    others = [User(bot, channel) for _ in range(30)]
    await asyncio.gather(*(user.say("hello") for user in failing + others))
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    for name, failure in failures.items():
        channel.answers[name] = [failure]
    report = await bot.sweep()
    assert "expired 34" in report
    assert "retried later 4" in report
    # The busy channel's refusal makes those behind it wait: the slower the machine, the more.
    assert sum(len(user.heard) == 2 for user in others) >= len(others) / 2
    assert [len(user.heard) for user in failing] == [2] * len(failing)

    channel.answers.clear()
    await bot.sweep()  # too early for what has failed
    assert [len(user.heard) for user in failing] == [2] * len(failing)
    await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
    await bot.sweep()
    assert [len(user.heard) for user in others] == [2] * len(others)
    assert [len(user.heard) for user in failing] == [3] * len(failing)
    assert await rows.keys() == []


async def test_a_channel_that_never_answers_is_given_up_on(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    async with running_bot(settings, tmp_path, changes=IMPATIENCE) as bot:
        idle, others = User(bot, channel), [User(bot, channel) for _ in range(30)]
        await asyncio.gather(*(user.say("hello") for user in [idle, *others]))
        await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
        chatting = User(bot, channel)
        for user in (idle, chatting):
            channel.answers[user.conversation] = [Answer(hang=True), Answer(201)]
        report, status = await asyncio.gather(bot.sweep(), chatting.send("hello"))
        assert "expired 31, notified 30, retried later 1, notice failures {no answer: 1}" in report
        assert status == 200
        assert NAME in (await chatting.say("Car"))[0]  # that turn was saved
        await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
        assert "notified 1" in await bot.sweep()
        assert EXPIRED in idle.heard[-1]


async def test_a_user_who_returns_before_the_notice_could_be_delivered_is_welcomed_back(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = User(bot, channel)
    await user.say_all("hello", "Car")
    channel.answers[user.conversation] = [Answer(503)]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "retried later 1" in await bot.sweep()
    channel.answers.clear()
    welcome, transport = await user.say("Ada")
    assert WELCOME_BACK in welcome
    assert TRANSPORT in transport
    await rows.let_time_pass(seconds=LONGER_THAN_A_RETRY)
    await bot.sweep()
    assert len(user.heard) == 5  # no notice of the session before
    assert NAME in (await user.say("Car"))[0]


async def test_refused_credentials_stop_the_sweep_and_lose_no_notice(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    users = [User(bot, channel) for _ in range(80)]
    await asyncio.gather(*(user.say("hello") for user in users))
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    channel.default_answers = [Answer(401)]
    assert "stopped" in await bot.sweep()
    refused = sum(len(user.heard) - 1 for user in users)
    assert 1 <= refused < len(users)
    channel.default_answers = []
    await rows.let_time_pass(seconds=LONGER_THAN_A_LEASE)
    assert "notified 80" in await bot.sweep()
    assert await rows.keys() == []


async def test_two_sweeps_at_once_tell_each_user_once(
    bot: RunningBot,
    settings: dict[str, str],
    channel: FakeChannel,
    rows: StoredRows,
    tmp_path: Path,
) -> None:
    users = [User(bot, channel) for _ in range(40)]
    await asyncio.gather(*(user.say("hello") for user in users))
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    async with running_bot(settings, tmp_path) as other:
        await asyncio.gather(bot.sweep(), other.sweep())
    assert [len(user.heard) for user in users] == [2] * len(users)
    await bot.sweep()
    assert await rows.keys() == []


async def test_the_timer_fires_by_its_schedule_unless_it_is_disabled(
    settings: dict[str, str], channel: FakeChannel, tmp_path: Path
) -> None:
    often = {**settings, "ExpirySchedule": "* * * * * *"}
    disabled = {**often, "AzureWebJobs.expiry_timer.Disabled": "true"}
    async with running_bot(disabled, tmp_path) as without, running_bot(often, tmp_path) as bot:
        await until(lambda: bot.log.count("nothing due") >= 2)
        assert "sweep:" not in without.log
        (answer,) = await User(without, channel).say("hello")
        assert TRANSPORT in answer
