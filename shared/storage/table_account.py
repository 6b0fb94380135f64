"""The tables of a storage account: their client, and their creation."""

import asyncio
from typing import Any, ClassVar
from urllib.request import getproxies

from azure.data.tables.aio import TableServiceClient

from shared.settings.storage import StorageSettings
from shared.storage.account import StorageAccount
from shared.storage.tables import AzureTable, errors_translated


class Tables(StorageAccount):
    """The tables of one storage account, over one client; an async context manager."""

    CLIENT = TableServiceClient
    # The SDK's defaults (300 s timeouts, 10 retries, 120 s back-off) are too long for a channel.
    OPTIONS: ClassVar[dict[str, Any]] = {
        "connection_timeout": 3,
        "read_timeout": 10,
        "retry_total": 3,
        "retry_backoff_max": 4,
        # Looking up the proxies in the environment costs a thread hop with each request.
        "use_env_settings": bool(getproxies()),
    }

    @staticmethod
    def endpoint_in(settings: StorageSettings) -> str:
        """The address of the table service."""
        return settings.table_endpoint

    def table(self, name: str) -> AzureTable:
        """The table of that name, which may not exist yet."""
        return AzureTable(self._client.get_table_client(name))

    async def create(self, *names: str) -> None:
        """Create missing tables.

        Raises:
            StorageUnavailableError: the service did not answer, or refused.
        """
        with errors_translated():
            await asyncio.gather(*(self._client.create_table_if_not_exists(n) for n in names))
