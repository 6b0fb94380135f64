"""Fan-out, over real HTTP, tables and queues: a sweep out of time is finished from the queue."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.expiry.fan_out import poison_name
from shared.storage.queues import AzureQueue, Queues
from shared.storage.table_account import Tables
from tests.commands import cli
from tests.e2e.running_bot import EXPIRED, StoredRows, User, running_bot, settings_on
from tests.fake_channel import Answer, FakeChannel, until
from tests.hosts import LIKE_FLEX

EXPIRE_AFTER = 600  # seconds, as in `settings_on`
USERS = 300
RETRY_AT_ONCE = {"visibilityTimeout": "00:00:00"}


@pytest.fixture
def settings(storage_connection_string: str) -> dict[str, str]:
    return settings_on(
        storage_connection_string,
        ExpiryFanOut="on",
        ExpiryQueue=f"q{uuid4().hex}",
        Inbox=f"i{uuid4().hex}",
        SweepBudgetSeconds="1",
        SendingLimits="tests/e2e/no_limits.toml",
    )


@pytest.fixture
async def queues(
    storage_connection_string: str, settings: dict[str, str]
) -> AsyncIterator[tuple[AzureQueue, AzureQueue]]:
    """The queue of shards, and its poison queue."""
    name = settings["ExpiryQueue"]
    async with Queues(connection_string=storage_connection_string) as queues:
        yield queues.queue(name), queues.queue(poison_name(name))


async def poison(settings: dict[str, str], action: str) -> str:
    """Run `python -m shared.cli poison ACTION`; returns what it printed."""
    code, output = await cli(settings, "poison", action)
    assert code == 0, output
    return output


async def test_the_queue_finishes_what_one_sweep_cannot_and_each_user_is_told_once(
    settings: dict[str, str],
    channel: FakeChannel,
    azure_tables: Tables,
    queues: tuple[AzureQueue, AzureQueue],
    tmp_path: Path,
) -> None:
    rows = StoredRows(azure_tables, settings)
    queue, poisoned = queues
    async with running_bot(settings, tmp_path) as bot:
        users = [User(bot, channel) for _ in range(USERS)]
        at_once = asyncio.Semaphore(30)

        async def say_hello(user: User) -> None:
            async with at_once:
                await user.say("hello")

        await asyncio.gather(*(say_hello(user) for user in users))
        await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
        slow = [Answer(201, {"id": "notice"}, delay_seconds=0.1)]
        channel.answers.update((user.conversation, slow) for user in users)
        report = await bot.sweep()
        assert "unfinished" in report
        assert sum(len(user.heard) > 1 for user in users) < USERS
        # A process that joins others waits longer for its share than this sweep's second. If the
        # queue has one of its own, the next sweeps tell whom it tells later.
        async with asyncio.timeout(60):
            while not all(len(user.heard) > 1 for user in users):
                await asyncio.sleep(2)
                if LIKE_FLEX:
                    await bot.sweep()
        while await rows.keys() or await queue.count():  # noqa: ASYNC110 - they have no event
            await asyncio.sleep(0.2)
    assert "shards handed over" in bot.log
    assert "sweep of s00" in bot.log
    assert [[EXPIRED in text for text in user.heard] for user in users] == [[False, True]] * USERS
    assert (await queue.count(), await poisoned.count()) == (0, 0)


async def test_a_malformed_message_ends_as_poison_which_is_listed_replayed_and_dropped(
    settings: dict[str, str], queues: tuple[AzureQueue, AzureQueue], tmp_path: Path
) -> None:
    queue, poisoned = queues
    async with running_bot(settings, tmp_path, queues=RETRY_AT_ONCE, may_fail=True) as bot:
        assert "0 shown of about 0" in await poison(settings, "list")
        await queue.put("no shard")
        while not await poisoned.count():  # noqa: ASYNC110 - the queue has no event
            await asyncio.sleep(0.1)
        assert bot.log.count("fan-out: message") == 5  # maxDequeueCount of host.json
        await bot.sweep()
        assert "about 1 messages in the poison queue" in bot.log
        listed = await poison(settings, "list")
        assert "'no shard'\n1 shown of about 1" in listed
        assert await poison(settings, "list") == listed
        assert "1 replayed" in await poison(settings, "replay")
        while not await poisoned.count():  # noqa: ASYNC110 - the queue has no event
            await asyncio.sleep(0.1)
    assert "'no shard' dropped\n1 dropped" in await poison(settings, "drop")
    assert (await queue.count(), await poisoned.count()) == (0, 0)


async def test_poison_of_the_inbox_is_listed_replayed_and_dropped_too(
    settings: dict[str, str], storage_connection_string: str
) -> None:
    async with Queues(connection_string=storage_connection_string) as queues:
        inbox = queues.queue(settings["Inbox"])
        poisoned = queues.queue(poison_name(settings["Inbox"]))
        await poisoned.put("no conversation")
        listed = await poison(settings, "list")
        assert f"{settings['Inbox']}-poison:\n" in listed
        assert "'no conversation'\n1 shown of about 1" in listed
        assert "'no conversation' replayed\n1 replayed" in await poison(settings, "replay")
        (message,) = await inbox.peek()
        assert message.text == "no conversation"
        await poisoned.put("no conversation")
        assert "1 dropped" in await poison(settings, "drop")
        assert await poisoned.count() == 0


async def test_a_disabled_queue_function_leaves_its_messages_alone(
    settings: dict[str, str], queues: tuple[AzureQueue, AzureQueue], tmp_path: Path
) -> None:
    disabled = {**settings, "AzureWebJobs.expiry_queue.Disabled": "true"}
    queue, _ = queues
    await queue.put('{"shard": "s000"}')
    async with running_bot(disabled, tmp_path) as without:
        await without.sweep()
    (message,) = await queue.peek()
    assert message.dequeue_count == 0
    async with running_bot(settings, tmp_path) as bot:
        await until(lambda: "sweep of s000: nothing due" in bot.log)
