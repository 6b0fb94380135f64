"""What `ObservedTable` counts. Its spans are in tests/unit/test_telemetry.py."""

import pytest

from shared.domain.errors import StorageUnavailableError
from shared.storage.observed_table import ObservedTable
from shared.storage.tables import Operation, Row
from tests.faults import FaultyTable, once
from tests.memory_table import MemoryTable


async def test_each_read_each_write_and_each_page_is_a_request() -> None:
    memory = MemoryTable()
    table = ObservedTable(memory)
    await table.write([Operation("upsert", Row("s", f"d|{number}")) for number in range(3)])
    await table.get("s", "d|1")
    pages = [page async for page in table.query("s", "d|", "d|~", page_size=2)]
    assert [len(page) for page in pages] == [2, 1]
    assert table.requests == memory.requests == 4


@pytest.mark.parametrize("hook", ["before", "after"])
async def test_a_write_that_fails_is_a_request_too(hook: str) -> None:
    faulty = FaultyTable(MemoryTable())
    setattr(faulty, hook, once("write"))
    table = ObservedTable(faulty)
    with pytest.raises(StorageUnavailableError):
        await table.write([Operation("upsert", Row("s", "d|1"))])
    assert table.requests == 1
