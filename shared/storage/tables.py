"""Table Storage with the few operations that the store needs, and its errors translated."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from azure.core.exceptions import AzureError
from azure.core.pipeline import AsyncPipeline
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables.aio import TableClient
from typing_extensions import override

from shared.domain.errors import (
    ConflictError,
    StateTooLargeError,
    StorageUnavailableError,
    StoreError,
)
from shared.storage.account import code_of, reason
from shared.storage.table_requests import (
    TableAddress,
    etag_in,
    etags_in,
    get_request,
    row_in,
    transaction_request,
    write_request,
)

Pipeline = AsyncPipeline[HttpRequest, AsyncHttpResponse]


@dataclass(frozen=True, slots=True)
class Row:
    """One entity: its keys, its columns and the ETag it was read at (empty: never stored)."""

    partition: str
    key: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One write. `replace`, `merge` and a `delete` with an ETag are conditional on it (If-Match).

    A `merge` leaves the columns that it does not name as they are.
    """

    kind: Literal["insert", "replace", "merge", "upsert", "delete"]
    row: Row


class Table(Protocol):
    """The operations. Each may raise StorageUnavailableError; a write may still have happened."""

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        """One row, or None; with `select`, only those columns."""

    async def write(self, operations: Sequence[Operation]) -> list[str]:
        """Do one operation, or up to 100 of one partition as one transaction.

        Returns the new ETags (empty for a delete), in the order of the operations. It is no error
        to delete a row that is not there, except inside a transaction.

        Raises:
            ConflictError: an insert found the row, or a replace, a merge or a conditional delete
                found another version or none; nothing was written.
            StateTooLargeError: the service refused the size; nothing was written.
        """

    def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        """Pages of the rows with first <= RowKey < last, in RowKey order.

        They have the selected columns only: without `select`, none but their keys.
        """


class AzureTable(Table):
    """A `Table` of a storage account.

    What a turn asks for is written and read by `table_requests`, the rest by azure-data-tables.

    Args:
        client: the SDK's client of the table.
        pipeline: sends requests with the client's credential, retries and connections.
    """

    def __init__(self, client: TableClient, pipeline: Pipeline) -> None:
        self._client = client
        self._pipeline = pipeline
        self._address = TableAddress(client.url, client.table_name)

    async def _answer(self, request: HttpRequest) -> AsyncHttpResponse:
        return (await self._pipeline.run(request)).http_response

    @override
    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        try:
            with errors_translated(_RowMissingError):
                request = get_request(self._address, partition, key, select)
                return Row(*row_in(await self._answer(request)))
        except _RowMissingError:
            return None

    async def service_time(self, partition: str, key: str) -> datetime:
        """The service's clock, in whole seconds, from its answer for an existing row."""
        with errors_translated():
            answer = await self._answer(get_request(self._address, partition, key, ()))
            row_in(answer)  # any other answer may be of some machine on the way, with its clock
        return parsedate_to_datetime(answer.headers["Date"])

    @override
    async def write(self, operations: Sequence[Operation]) -> list[str]:
        try:
            with errors_translated(ConflictError, StateTooLargeError, _RowMissingError):
                if len(operations) == 1:
                    request = write_request(self._address, operations[0])
                    return [etag_in(await self._answer(request))]
                request = transaction_request(self._address, operations)
                return etags_in(await self._answer(request), len(operations))
        except _RowMissingError as error:
            if [each.kind for each in operations] == ["delete"]:
                return [""]
            raise ConflictError(str(error)) from error

    @override
    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        pages = self._client.query_entities(
            "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
            parameters={"partition": partition, "first": first, "last": last},
            select=["PartitionKey", "RowKey", *select],
            results_per_page=page_size,
        ).by_page()
        while True:
            try:
                with errors_translated():
                    page = await anext(pages)
                    rows = [_row(entity) async for entity in page]
            except StopAsyncIteration:
                return
            yield rows


class _RowMissingError(StoreError):
    """The table exists, the row does not."""


# What the service's codes mean. Any other code, or none, means unavailable: that loses nothing.
# Source: learn.microsoft.com, "Table Storage error codes" and "Common REST API error codes".
# ContentLengthExceeded is the answer to a transaction that is too large.
_MEANINGS: dict[str, type[StoreError]] = {
    "EntityAlreadyExists": ConflictError,
    "UpdateConditionNotSatisfied": ConflictError,
    "ConditionNotMet": ConflictError,
    "EntityNotFound": _RowMissingError,
    "ResourceNotFound": _RowMissingError,
    "EntityTooLarge": StateTooLargeError,
    "PropertyValueTooLarge": StateTooLargeError,
    "RequestBodyTooLarge": StateTooLargeError,
    "ContentLengthExceeded": StateTooLargeError,
}


@contextmanager
def errors_translated(*expected: type[StoreError]) -> Iterator[None]:
    """Turn the SDK's errors into ours, by the service's code, never by the HTTP status alone.

    Args:
        expected: the errors that the request can have; every other means unavailable.

    Raises:
        StoreError: one of `expected`.
        StorageUnavailableError: every other error, and no answer.
    """
    try:
        yield
    except AzureError as error:
        meaning = _MEANINGS.get(code_of(error), StorageUnavailableError)
        if meaning not in expected:
            meaning = StorageUnavailableError
        raise meaning(reason(error)) from error


def _row(entity: Any) -> Row:
    columns = dict(entity)
    return Row(
        partition=columns.pop("PartitionKey"),
        key=columns.pop("RowKey"),
        columns=columns,
        etag=entity.metadata["etag"],
    )
