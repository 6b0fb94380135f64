"""Table Storage with the few operations that the store needs, and its errors translated."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from typing_extensions import override

from shared.domain.errors import (
    ConflictError,
    StateTooLargeError,
    StorageUnavailableError,
    StoreError,
)
from shared.storage.account import code_of, reason


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
    """A `Table` on the azure-data-tables SDK."""

    def __init__(self, client: TableClient) -> None:
        self._client = client

    @override
    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        try:
            with errors_translated(_RowMissingError):
                # The keys come only if they are selected too.
                entity = await self._client.get_entity(
                    partition, key, select=["PartitionKey", "RowKey", *select] if select else None
                )
        except _RowMissingError:
            return None
        return _row(entity)

    async def service_time(self, partition: str, key: str) -> datetime:
        """The service's clock, in whole seconds, from its answer for an existing row."""
        dates: list[str] = []
        with errors_translated():
            await self._client.get_entity(
                partition,
                key,
                raw_response_hook=lambda answer: dates.append(answer.http_response.headers["Date"]),
            )
        return parsedate_to_datetime(dates[0])

    @override
    async def write(self, operations: Sequence[Operation]) -> list[str]:
        try:
            with errors_translated(ConflictError, StateTooLargeError, _RowMissingError):
                if len(operations) == 1:
                    return [await self._write_one(operations[0])]
                answers = await self._client.submit_transaction(
                    [_transaction_step(operation) for operation in operations]
                )
        except _RowMissingError as error:
            if [each.kind for each in operations] == ["delete"]:
                return [""]
            raise ConflictError(str(error)) from error
        return [answer.get("etag", "") for answer in answers]

    async def _write_one(self, operation: Operation) -> str:
        row = operation.row
        match operation.kind:
            case "insert":
                answer = await self._client.create_entity(_entity(row))
            case "replace":
                answer = await self._client.update_entity(
                    _entity(row), mode=UpdateMode.REPLACE, **_if_match(row)
                )
            case "merge":
                answer = await self._client.update_entity(
                    _entity(row), mode=UpdateMode.MERGE, **_if_match(row)
                )
            case "upsert":
                answer = await self._client.upsert_entity(_entity(row), mode=UpdateMode.REPLACE)
            case "delete":
                await self._delete(row)
                return ""
        return str(answer["etag"])

    async def _delete(self, row: Row) -> None:
        """Delete a row. The SDK takes every 404 for success, also that of a missing table."""
        answers: list[Any] = []
        await self._client.delete_entity(
            row.partition, row.key, raw_response_hook=answers.append, **_if_match(row)
        )
        if answers and answers[-1].http_response.status_code == HTTPStatus.NOT_FOUND:
            raise HttpResponseError(response=answers[-1].http_response)

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


def _entity(row: Row) -> dict[str, Any]:
    return {"PartitionKey": row.partition, "RowKey": row.key, **row.columns}


def _if_match(row: Row) -> dict[str, Any]:
    if not row.etag:
        return {}
    return {"etag": row.etag, "match_condition": MatchConditions.IfNotModified}


_STEPS = {
    "insert": "create",
    "replace": "update",
    "merge": "update",
    "upsert": "upsert",
    "delete": "delete",
}


def _transaction_step(operation: Operation) -> tuple[str, dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {}
    if operation.kind in ("replace", "merge", "delete"):
        options = _if_match(operation.row)
    if operation.kind in ("replace", "merge", "upsert"):
        is_merge = operation.kind == "merge"
        options["mode"] = UpdateMode.MERGE if is_merge else UpdateMode.REPLACE
    return _STEPS[operation.kind], _entity(operation.row), options
