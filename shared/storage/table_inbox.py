"""The inbox as a table: a row for each activity, which its conversation's key and place name."""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from shared.domain.errors import ConflictError, StateUnreadableError
from shared.domain.inbox import Inbox, Waiting
from shared.storage.columns import Columns, check_form, read_row
from shared.storage.table_rows import MARK, chunks, joined_chunks
from shared.storage.tables import Operation, Row, Table

logger = logging.getLogger(__name__)

# The first digit of a conversation's key is its partition. One partition takes 2,000 requests a
# second, and a turn makes 4; the timer asks each of them.
PARTITIONS = "0123456789abcdef"

_TRACKING = ("Form", "ReceivedAt", "LeaseUntil", "Attempts")
# Six chunks hold the largest activity that is taken (256 KiB), and the claims of its caller.
_ALL = (*_TRACKING, *(f"Content{number:02d}" for number in range(6)))
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class TableInbox(Inbox):
    """An `Inbox` in a table of its own.

    Args:
        table: the table.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    @override
    async def put(self, waiting: Waiting) -> None:
        try:
            await self._table.write([Operation("insert", _row(waiting))])
        except ConflictError:
            logger.info("inbox: a copy of an activity that waits: %s", waiting.place)

    @override
    async def first(self, conversation: str) -> Waiting | None:
        partition = conversation[:1]
        bounds = f"{conversation}|", f"{conversation}~"
        async for page in self._table.query(partition, *bounds, _ALL, page_size=1):
            for row in page:
                return _waiting(row)
        return None

    @override
    async def save(self, waiting: Waiting) -> Waiting:
        [etag] = await self._table.write([Operation("replace", _row(waiting))])
        return replace(waiting, etag=etag)

    @override
    async def remove(self, waiting: Waiting) -> None:
        await self._table.write([Operation("delete", _row(waiting))])

    @override
    async def waiting_since(self, before: datetime) -> AsyncIterator[Sequence[Waiting]]:
        for partition in PARTITIONS:
            async for page in self._table.query(partition, "0", "~", _TRACKING):
                found = map(_waiting, page)
                yield [each for each in found if each.received_at < before]


def _row(waiting: Waiting) -> Row:
    columns = {
        "ReceivedAt": waiting.received_at,
        "LeaseUntil": waiting.lease_until,
        "Attempts": waiting.attempts,
        **chunks(waiting.content, "Content"),
        **MARK,
    }
    return Row(
        waiting.conversation[:1],
        f"{waiting.conversation}|{waiting.place}",
        {name: value for name, value in columns.items() if value is not None},
        waiting.etag,
    )


def _waiting(row: Row) -> Waiting:
    """What a row says. A damaged one must not keep those behind it waiting: it has no content.

    Raises:
        NewerRowError: a newer version wrote it.
    """
    check_form(row)
    conversation, _, place = row.key.partition("|")
    try:
        with read_row(row) as columns:
            content = joined_chunks(row, "Content")
            return Waiting(conversation, place, content, **_times(columns), etag=row.etag)
    except StateUnreadableError as error:
        logger.error("inbox: %s", error)  # noqa: TRY400 - it names the row; no code is wrong
        return Waiting(conversation, place, b"", _LONG_AGO, etag=row.etag)


def _times(columns: Columns) -> dict[str, Any]:
    return {
        "received_at": columns.time("ReceivedAt"),
        "lease_until": columns.time_or_none("LeaseUntil"),
        "attempts": columns.number("Attempts", 0),
    }
