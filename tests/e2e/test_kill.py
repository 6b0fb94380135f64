"""`kill -9` of the host at any moment: every idle conversation is still expired and told so."""

import asyncio
import random
from pathlib import Path

import pytest
from aiohttp import ClientError

from shared.storage.tables import Tables
from shared.sweep import CONCURRENCY
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, User, running_bot, settings_on
from tests.fake_channel import Answer, FakeChannel, until

LONG_ENOUGH = 700  # seconds: longer than the timeout, and than the lease of a claim
HELD = [Answer(hang=True)]


@pytest.mark.parametrize(
    ("answers", "notices_before_the_kill"),
    [([], 0), ([], 5), (HELD, 1), (HELD, CONCURRENCY)],
    ids=["before a notice", "between notices", "a notice is held", "as many as can be are held"],
)
async def test_killed_during_traffic_and_during_a_sweep_it_expires_all_the_same(
    azure_tables: Tables,
    storage_connection_string: str,
    tmp_path: Path,
    answers: list[Answer],
    notices_before_the_kill: int,
) -> None:
    settings = settings_on(storage_connection_string)
    rows = StoredRows(azure_tables, settings)
    async with FakeChannel() as channel:
        async with running_bot(settings, tmp_path) as bot:
            users = [User(bot, channel) for _ in range(40)]
            await chat_until_killed(bot, users)
        answered = {user.conversation for user in users if user.heard}

        async with running_bot(settings, tmp_path) as bot:
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            channel.default_answers = list(answers)
            before = len(channel.requests)
            await bot.start_sweep()
            await until(lambda: len(channel.requests) - before >= notices_before_the_kill)
            bot.kill()

        channel.default_answers = []
        async with running_bot(settings, tmp_path) as bot:
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            await bot.sweep()
            assert await rows.keys() == []

        notices = {user.conversation: sum(EXPIRED in text for text in user.heard) for user in users}
        assert all(notices[conversation] for conversation in answered)
        # Twice only those who were being told at that moment.
        assert max(notices.values()) <= 2
        assert sum(count == 2 for count in notices.values()) <= CONCURRENCY


async def chat_until_killed(bot: RunningBot, users: list[User]) -> None:
    """Let all of them chat at once, and kill the bot somewhere on the way."""
    chats = [
        asyncio.create_task(user.say_all("hello", "Car", "Ada", "no", "skip", "yes"))
        for user in users
    ]
    channel = users[0].channel
    replies = random.randrange(len(users), 5 * len(users))
    await until(lambda: len(channel.requests) >= replies)
    bot.kill()
    for chat in chats:
        try:
            await chat
        except ClientError:
            pass
