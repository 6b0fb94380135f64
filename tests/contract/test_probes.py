"""What a probe of the accounts finds; it makes what is missing, and leaves nothing of its own."""

from datetime import timedelta
from uuid import uuid4

import pytest

from shared.cli.doctor import check_documents
from shared.settings import SettingsError
from shared.storage.cosmos_documents import CosmosContainer, Document
from shared.storage.stores import open_stores
from shared.storage.table_account import Tables
from tests.conftest import cosmos_db, cosmos_settings


async def test_a_probe_of_new_tables_creates_them_and_tells_their_clock(
    storage_connection_string: str, azure_tables: Tables
) -> None:
    conversations, users = (f"t{uuid4().hex}" for _ in range(2))
    settings = cosmos_settings(
        "https://127.0.0.1:9/",
        StateStore="tables",
        AzureWebJobsStorage=storage_connection_string,
        ConversationsTable=conversations,
        UsersTable=users,
    )
    async with open_stores(settings) as stores:
        probe = await stores.probe_tables()
        assert await stores.probe_documents()
    assert probe.began <= probe.ended
    assert abs(probe.answered_at - probe.began) < timedelta(seconds=2)
    for name in (conversations, users):
        pages = azure_tables.table(name).query("ctl", "", "~")
        assert [row async for page in pages for row in page] == []


async def test_a_probe_of_cosmos_db_creates_containers_and_leaves_no_document(
    cosmos_endpoint: str,
) -> None:
    settings = cosmos_settings(cosmos_endpoint)
    async with open_stores(settings) as stores:
        assert await stores.probe_documents()
    async with cosmos_db(settings) as database:
        await database.ensure_containers()
        for container in (database.conversations, database.users):
            items = container._client.read_all_items()
            assert [item async for item in items] == []


async def test_a_document_that_is_not_there_after_its_write_is_a_failure(
    cosmos_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(_: CosmosContainer, document_id: str, token: str = "") -> Document | None:
        del document_id, token
        return None

    monkeypatch.setattr(CosmosContainer, "read", forgets)
    async with open_stores(cosmos_settings(cosmos_endpoint)) as stores:
        assert not await stores.probe_documents()
        finding = await check_documents(stores)
    assert (finding.level, finding.found) == ("FAIL", "a document that was written is not there")


async def test_a_container_that_is_not_what_the_settings_say_is_refused(
    cosmos_endpoint: str,
) -> None:
    name = f"users-{uuid4().hex}"
    async with open_stores(
        cosmos_settings(cosmos_endpoint, CosmosDbConversationStateContainerId=name)
    ) as stores:
        assert await stores.probe_documents()
    swapped = cosmos_settings(cosmos_endpoint, CosmosDbUserStateContainerId=name)
    async with open_stores(swapped) as stores:
        with pytest.raises(SettingsError, match="time to live is 200 s; it must be unlimited"):
            await stores.probe_documents()
