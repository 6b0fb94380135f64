"""Cosmos DB with the few operations that the stores need, and its errors translated.

The partition key is `/id`, as in Microsoft's article: each document is a partition of its own, and
no transaction spans two. Only a document's `users` is indexed.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.cosmos.aio import ContainerProxy
from azure.cosmos.exceptions import CosmosHttpResponseError
from opentelemetry.trace import SpanKind
from typing_extensions import override

from shared.domain.errors import (
    ConflictError,
    NewerRowError,
    StateTooLargeError,
    StateUnreadableError,
    StorageUnavailableError,
)
from shared.domain.times import utc_now
from shared.storage.account import reason
from shared.storage.columns import FORM
from shared.telemetry import tracer

# A 404 with another substatus: the container is missing, or a copy is not new enough.
_DOCUMENT_MISSING = (0, None)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its columns, the users it is about, and the ETag it was read at.

    `token` is the session token of its last write. A read with the token sees that write, even of
    another process. Source: learn.microsoft.com, "Consistency levels in Azure Cosmos DB".

    Its time to live counts from `written_at`; None: it is not known.
    """

    id: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    users: Sequence[str] = ()
    etag: str = ""
    token: str = ""
    written_at: datetime | None = field(default=None, compare=False)


class Container(Protocol):
    """The operations. Each may raise StorageUnavailableError; a write may still have happened."""

    async def read(self, document_id: str, token: str = "") -> Document | None:
        """One document, or None."""

    async def create(self, document: Document) -> Document:
        """Write a new document; returns it with its ETag and token.

        Raises:
            ConflictError: there is a document with that id.
            StateTooLargeError: the service refused the size; nothing was written.
        """

    async def replace(self, document: Document) -> Document:
        """Write over the document at its ETag, or over any version if that is empty.

        Raises:
            ConflictError: it is another version by now, or gone.
            StateTooLargeError: the service refused the size; nothing was written.
        """

    async def delete(self, document_id: str, etag: str = "") -> None:
        """Delete the document, with an ETag only at that version. It is no error if it is gone.

        Raises:
            ConflictError: it is another version by now.
        """

    def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        """The ids of the documents about a user; with `older_than`, only those written before."""


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
            errors_translated(),
        ):
            yield


class _DocumentMissingError(StorageUnavailableError):
    """The service answered 404: the document is missing, or for a new one, its container."""


@contextmanager
def errors_translated() -> Iterator[None]:
    """Turn the SDK's errors into ours.

    Raises:
        _DocumentMissingError: the container has no such document.
        ConflictError: the document is another version, or exists already.
        StateTooLargeError: the service refused the size.
        StorageUnavailableError: every other error, and no answer.
    """
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
    return {"id": document.id, "form": FORM, "users": list(document.users), "columns": columns}


def _document(item: Mapping[str, Any]) -> Document:
    form = item.get("form", FORM)
    if isinstance(form, int) and form > FORM:
        raise NewerRowError(f"document {item['id']} is of form {form}; this version knows {FORM}")
    try:
        columns = {name: from_json(value) for name, value in item["columns"].items()}
        written_at = datetime.fromtimestamp(item["_ts"], UTC)
        return Document(item["id"], columns, item["users"], item["_etag"], written_at=written_at)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise StateUnreadableError(f"document {item['id']}: {error!r}", item["_etag"]) from error


def _written(document: Document, answer: Any) -> Document:
    token = answer.get_response_headers().get("x-ms-session-token", "")
    written_at = datetime.fromtimestamp(answer["_ts"], UTC)
    return replace(document, etag=answer["_etag"], token=token, written_at=written_at)


def to_json(value: Any) -> Any:
    """A column's value as JSON: bytes and times become objects with their type."""
    match value:
        case bytes():
            return {"bytes": b64encode(value).decode()}
        case datetime():
            return {"time": value.isoformat()}
        case Mapping():
            return {"map": {name: to_json(each) for name, each in value.items()}}
    return value


def from_json(value: Any) -> Any:
    """The value that `to_json` was given."""
    match value:
        case {"bytes": str(text)}:
            return b64decode(text, validate=True)
        case {"time": str(text)}:
            return datetime.fromisoformat(text)
        case {"map": Mapping() as values}:
            return {name: from_json(each) for name, each in values.items()}
    return value
