"""The budget of all sending processes as rows of the conversations table.

Row keys in the partition `budget`:

    m|{process}     a process that sends notices, and until when
    h|{process}     a process that sends many replies, and how many a second in each lane
"""

import json
import logging
from typing import Any

from typing_extensions import override

from shared.domain.budget import Member, Rows, Told
from shared.domain.errors import NewerRowError, StateUnreadableError
from shared.domain.store import BudgetStore
from shared.storage.columns import FORM_COLUMN, Columns, is_id, read_row
from shared.storage.table_rows import MARK, write_over
from shared.storage.tables import Operation, Row, Table

logger = logging.getLogger(__name__)

BUDGET = "budget"
_MEMBER, _TOLD = "m", "h"
_COLUMNS = (FORM_COLUMN, "Until", "Replies")
# A text holds 32,768 characters, and a lane takes some 45.
MOST_LANES = 500
_MOST_REPLIES = 1_000_000.0
_NAMES_REMEMBERED = 1_000


class TableBudget(BudgetStore):
    """A `BudgetStore` in the conversations table.

    Args:
        table: the table.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._logged: set[str] = set()

    @override
    async def renew(self, member: Member) -> None:
        columns = {"Until": member.until, **MARK}
        row = Row(BUDGET, f"{_MEMBER}|{member.name}", columns, member.version)
        await self._table.write([write_over(row)])

    @override
    async def rows(self) -> Rows:
        members: list[Member] = []
        told: list[Told] = []
        async for page in self._table.query(BUDGET, "h|", "m|~", _COLUMNS):
            for row in page:
                found = self._readable(row)
                if isinstance(found, Member):
                    members.append(found)
                elif found:
                    told.append(found)
        return Rows(members, told)

    @override
    async def tell(self, told: Told) -> None:
        largest = sorted(told.replies.items(), key=lambda each: -each[1])[:MOST_LANES]
        replies = json.dumps({lane: round(rate, 2) for lane, rate in largest})
        columns = {"Until": told.until, "Replies": replies, **MARK}
        row = Row(BUDGET, f"{_TOLD}|{told.name}", columns)
        await self._table.write([Operation("upsert", row)])

    @override
    async def remove(self, row: Member | Told) -> None:
        kind = _MEMBER if isinstance(row, Member) else _TOLD
        await self._table.write(
            [Operation("delete", Row(BUDGET, f"{kind}|{row.name}", {}, row.version))]
        )

    def _readable(self, row: Row) -> Member | Told | None:
        """What a row says; None if it is damaged: then it must not slow the others down."""
        kind, _, name = row.key.partition("|")
        try:
            with read_row(row) as columns:
                if not is_id(name):
                    raise ValueError("its key names no process")
                if kind == _MEMBER:
                    return Member(name, columns.time("Until"), row.etag)
                if kind == _TOLD:
                    return Told(name, columns.time("Until"), _rates(columns), row.etag)
                raise ValueError("its key is of no known kind")
        except NewerRowError:
            # It may send, so it is a member; at worst, what others may send is too little.
            if kind != _MEMBER:
                return None
            return Member(name, _until_of(row), row.etag, is_newer=True)
        except StateUnreadableError as error:
            if row.key not in self._logged and len(self._logged) < _NAMES_REMEMBERED:
                self._logged.add(row.key)
                logger.error("budget: %s; ignored", error)  # noqa: TRY400 - it names the row
            return None


def _rates(columns: Columns) -> dict[str, float]:
    rates: dict[str, Any] = columns.json("Replies", dict)
    for rate in rates.values():
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            raise TypeError("Replies has what is no rate")
        if not 0 <= rate <= _MOST_REPLIES:
            raise ValueError("Replies has what is no rate")
    return rates


def _until_of(row: Row) -> Any:
    """The time in a row of a newer version, if it still has one."""
    try:
        return Columns(row.columns).time_or_none("Until")
    except (TypeError, ValueError):
        return None
