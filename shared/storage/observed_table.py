"""A table whose requests are traced and counted."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager

from opentelemetry.trace import Span, SpanKind
from typing_extensions import override

from shared.storage.tables import Operation, Row, Table
from shared.telemetry import tracer


class ObservedTable(Table):
    """Passes every request on to another `Table`, with a span, and counts it.

    A span names the partition, never a column. Each page of a query is a request.

    Args:
        table: the table that answers.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.requests = 0

    @override
    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        self.requests += 1
        with _span("get", partition):
            return await self._table.get(partition, key, select)

    @override
    async def write(self, operations: Sequence[Operation]) -> list[str]:
        self.requests += 1
        with _span("write", operations[0].row.partition, operations=len(operations)):
            return await self._table.write(operations)

    @override
    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        pages = self._table.query(partition, first, last, select, page_size)
        while True:
            with _span("query", partition):
                page = await anext(pages, None)
            if page is None:
                return
            self.requests += 1
            yield page


def _span(verb: str, partition: str, **attributes: int) -> AbstractContextManager[Span]:
    return tracer.start_as_current_span(
        "storage",
        kind=SpanKind.CLIENT,
        attributes={"db.operation.name": verb, "partition": partition, **attributes},
    )
