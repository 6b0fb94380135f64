"""`kill -9` of the host at any moment: every idle conversation is still expired and told so."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError

from shared.expiry.workload import CONCURRENCY
from shared.storage.table_account import Tables
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, User, running_bot, settings_on
from tests.fake_channel import Answer, FakeChannel, until

LONG_ENOUGH = 700  # seconds: longer than the timeout, and than the lease of a claim


async def kill_during_traffic(bot: RunningBot, rows: StoredRows, users: list[User]) -> None:
    chats = [
        asyncio.create_task(user.say_all("Car", "Ada", "36", "hello", "Bus")) for user in users
    ]
    requests = users[0].channel.requests
    replies = len(requests) + random.randrange(4 * len(users))
    await until(lambda: len(requests) >= replies)
    bot.kill()
    for chat in chats:
        with suppress(ClientError):
            await chat


async def kill_at_the_start_of_a_sweep(
    bot: RunningBot, rows: StoredRows, users: list[User]
) -> None:
    await rows.let_time_pass(seconds=LONG_ENOUGH)
    await bot.start_sweep()
    await asyncio.sleep(random.uniform(0, 0.1))
    bot.kill()


async def kill_between_notices(bot: RunningBot, rows: StoredRows, users: list[User]) -> None:
    await rows.let_time_pass(seconds=LONG_ENOUGH)
    requests = users[0].channel.requests
    sent = len(requests) + random.randrange(1, len(users))
    await bot.start_sweep()
    await until(lambda: len(requests) >= sent)
    bot.kill()


async def kill_while_notices_are_held(bot: RunningBot, rows: StoredRows, users: list[User]) -> None:
    users[0].channel.default_answers = [Answer(hang=True)]
    await kill_between_notices(bot, rows, users[:CONCURRENCY])
    users[0].channel.default_answers = []


KILLS: list[Callable[[RunningBot, StoredRows, list[User]], Awaitable[None]]] = [
    kill_during_traffic,
    kill_at_the_start_of_a_sweep,
    kill_between_notices,
    kill_while_notices_are_held,
]


async def test_whatever_a_kill_interrupts_every_idle_conversation_is_told_and_forgotten(
    azure_tables: Tables, storage_connection_string: str, tmp_path: Path
) -> None:
    settings = settings_on(storage_connection_string)
    rows = StoredRows(azure_tables, settings)
    everybody: list[User] = []
    async with FakeChannel() as channel:
        for kill in KILLS:
            async with running_bot(settings, tmp_path) as bot:
                users = [User(bot, channel) for _ in range(30)]
                await asyncio.gather(*(user.say("hello") for user in users))
                everybody += users
                await kill(bot, rows, users)
        async with running_bot(settings, tmp_path) as bot:
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            await bot.sweep()
            assert await rows.keys() == []

        notices = [sum(EXPIRED in text for text in user.heard) for user in everybody]
        assert min(notices) == 1
        # More than once only those who were being told when a kill came.
        assert sum(notices) - len(notices) <= CONCURRENCY * len(KILLS)
