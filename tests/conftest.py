"""What all tests share: Azurite, started by the tests themselves, and tables on it."""

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scripts import azurite, cosmos, processes
from shared.settings import Settings, read_settings
from shared.storage.cosmos_account import CosmosDb
from shared.storage.cosmos_documents import CosmosContainer
from shared.storage.table_account import Tables
from shared.storage.tables import AzureTable
from tests.garbage import settle_garbage
from tests.ports import free_port, free_ports


def pytest_sessionstart() -> None:
    gc.disable()  # what is imported and collected stays: a sixth of that time went into looking


def pytest_collection_finish() -> None:
    settle_garbage()
    gc.enable()


@pytest.fixture(scope="session")
def storage_connection_string(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of an Azurite that lives as long as the test run."""
    first_port = free_ports(3)
    data: Path = tmp_path_factory.mktemp("azurite")
    process = azurite.start(data, first_port)
    yield azurite.connection_string(first_port)
    processes.stop(process)


@pytest.fixture(scope="session")
async def azure_tables(storage_connection_string: str) -> AsyncIterator[Tables]:
    """A client of Azurite."""
    async with Tables(connection_string=storage_connection_string) as tables:
        yield tables


@pytest.fixture
async def two_azure_tables(azure_tables: Tables) -> tuple[AzureTable, AzureTable]:
    """Two fresh tables on Azurite."""
    first, second = (f"t{uuid4().hex}" for _ in range(2))
    await azure_tables.create(first, second)
    return azure_tables.table(first), azure_tables.table(second)


@pytest.fixture(scope="session")
def cosmos_endpoint() -> Iterator[str]:
    """The address of a Cosmos DB that lives as long as the test run.

    It keeps what has outlived its time: where that matters, tests delete it themselves.
    """
    port = free_port()
    process = cosmos.start(port)
    yield cosmos.endpoint(port)
    processes.stop(process)


def cosmos_settings(endpoint: str, **changes: str) -> Settings:
    """Settings of an app with its state in containers of their own."""
    name = uuid4().hex
    return read_settings(
        {
            "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
            "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            "ExpireAfterSeconds": "100",
            "ExpirySchedule": "0 * * * * *",
            "StateStore": "cosmos",
            "CosmosDbEndpoint": endpoint,
            "CosmosDbAuthKey": cosmos.KEY,
            "CosmosDbTimeToLive": "200",
            "CosmosDbConversationStateContainerId": f"conversations-{name}",
            "CosmosDbUserStateContainerId": f"users-{name}",
            **changes,
        }
    )


def cosmos_db(settings: Settings) -> CosmosDb:
    """The client of the account that the settings name."""
    return CosmosDb(
        settings.cosmos,
        settings.storage,
        ca_file=settings.network.ca_file,
        least_time_to_live_seconds=settings.least_time_to_live_seconds,
    )


@pytest.fixture
async def two_cosmos_containers(
    cosmos_endpoint: str,
) -> AsyncIterator[tuple[CosmosContainer, CosmosContainer]]:
    """Two fresh containers, of conversation state and of user state."""
    async with cosmos_db(cosmos_settings(cosmos_endpoint)) as database:
        await database.ensure_containers()
        yield database.conversations, database.users
