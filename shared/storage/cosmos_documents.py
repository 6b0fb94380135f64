"""Cosmos DB in the few verbs the stores need, with its errors told apart.

The partition key is `/id`, as in Microsoft's article: each document is a partition of its own, and
no transaction spans two. Of what a document holds, only `users` is indexed.
"""

import logging
import math
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, ClassVar, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.cosmos.exceptions import (
    CosmosHttpResponseError,
    CosmosResourceExistsError,
    CosmosResourceNotFoundError,
)
from opentelemetry.trace import SpanKind
from typing_extensions import override

from shared.domain.errors import (
    ConflictError,
    StateTooLargeError,
    StateUnreadableError,
    StorageUnavailableError,
)
from shared.domain.times import utc_now
from shared.settings import Settings, SettingsError
from shared.storage.account import Account, identity_of, reason
from shared.telemetry import tracer

logger = logging.getLogger(__name__)

PARTITION_KEY = "/id"
INDEXING: dict[str, Any] = {
    "indexingMode": "consistent",
    "includedPaths": [{"path": "/users/[]/?"}],
    "excludedPaths": [{"path": "/*"}],
}

# A 404 with another substatus is about the container, or about a copy that is not new enough yet.
_DOCUMENT_MISSING = (0, None)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its columns, the users it is about, and the ETag it was read at.

    `token` is the session token of its last write: a read that shows it sees that write, whatever
    process it was done by. Source: learn.microsoft.com, "Consistency levels in Azure Cosmos DB".
    """

    id: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    users: Sequence[str] = ()
    etag: str = ""
    token: str = ""


class Container(Protocol):
    """The verbs. Each may raise StorageUnavailableError; a write that does may have happened."""

    async def read(self, document_id: str, token: str = "") -> Document | None:
        """One document, or None."""

    async def create(self, document: Document) -> Document:
        """Write a new document; returns it with its ETag and token.

        Raises:
            ConflictError: there is one of that id.
            StateTooLargeError: the service refused the size; nothing was written.
        """

    async def replace(self, document: Document) -> Document:
        """Write over the document at its ETag, or over any version if that is empty.

        Raises:
            ConflictError: it is another version by now, or gone.
            StateTooLargeError: the service refused the size; nothing was written.
        """

    async def delete(self, document_id: str, etag: str = "") -> None:
        """Delete the document, with an ETag at that version; that it is gone is no error.

        Raises:
            ConflictError: it is another version by now.
        """

    def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        """The ids of the documents about a user; those only that were written so long ago."""


class CosmosContainer(Container):
    """A `Container` on the azure-cosmos SDK, which counts its requests."""

    def __init__(self, client: ContainerProxy) -> None:
        self.requests = 0
        self._client = client

    @override
    async def read(self, document_id: str, token: str = "") -> Document | None:
        session: dict[str, Any] = {"session_token": token} if token else {}
        try:
            with self._request("read"):
                item = await self._client.read_item(document_id, document_id, **session)
        except _DocumentMissingError:
            return None
        return _document(item)

    @override
    async def create(self, document: Document) -> Document:
        with self._request("create"):
            answer = await self._client.create_item(_item(document))
        return _written(document, answer)

    @override
    async def replace(self, document: Document) -> Document:
        try:
            with self._request("replace"):
                answer = await self._client.replace_item(
                    document.id, _item(document), **_if_match(document.etag)
                )
        except _DocumentMissingError as error:
            raise ConflictError(str(error)) from error
        return _written(document, answer)

    @override
    async def delete(self, document_id: str, etag: str = "") -> None:
        with suppress(_DocumentMissingError), self._request("delete"):
            await self._client.delete_item(document_id, document_id, **_if_match(etag))

    @override
    async def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        before = (utc_now() - older_than).timestamp() if older_than else math.inf
        found = self._client.query_items(
            "SELECT c.id, c._ts FROM c WHERE ARRAY_CONTAINS(c.users, @user)",
            parameters=[{"name": "@user", "value": user}],
        )
        with self._request("query"):
            async for item in found:
                if item["_ts"] <= before:
                    yield item["id"]

    @contextmanager
    def _request(self, verb: str) -> Iterator[None]:
        self.requests += 1
        attributes = {"db.system.name": "azure.cosmosdb", "db.operation.name": verb}
        with (
            tracer.start_as_current_span("storage", kind=SpanKind.CLIENT, attributes=attributes),
            _errors_translated(),
        ):
            yield


class CosmosDb(Account):
    """The containers of one Cosmos DB account, over one client; an async context manager."""

    # The SDK waits up to 65 s for an answer and up to 30 s for a throttled request, nine times.
    # What a request may have done already it does not repeat.
    OPTIONS: ClassVar[dict[str, Any]] = {
        "connection_timeout": 3,
        "read_timeout": 10,
        "retry_total": 3,
        "retry_throttle_total": 5,
        "retry_throttle_backoff_max": 4,
    }

    def __init__(self, settings: Settings) -> None:
        key = settings.cosmos_auth_key.get_secret_value()
        identity = None if key else identity_of(settings)
        trust: dict[str, Any] = {"connection_verify": settings.ca_file} if settings.ca_file else {}
        client = CosmosClient(settings.cosmos_endpoint, identity or key, **self.OPTIONS, **trust)
        super().__init__(client, identity)
        self._settings = settings
        self._is_open = False
        self._database = self._client.get_database_client(settings.cosmos_database)

    @property
    def conversations(self) -> CosmosContainer:
        """The container of conversation state, which has a time to live."""
        name = self._settings.cosmos_conversation_container
        return CosmosContainer(self._database.get_container_client(name))

    @property
    def users(self) -> CosmosContainer:
        """The container of user state, which has none."""
        name = self._settings.cosmos_user_container
        return CosmosContainer(self._database.get_container_client(name))

    async def ensure_containers(self) -> None:
        """Create the containers that are missing, and look at those that are there.

        Raises:
            SettingsError: a container is missing and an identity cannot create it; or one is
                there that state would not be safe in.
            StorageUnavailableError: no answer, or refused.
        """
        settings = self._settings
        with _errors_translated():
            if not self._is_open:
                await self._client.__aenter__()  # asks the account where its regions are
                self._is_open = True
            await self._ensure_container(
                "CosmosDbConversationStateContainerId",
                settings.cosmos_conversation_container,
                settings.cosmos_time_to_live_seconds,
            )
            await self._ensure_container(
                "CosmosDbUserStateContainerId", settings.cosmos_user_container, None
            )

    async def _ensure_container(self, setting: str, name: str, time_to_live: int | None) -> None:
        try:
            found: Mapping[str, Any] = await self._database.get_container_client(name).read()
        except CosmosResourceNotFoundError:
            if self._identity:
                # Microsoft Entra ID gives access to data, not to what an account is made of.
                raise SettingsError(
                    f"{setting} is {name!r}; it must be a container of the database"
                    f" {self._settings.cosmos_database!r}, which an identity cannot create: `azd"
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
        await self._client.create_database_if_not_exists(self._settings.cosmos_database)
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
        # -1: documents live for ever unless they say otherwise, and ours do not.
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
        if self._settings.cosmos_correct_time_to_live == "on":
            await self._database.replace_container(
                name,
                PartitionKey(PARTITION_KEY),
                indexing_policy=found["indexingPolicy"],
                default_ttl=wanted,
            )
            logger.warning("cosmos: %s; set to %s", says, _seconds(wanted))
            return
        least = self._settings.least_time_to_live_seconds
        if wanted is None or (actual is not None and actual < least):
            raise SettingsError(
                f"{says}; it must be {_seconds(wanted)}, or state is lost before its time"
                " (CosmosDbCorrectTimeToLive=on sets it)"
            )
        logger.warning(
            "cosmos: %s, not %s; CosmosDbCorrectTimeToLive=on sets it", says, _seconds(wanted)
        )


class _DocumentMissingError(StorageUnavailableError):
    """The service answered 404 for a document; where that cannot be, for what it is in."""


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except CosmosHttpResponseError as error:
        is_missing = error.status_code == HTTPStatus.NOT_FOUND
        if is_missing and error.sub_status in _DOCUMENT_MISSING:
            raise _DocumentMissingError(reason(error)) from error
        if error.status_code in (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED):
            raise ConflictError(reason(error)) from error
        if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise StateTooLargeError(reason(error)) from error
        raise StorageUnavailableError(reason(error)) from error
    except AzureError as error:  # no answer at all
        raise StorageUnavailableError(reason(error)) from error


def _if_match(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


def _item(document: Document) -> dict[str, Any]:
    columns = {name: to_json(value) for name, value in document.columns.items()}
    return {"id": document.id, "users": list(document.users), "columns": columns}


def _document(item: Mapping[str, Any]) -> Document:
    try:
        columns = {name: from_json(value) for name, value in item["columns"].items()}
        return Document(item["id"], columns, item["users"], item["_etag"])
    except (AttributeError, KeyError, ValueError) as error:
        raise StateUnreadableError(f"document {item['id']}: {error!r}", item["_etag"]) from error


def _written(document: Document, answer: Any) -> Document:
    token = answer.get_response_headers().get("x-ms-session-token", "")
    return replace(document, etag=answer["_etag"], token=token)


def to_json(value: Any) -> Any:
    """A column's value as JSON: bytes and times become objects that say so."""
    match value:
        case bytes():
            return {"bytes": b64encode(value).decode()}
        case datetime():
            return {"time": value.isoformat()}
        case Mapping():
            return {"map": {name: to_json(each) for name, each in value.items()}}
    return value


def from_json(value: Any) -> Any:
    """The value of what `to_json` made."""
    match value:
        case {"bytes": str(text)}:
            return b64decode(text)
        case {"time": str(text)}:
            return datetime.fromisoformat(text)
        case {"map": Mapping() as values}:
            return {name: from_json(each) for name, each in values.items()}
    return value


def _seconds(time_to_live: int | None) -> str:
    return "unlimited" if time_to_live is None else f"{time_to_live} s"
