"""The author's hooks over HTTP: their words, what they keep, and what a crash or a mistake does."""

import asyncio
from pathlib import Path
from uuid import uuid4

from shared.storage.table_account import Tables
from tests.bots import parting_bot
from tests.e2e.running_bot import EXPIRED, StoredRows, User, running_bot, settings_on
from tests.fake_channel import Answer, FakeChannel, until
from tests.fake_sign_in import WITH_IDENTITY, FakeSignIn

LONG_ENOUGH = 700  # seconds: longer than the timeout, and than the lease of a claim


async def test_what_a_hook_keeps_outlives_the_session_and_the_sign_in_does_not(
    azure_tables: Tables, storage_connection_string: str, tmp_path: Path
) -> None:
    app_id = str(uuid4())
    settings = settings_on(
        storage_connection_string, MicrosoftAppId=app_id, MicrosoftAppPassword="no secret"
    )
    rows = StoredRows(azure_tables, settings)
    async with FakeSignIn() as channel:
        changes = WITH_IDENTITY.format(channel=channel)
        async with running_bot(settings, tmp_path, bot=parting_bot, changes=changes) as bot:
            user = User(bot, channel, token=channel.token(app_id=app_id))
            assert await user.say("a place") == ["Noted."]
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            assert "notified 1" in await bot.sweep()
            assert user.heard[-1] == "I have kept a place for you."
            who = {"userId": f"user of {user.conversation}", "channelId": "test"}
            ((method, path, query),) = channel.asked
            assert (method, path) == ("DELETE", "/api/usertoken/SignOut")
            assert query.items() >= {**who, "connectionName": parting_bot.CONNECTION}.items()
            assert await rows.keys() == []
            assert (await user.say("tea"))[-1] == "You had left a place."


async def test_a_warning_has_the_hooks_words(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    # The timer comes each hour, so that it does not come in between; a warning must be earlier.
    changed = {
        "ExpirySchedule": "0 0 * * * *",
        "ExpireAfterSeconds": "9000",
        "ExpiryPolicy": 'warn_before = "62m"',
    }
    async with running_bot(settings | changed, tmp_path, bot=parting_bot) as bot:
        user = User(bot, channel)
        await user.say("tea")
        await rows.let_time_pass(seconds=9000 - 61 * 60)
        for _ in range(2):
            await bot.sweep()
        assert user.heard == ["Noted.", "Is tea all?"]


async def test_a_mistake_in_a_hook_costs_no_notice(
    settings: dict[str, str], channel: FakeChannel, rows: StoredRows, tmp_path: Path
) -> None:
    mistakes = ("slow", "broken", "wrong", "huge")
    async with running_bot(settings, tmp_path, bot=parting_bot, may_fail=True) as bot:
        users = {text: User(bot, channel) for text in (*mistakes, "nothing", "a card")}
        another_slow = User(bot, channel)
        for text, user in users.items():
            await user.say(f"something {text}" if text in mistakes else text)
        await another_slow.say("something slow")
        await rows.let_time_pass(seconds=LONG_ENOUGH)
        report = await bot.sweep()
        assert "expired 7, notified 6, silent 1" in report
        assert "failed" not in report
        for user in (another_slow, *(users[text] for text in mistakes)):
            assert EXPIRED in user.heard[-1]
            assert len(user.heard) == 2
        assert users["nothing"].heard == ["Noted."]
        assert users["a card"].heard[-1] == "A card"
        assert bot.log.count("on_expired took more than 10 s; our words go") == 2
        assert bot.log.count("on_expired failed; our words go") == 3
        assert "it has returned a dict; it must be an Activity, a text or None" in bot.log
        assert "user of" not in bot.log
        assert await rows.keys() == []


async def test_after_a_kill_before_the_notice_the_hook_runs_again_with_the_state(
    azure_tables: Tables, storage_connection_string: str, tmp_path: Path
) -> None:
    settings = settings_on(storage_connection_string)
    rows = StoredRows(azure_tables, settings)
    async with FakeChannel() as channel:
        async with running_bot(settings, tmp_path, bot=parting_bot) as bot:
            users = [User(bot, channel) for _ in range(3)]
            await asyncio.gather(*(user.say("tea") for user in users))
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            channel.default_answers = [Answer(hang=True)]
            asked = len(channel.requests)
            await bot.start_sweep()
            await until(lambda: len(channel.requests) > asked)
            bot.kill()
            channel.default_answers = []
        async with running_bot(settings, tmp_path, bot=parting_bot) as bot:
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            await bot.sweep()
            assert await rows.keys() == []
            assert all(user.heard[-1] == "I have kept tea for you." for user in users)
            users = [User(bot, channel, user.conversation) for user in users]
            assert [await user.say("more") for user in users] == [["You had left tea."]] * 3
