"""A bot with its state in Cosmos DB, over HTTP.

The server keeps what has outlived its time to live, so these tests delete it themselves.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from azure.cosmos.aio import ContainerProxy, CosmosClient

from scripts import cosmos
from shared.domain.errors import StorageUnavailableError
from shared.storage.table_account import Tables
from tests.bots.survey_bot import NAME, TRANSPORT
from tests.e2e.running_bot import (
    EXPIRED,
    WELCOME_BACK,
    RunningBot,
    StoredRows,
    User,
    in_cosmos,
    running_bot,
    settings_on,
)
from tests.e2e.state_client import StateClient, path_of
from tests.fake_channel import FakeChannel


class Documents:
    """What is in one container."""

    def __init__(self, container: ContainerProxy) -> None:
        self._container = container

    async def all(self) -> list[dict[str, Any]]:
        return [item async for item in self._container.read_all_items()]

    async def delete_all(self) -> None:
        for item in await self.all():
            await self._container.delete_item(item["id"], item["id"])


@pytest.fixture(scope="module")
def settings(storage_connection_string: str, cosmos_endpoint: str) -> dict[str, str]:
    return settings_on(storage_connection_string, **in_cosmos(cosmos_endpoint))


@asynccontextmanager
async def documents_of(settings: Mapping[str, str], kind: str) -> AsyncIterator[Documents]:
    name = settings[f"CosmosDb{kind}StateContainerId"]
    async with CosmosClient(settings["CosmosDbEndpoint"], cosmos.KEY) as client:
        yield Documents(client.get_database_client("bot").get_container_client(name))


@pytest.fixture
async def conversations(settings: dict[str, str], rows: StoredRows) -> AsyncIterator[Documents]:
    del rows  # the containers are there once it is
    async with documents_of(settings, "Conversation") as documents:
        await documents.delete_all()
        yield documents


async def test_a_conversation_goes_on_and_ends_with_its_document(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, conversations: Documents
) -> None:
    user = User(bot, channel)
    assert TRANSPORT in await user.say_all("hi")
    assert NAME in await user.say_all("Bus")
    (document,) = await conversations.all()
    (row,) = await rows._rows("c|")
    whole = await rows.conversations.get(row.partition, row.key)
    assert whole is not None
    assert whole.columns["Bags"] == document["id"]
    assert not any(name.startswith("State0") for name in whole.columns)
    await rows.let_time_pass(minutes=11)
    assert "expired 1, notified 1" in await bot.sweep()
    assert EXPIRED in user.heard[-1]
    assert await conversations.all() == []
    assert await rows.keys() == []
    assert TRANSPORT in await user.say_all("hi again")


async def test_what_the_time_to_live_took_first_is_notified_all_the_same(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, conversations: Documents
) -> None:
    user = User(bot, channel)
    await user.say_all("hi")
    await rows.let_time_pass(minutes=12)
    await conversations.delete_all()
    assert "expired 1, notified 1" in await bot.sweep()
    assert EXPIRED in user.heard[-1]


async def test_who_writes_first_after_that_is_welcomed_back(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, conversations: Documents
) -> None:
    user = User(bot, channel)
    await user.say_all("hi", "Bus")
    await rows.let_time_pass(minutes=12)
    await conversations.delete_all()
    welcome, question = await user.say("hi again")
    assert WELCOME_BACK in welcome
    assert TRANSPORT in question


async def test_state_over_rest_and_erasure_work_on_it(
    bot: RunningBot,
    channel: FakeChannel,
    state: StateClient,
    settings: dict[str, str],
    conversations: Documents,
) -> None:
    user = User(bot, channel)
    for kind in ("user", "conversation", "private"):
        path = path_of(kind, user)
        assert await state.save(path, {"note": kind}, "*") == 200
        data, etag = await state.get(path)
        assert data == {"note": kind}
        assert await state.save(path, {"note": "again"}, etag) == 200
        assert await state.save(path, {"note": "lost"}, etag) == 412
    await user.say_all("hi", "Bus")
    receipt = await state.erase(path_of("user", user))
    assert (receipt["user_data"], receipt["personal_conversations"], receipt["left"]) == (1, 1, 0)
    assert await conversations.all() == []
    async with documents_of(settings, "User") as users:
        assert await users.all() == []
    assert TRANSPORT in await user.say_all("hi")


async def test_a_table_that_was_made_with_another_store_is_refused_by_name(
    bot: RunningBot, channel: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    await User(bot, channel).say_all("hi")
    async with running_bot({**settings, "StateStore": "tables"}, tmp_path) as other:
        assert await User(other, channel).send("hi") == 503
        assert "StateStore is tables; it must be cosmos, as when the table" in other.log


async def test_alone_the_time_to_live_ends_a_conversation_without_a_word_and_without_tables(
    azure_tables: Tables, channel: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    settings = settings_on(
        settings["AzureWebJobsStorage"],
        **in_cosmos(settings["CosmosDbEndpoint"]),
        **{"AzureWebJobs.expiry_timer.Disabled": "true"},
    )
    async with (
        running_bot(settings, tmp_path) as bot,
        documents_of(settings, "Conversation") as documents,
    ):
        user = User(bot, channel)
        assert NAME in await user.say_all("hi", "Bus")
        assert len(await documents.all()) == 1
        await bot.start_sweep()  # by hand, as an administrator can
        await documents.delete_all()
        (question,) = await user.say("hi")
        assert TRANSPORT in question
        async with ClientSession(bot.url) as http:
            async with http.get("/api/health") as answer:
                assert answer.status == 200
            async with http.get("/api/expiry", params={"format": "json"}) as answer:
                status = await answer.json()
        assert (status["health"], status["timer"]) == ("good", "none")
        assert "nothing to sweep" in bot.log
    with pytest.raises(StorageUnavailableError, match="TableNotFound"):
        await azure_tables.table(settings["ConversationsTable"]).get("s000", "any")
