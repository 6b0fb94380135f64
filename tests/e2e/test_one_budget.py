"""Several processes send to one tenant at once; the fake channel counts each second."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from shared.storage.table_account import Tables
from shared.storage.table_budget import TableBudget
from tests.channel_process import FakeChannelProcess
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, running_bot, settings_on

PROCESSES = 3
CONVERSATIONS = 90
LIMIT = 20  # a second; notices take 15 of them


def in_teams(channel: FakeChannelProcess, conversation: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": uuid4().hex,
        "text": "hello",
        "channelId": "msteams",
        "serviceUrl": channel.service_url,
        "conversation": {"id": conversation, "tenantId": "contoso"},
        "from": {"id": f"user of {conversation}"},
        "recipient": {"id": "the-bot"},
    }


async def say_hello(bot: RunningBot, channel: FakeChannelProcess) -> None:
    at_once = asyncio.Semaphore(10)

    async def one(number: int) -> None:
        async with at_once:
            answer = await bot.post(json=in_teams(channel, f"talk {number}"))
            assert answer[0] == 200

    await asyncio.gather(*(one(number) for number in range(CONVERSATIONS)))


def in_the_worst_second(times: list[float]) -> int:
    return max(sum(at - 1 < each <= at for each in times) for at in times)


async def test_processes_that_sweep_at_once_keep_one_limit_and_tell_everybody_once(
    storage_connection_string: str, azure_tables: Tables, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(f"[msteams]\ntenant = [{LIMIT}, 1]\n")
    settings = settings_on(storage_connection_string, SendingLimits=str(limits))
    rows = StoredRows(azure_tables, settings)
    budget = TableBudget(azure_tables.table(settings["ConversationsTable"]))
    async with AsyncExitStack() as running:
        channel = running.enter_context(FakeChannelProcess())
        bots = []
        for number in range(PROCESSES):
            folder = tmp_path / f"{number}"
            folder.mkdir()
            bots.append(await running.enter_async_context(running_bot(settings, folder)))
        await say_hello(bots[0], channel)
        await rows.let_time_pass(seconds=610)
        greetings = len(channel.record().requests)
        sweeps = [asyncio.create_task(bot.sweep()) for bot in bots]
        async with asyncio.timeout(30):
            while len((await budget.rows()).members) < PROCESSES:  # noqa: ASYNC110 - rows have no event
                await asyncio.sleep(0.2)
        for number in range(3):
            assert (await bots[0].post(json=in_teams(channel, f"chat {number}")))[0] == 200
            await asyncio.sleep(1)
        await asyncio.gather(*sweeps)
        requests = channel.record(greetings).requests
    notified = [each.conversation_id for each in requests if EXPIRED in each.body["text"]]
    assert sorted(notified) == sorted(f"talk {number}" for number in range(CONVERSATIONS))
    assert in_the_worst_second([each.at for each in requests]) <= LIMIT
    assert {each.status for each in requests} == {201}
