"""A `Table` in memory with Table Storage's rules, which passes the contract suite.

It counts requests, and the rows they have to read: a point read and a range of row keys are
seeks, anything else reads the whole table, as the service does.
"""

from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from itertools import count

from shared.domain.errors import ConflictError, StateTooLargeError
from shared.storage.tables import Operation, Row

MAX_PROPERTY = {bytes: 65_536, str: 32_768}
_FORBIDDEN = frozenset("/\\#?")
_TYPES = (str, bytes, bool, int, float, datetime)


class MemoryTable:
    """One table."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.requests = 0
        self.rows_read = 0
        self._keys: dict[str, list[str]] = {}
        self._versions = count(1)

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        self.requests += 1
        row = self.rows.get((partition, key))
        if row is None:
            return None
        self.rows_read += 1
        return _selected(row, select)

    async def write(self, operations: Sequence[Operation]) -> list[str]:
        self.requests += 1
        _check_transaction(operations)
        alone = len(operations) == 1
        for operation in operations:  # all are checked before any is done
            self._check(operation, alone=alone)
        return [self._do(operation) for operation in operations]

    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        after = first
        while True:
            # Each page is read when it is asked for, as over the network.
            self.requests += 1
            keys = self._keys.get(partition, [])
            start = bisect_left(keys, after)
            page = keys[start : min(start + page_size, bisect_left(keys, last))]
            self.rows_read += len(page)
            # Without a selection the keys alone come, as the client asks for them by name.
            yield [_selected(self.rows[partition, key], select or ("RowKey",)) for key in page]
            if len(page) < page_size:
                return
            after = page[-1] + "\0"

    def scan(self, wanted: Callable[[Row], bool]) -> list[Row]:
        """What a filter on anything but the keys costs: every row is read."""
        self.rows_read += len(self.rows)
        return [row for row in self.rows.values() if wanted(row)]

    def _check(self, operation: Operation, *, alone: bool) -> None:
        row = operation.row
        stored = self.rows.get((row.partition, row.key))
        _check_entity(row)
        match operation.kind:
            case "insert" if stored is not None:
                raise ConflictError("409 EntityAlreadyExists")
            case "replace" | "merge" if stored is None:
                raise ConflictError("404 ResourceNotFound")
            case "delete" if stored is None:
                if not alone:
                    raise ConflictError("404 ResourceNotFound")
                return
        conditional = operation.kind in ("replace", "merge", "delete") and row.etag
        if conditional and stored is not None and stored.etag != row.etag:
            raise ConflictError("412 UpdateConditionNotSatisfied")

    def _do(self, operation: Operation) -> str:
        row = operation.row
        at = (row.partition, row.key)
        keys = self._keys.setdefault(row.partition, [])
        if operation.kind == "delete":
            if self.rows.pop(at, None) is not None:
                del keys[bisect_left(keys, row.key)]
            return ""
        if at not in self.rows:
            insort(keys, row.key)
        etag = f'W/"{next(self._versions)}"'
        before = self.rows[at].columns if operation.kind == "merge" else {}
        self.rows[at] = Row(row.partition, row.key, {**before, **row.columns}, etag)
        return etag


def _selected(row: Row, select: Sequence[str]) -> Row:
    columns = row.columns
    if select:
        columns = {name: columns[name] for name in select if name in columns}
    return Row(row.partition, row.key, dict(columns), row.etag)


def _check_transaction(operations: Sequence[Operation]) -> None:
    places = [(operation.row.partition, operation.row.key) for operation in operations]
    assert 1 <= len(operations) <= 100, "a transaction has 1 to 100 operations"
    assert len({partition for partition, _ in places}) == 1, "a transaction has one partition"
    assert len(set(places)) == len(places), "a transaction writes each row once"


def _check_entity(row: Row) -> None:
    for key in (row.partition, row.key):
        assert len(key) <= 512, "a key has at most 512 characters"
        assert _FORBIDDEN.isdisjoint(key), "a key holds a forbidden character"
    for name, value in row.columns.items():
        assert isinstance(value, _TYPES), name
        if isinstance(value, (str, bytes)) and len(value) > MAX_PROPERTY[type(value)]:
            raise StateTooLargeError(f"400 PropertyValueTooLarge: {name}")
