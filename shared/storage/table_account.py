"""The tables of a storage account: their client, their pipeline of requests, their creation."""

import asyncio
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.pipeline import AsyncPipeline, PipelineRequest
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRetryPolicy,
    AzureSasCredentialPolicy,
    SansIOHTTPPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables.aio import TableServiceClient
from typing_extensions import override

from shared.settings.storage import StorageSettings
from shared.storage.account import StorageAccount
from shared.storage.tables import AzureTable, Pipeline, errors_translated

if TYPE_CHECKING:
    from shared.storage.account import Identity

_SCOPE = "https://storage.azure.com/.default"


class Tables(StorageAccount):
    """The tables of one storage account, over one client; an async context manager.

    Args:
        connection_string: with the account's key or a shared access signature; or
        endpoint: the table service's address, for an identity.
        identity: the identity for that address.
    """

    CLIENT = TableServiceClient
    # The SDK's defaults (10 retries, 120 s back-off) are too long for a channel.
    OPTIONS: ClassVar[dict[str, Any]] = {"retry_total": 3, "retry_backoff_max": 4}

    def __init__(
        self, *, connection_string: str = "", endpoint: str = "", identity: "Identity | None" = None
    ) -> None:
        transport = AioHttpTransport(
            connection_timeout=3,  # seconds, as the next one; the SDK's default is 300
            read_timeout=10,
            # Looking up the proxies in the environment costs a thread hop with each request.
            use_env_settings=bool(getproxies()),
        )
        super().__init__(
            connection_string=connection_string,
            endpoint=endpoint,
            identity=identity,
            transport=transport,
        )
        # The client's own has nine policies more, which do nothing here: half of a request's time.
        policies = [AsyncRetryPolicy(**self.OPTIONS), _policy_of(self._client.credential)]
        self._pipeline: Pipeline = AsyncPipeline(transport, policies)

    @staticmethod
    @override
    def endpoint_in(settings: StorageSettings) -> str:
        return settings.table_endpoint

    def table(self, name: str) -> AzureTable:
        """The table of that name, which may not exist yet."""
        return AzureTable(self._client.get_table_client(name), self._pipeline)

    async def create(self, *names: str) -> None:
        """Create missing tables.

        Raises:
            StorageUnavailableError: the service did not answer, or refused.
        """
        with errors_translated():
            await asyncio.gather(*(self._client.create_table_if_not_exists(n) for n in names))


def _policy_of(credential: Any) -> Any:
    """Proves to the service who asks."""
    match credential:
        case AzureNamedKeyCredential():
            return _SharedKeyPolicy(credential)
        case AzureSasCredential():
            return AzureSasCredentialPolicy(credential)
    return AsyncBearerTokenCredentialPolicy(credential, _SCOPE)


class _SharedKeyPolicy(SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Signs requests with the account's key.

    Source: learn.microsoft.com, "Authorize with Shared Key", the table service.
    """

    def __init__(self, credential: AzureNamedKeyCredential) -> None:
        super().__init__()
        self._name, key = credential.named_key
        self._key = b64decode(key)

    @override
    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        asked = request.http_request
        now = format_datetime(datetime.now(UTC), usegmt=True)
        kind = asked.headers.get("Content-Type", "")
        signed = f"{asked.method}\n\n{kind}\n{now}\n/{self._name}{urlsplit(asked.url).path}"
        signature = b64encode(digest(self._key, signed.encode(), sha256)).decode()
        asked.headers["x-ms-date"] = now
        asked.headers["Authorization"] = f"SharedKey {self._name}:{signature}"
