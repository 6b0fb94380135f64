"""The Cosmos DB account: its client, and the containers that it must have."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from urllib.request import getproxies
from uuid import uuid4

from azure.core.pipeline.transport import AioHttpTransport
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient
from azure.cosmos.exceptions import CosmosResourceExistsError, CosmosResourceNotFoundError

from shared.settings import SettingsError
from shared.settings.cosmos import CosmosSettings
from shared.settings.storage import StorageSettings
from shared.storage.account import Account, identity_of
from shared.storage.cosmos_documents import CosmosContainer, Document, errors_translated
from shared.storage.cosmos_memory import DocumentMemory

logger = logging.getLogger(__name__)

PARTITION_KEY = "/id"
INDEXING: dict[str, Any] = {
    "indexingMode": "consistent",
    "includedPaths": [{"path": "/users/[]/?"}],
    "excludedPaths": [{"path": "/*"}],
}


class CosmosDb(Account):
    """The containers of one Cosmos DB account, over one client; an async context manager.

    Args:
        settings: of the account.
        storage: says who the app is, if the account is used without a key.
        ca_file: a PEM file of authorities to trust, instead of the public ones; may be empty.
        least_time_to_live_seconds: a container of conversation state must not have less.

    Attributes:
        memory: what this process remembers of the documents of conversations.
    """

    # By default the SDK waits up to 65 s for an answer and up to 30 s for a throttled request, nine
    # times. It does not repeat a request that may have taken effect.
    OPTIONS: ClassVar[dict[str, Any]] = {
        "connection_timeout": 3,
        "read_timeout": 10,
        "retry_total": 3,
        "retry_throttle_total": 5,
        "retry_throttle_backoff_max": 4,
    }

    def __init__(
        self,
        settings: CosmosSettings,
        storage: StorageSettings,
        *,
        ca_file: str,
        least_time_to_live_seconds: int,
    ) -> None:
        key = settings.auth_key.get_secret_value()
        identity = None if key else identity_of(storage)
        trust: dict[str, Any] = {"connection_verify": ca_file} if ca_file else {}
        # Looking up the proxies in the environment costs two thread hops with each request.
        transport = AioHttpTransport(use_env_settings=bool(getproxies()))
        client = CosmosClient(
            settings.endpoint, identity or key, transport=transport, **self.OPTIONS, **trust
        )
        super().__init__(client, identity)
        self._settings = settings
        self._least_time_to_live_seconds = least_time_to_live_seconds
        self._time_to_live_seconds = settings.time_to_live_seconds or least_time_to_live_seconds
        self.memory = DocumentMemory(timedelta(seconds=least_time_to_live_seconds))
        self._is_open = False
        self._database = self._client.get_database_client(settings.database)

    @property
    def conversations(self) -> CosmosContainer:
        """The container of conversation state, which has a time to live."""
        name = self._settings.conversation_container
        return CosmosContainer(self._database.get_container_client(name))

    @property
    def spare_time(self) -> timedelta:
        """By how much the documents of conversations live longer than they must."""
        return timedelta(seconds=self._time_to_live_seconds - self._least_time_to_live_seconds)

    @property
    def users(self) -> CosmosContainer:
        """The container of user state, which has no time to live."""
        name = self._settings.user_container
        return CosmosContainer(self._database.get_container_client(name))

    async def ensure_containers(self) -> None:
        """Create missing containers, and check the others.

        Raises:
            SettingsError: a container is missing and an identity cannot create it; or state would
                not be safe in a container.
            StorageUnavailableError: no answer, or refused.
        """
        settings = self._settings
        with errors_translated():
            if not self._is_open:
                await self._client.__aenter__()  # asks the account where its regions are
                self._is_open = True
            await self._ensure_container(
                "CosmosDbConversationStateContainerId",
                settings.conversation_container,
                settings.time_to_live_seconds,
            )
            await self._ensure_container(
                "CosmosDbUserStateContainerId", settings.user_container, None
            )

    async def probe(self) -> bool:
        """Ensure the containers; in each, write, read and delete a document.

        Returns False if a document that was written is not there.

        Raises:
            SettingsError: see `ensure_containers`.
            StorageUnavailableError: no answer, or refused.
        """
        await self.ensure_containers()
        for container in (self.conversations, self.users):
            name = f"doctor-{uuid4().hex}"
            written = await container.create(Document(name))
            if await container.read(name, written.token) is None:
                return False
            await container.delete(name)
        return True

    async def _ensure_container(self, setting: str, name: str, time_to_live: int | None) -> None:
        try:
            found: Mapping[str, Any] = await self._database.get_container_client(name).read()
        except CosmosResourceNotFoundError:
            if self._identity:
                # Microsoft Entra ID gives access to data, but not to creating containers.
                raise SettingsError(
                    f"{setting} is {name!r}; it must be a container of the database"
                    f" {self._settings.database!r}, which an identity cannot create: `azd"
                    " provision` does (infra/app/cosmos.bicep)"
                ) from None
            found = await self._create(name, time_to_live)
        paths = found["partitionKey"]["paths"]
        if paths != [PARTITION_KEY]:
            raise SettingsError(
                f"{setting} is {name!r}, whose partition key is {', '.join(paths)}; it must be a"
                f" container with the partition key {PARTITION_KEY}"
            )
        await self._check_time_to_live(setting, name, found, time_to_live)

    async def _create(self, name: str, time_to_live: int | None) -> Mapping[str, Any]:
        await self._client.create_database_if_not_exists(self._settings.database)
        try:
            created = await self._database.create_container(
                name,
                PartitionKey(PARTITION_KEY),
                indexing_policy=INDEXING,
                default_ttl=time_to_live,
            )
        except CosmosResourceExistsError:  # another instance was first
            created = self._database.get_container_client(name)
        found: Mapping[str, Any] = await created.read()
        return found

    async def _check_time_to_live(
        self, setting: str, name: str, found: Mapping[str, Any], wanted: int | None
    ) -> None:
        # -1: documents live for ever unless they set a time themselves; ours set none.
        actual = found.get("defaultTtl")
        actual = None if actual == -1 else actual
        if actual == wanted:
            return
        says = f"{setting} is {name!r}, whose time to live is {_seconds(actual)}"
        if self._identity:
            raise SettingsError(
                f"{says}; it must be {_seconds(wanted)}: `azd provision` sets it"
                " (infra/app/cosmos.bicep)"
            )
        if self._settings.correct_time_to_live == "on":
            await self._database.replace_container(
                name,
                PartitionKey(PARTITION_KEY),
                indexing_policy=found["indexingPolicy"],
                default_ttl=wanted,
            )
            logger.warning("cosmos: %s; set to %s", says, _seconds(wanted))
            return
        least = self._least_time_to_live_seconds
        if wanted is None or (actual is not None and actual < least):
            raise SettingsError(
                f"{says}; it must be {_seconds(wanted)}, or state is lost before its time"
                " (CosmosDbCorrectTimeToLive=on sets it)"
            )
        if actual is not None:
            self._time_to_live_seconds = actual
        logger.warning(
            "cosmos: %s, not %s; CosmosDbCorrectTimeToLive=on sets it", says, _seconds(wanted)
        )


def _seconds(time_to_live: int | None) -> str:
    return "unlimited" if time_to_live is None else f"{time_to_live} s"
