"""Which containers the app makes, which it takes as they are, and which it refuses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.cosmos import PartitionKey

from shared.settings import Settings, SettingsError
from shared.storage.cosmos_account import INDEXING, CosmosDb
from tests.conftest import cosmos_db, cosmos_settings


class Identity:
    """Stands for a managed identity: data it may read and write, and no more."""

    async def close(self) -> None:
        return None


@pytest.fixture
def settings(cosmos_endpoint: str) -> Settings:
    return cosmos_settings(cosmos_endpoint)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[CosmosDb]:
    async with cosmos_db(settings) as database:
        yield database


async def properties(database: CosmosDb, name: str) -> Any:
    return await database._database.get_container_client(name).read()


async def make(database: CosmosDb, name: str, *, key: str = "/id", **options: Any) -> None:
    await database._client.__aenter__()
    await database._client.create_database_if_not_exists("bot")
    await database._database.create_container(name, PartitionKey(key), **options)


async def test_missing_containers_are_made_with_and_without_a_time_to_live(
    database: CosmosDb, settings: Settings
) -> None:
    await database.ensure_containers()
    conversations = await properties(database, settings.cosmos.conversation_container)
    users = await properties(database, settings.cosmos.user_container)
    assert conversations["defaultTtl"] == 200
    assert "defaultTtl" not in users
    for each in (conversations, users):
        assert each["partitionKey"]["paths"] == ["/id"]
        assert each["indexingPolicy"]["includedPaths"] == INDEXING["includedPaths"]
        assert each["indexingPolicy"]["excludedPaths"] == INDEXING["excludedPaths"]
    await database.ensure_containers()  # again: they are there


async def test_a_longer_time_to_live_is_reported_and_left(
    database: CosmosDb, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await make(database, settings.cosmos.conversation_container, default_ttl=999)
    await database.ensure_containers()
    found = await properties(database, settings.cosmos.conversation_container)
    assert found["defaultTtl"] == 999
    assert "whose time to live is 999 s, not 200 s" in caplog.text


async def test_by_setting_it_is_corrected(cosmos_endpoint: str) -> None:
    settings = cosmos_settings(cosmos_endpoint, CosmosDbCorrectTimeToLive="on")
    async with cosmos_db(settings) as database:
        await make(database, settings.cosmos.conversation_container, default_ttl=50)
        await make(database, settings.cosmos.user_container, default_ttl=50)
        await database.ensure_containers()
        conversations = await properties(database, settings.cosmos.conversation_container)
        users = await properties(database, settings.cosmos.user_container)
    assert conversations["defaultTtl"] == 200
    assert not users.get("defaultTtl")


@pytest.mark.parametrize(
    ("container", "options", "message"),
    [
        ("conversation", {"default_ttl": 159}, r"whose time to live is 159 s; it must be 200 s"),
        ("user", {"default_ttl": 9999}, r"whose time to live is 9999 s; it must be unlimited"),
        ("conversation", {"key": "/user"}, r"whose partition key is /user; it must be"),
    ],
)
async def test_a_container_that_state_would_be_lost_in_is_refused(
    database: CosmosDb,
    settings: Settings,
    container: str,
    options: dict[str, Any],
    message: str,
) -> None:
    await make(database, getattr(settings.cosmos, f"{container}_container"), **options)
    with pytest.raises(SettingsError, match=message) as refusal:
        await database.ensure_containers()
    assert str(refusal.value).startswith("CosmosDb")


async def test_a_container_whose_documents_live_until_told_otherwise_is_as_good_as_one_without(
    database: CosmosDb, settings: Settings
) -> None:
    await make(database, settings.cosmos.user_container, default_ttl=-1)
    await database.ensure_containers()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, r"an identity cannot create: `azd provision` does \(infra/app/cosmos\.bicep\)"),
        ({"default_ttl": 999}, r"time to live is 999 s; it must be 200 s: `azd provision` sets it"),
    ],
)
async def test_an_identity_is_told_what_the_infrastructure_has_to_do(
    database: CosmosDb, settings: Settings, options: dict[str, Any] | None, message: str
) -> None:
    if options:
        await make(database, settings.cosmos.conversation_container, **options)
    database._identity = Identity()  # type: ignore[assignment] # as far as it is used here
    with pytest.raises(SettingsError, match=message):
        await database.ensure_containers()
