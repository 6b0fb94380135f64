"""What every `Table` does: the one on Azurite, and the one in memory that stands for it."""

import asyncio

import pytest

from shared.domain.errors import ConflictError, StateTooLargeError
from shared.storage.observed_table import ObservedTable
from shared.storage.tables import Operation, Row, Table
from tests.memory_table import MemoryTable


@pytest.fixture(params=["azurite", "memory", "observed"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "azurite":
        azure: Table = request.getfixturevalue("two_azure_tables")[0]
        return azure
    memory = MemoryTable()
    return memory if request.param == "memory" else ObservedTable(memory)


def insert(key: str, **columns: object) -> Operation:
    return Operation("insert", Row("s001", key, columns))


def replace(key: str, etag: str, **columns: object) -> Operation:
    return Operation("replace", Row("s001", key, columns, etag))


def upsert(key: str, **columns: object) -> Operation:
    return Operation("upsert", Row("s001", key, columns))


def delete(key: str, etag: str = "") -> Operation:
    return Operation("delete", Row("s001", key, {}, etag))


async def keys(table: Table, first: str, last: str, page_size: int = 500) -> list[list[str]]:
    pages = table.query("s001", first, last, ["RowKey"], page_size)
    return [[row.key for row in page] async for page in pages if page]


async def test_a_row_comes_back_as_it_was_written(table: Table) -> None:
    (etag,) = await table.write([insert("c|1", Text="päß 😀", Blob=b"\0\xff", Count=3, Yes=True)])
    row = await table.get("s001", "c|1")
    assert row == Row(
        "s001", "c|1", {"Text": "päß 😀", "Blob": b"\0\xff", "Count": 3, "Yes": True}, etag
    )


async def test_a_missing_row_is_none(table: Table) -> None:
    assert await table.get("s001", "c|none") is None


async def test_select_leaves_the_other_columns_out(table: Table) -> None:
    await table.write([insert("c|1", A="a", B="b")])
    row = await table.get("s001", "c|1", ["B", "Absent"])
    assert row is not None
    assert row.columns == {"B": "b"}
    assert row.etag


async def test_a_second_insert_conflicts_and_changes_nothing(table: Table) -> None:
    await table.write([insert("c|1", A="first")])
    with pytest.raises(ConflictError):
        await table.write([insert("c|1", A="second")])
    row = await table.get("s001", "c|1")
    assert row is not None
    assert row.columns["A"] == "first"


async def test_replace_drops_the_columns_it_does_not_name(table: Table) -> None:
    (etag,) = await table.write([insert("c|1", A="a", B="b")])
    (newer,) = await table.write([replace("c|1", etag, B="c")])
    row = await table.get("s001", "c|1")
    assert row == Row("s001", "c|1", {"B": "c"}, newer)
    assert newer != etag


@pytest.mark.parametrize("make", [replace, delete], ids=["replace", "delete"])
async def test_a_stale_etag_conflicts_and_changes_nothing(table: Table, make: object) -> None:
    assert callable(make)
    (stale,) = await table.write([insert("c|1", A="a")])
    (current,) = await table.write([replace("c|1", stale, A="b")])
    with pytest.raises(ConflictError):
        await table.write([make("c|1", stale)])
    row = await table.get("s001", "c|1")
    assert row == Row("s001", "c|1", {"A": "b"}, current)


async def test_replacing_a_missing_row_conflicts(table: Table) -> None:
    (etag,) = await table.write([insert("c|1")])
    await table.write([delete("c|1", etag)])
    with pytest.raises(ConflictError):
        await table.write([replace("c|1", etag, A="a")])


async def test_deleting_a_missing_row_is_no_error(table: Table) -> None:
    (etag,) = await table.write([insert("c|1")])
    assert await table.write([delete("c|1", etag)]) == [""]
    assert await table.write([delete("c|1", etag)]) == [""]
    assert await table.write([delete("c|1")]) == [""]


async def test_deleting_a_missing_row_in_a_transaction_conflicts_and_changes_nothing(
    table: Table,
) -> None:
    with pytest.raises(ConflictError):
        await table.write([upsert("c|1"), delete("c|none")])
    assert await table.get("s001", "c|1") is None


async def test_of_concurrent_replaces_with_one_etag_exactly_one_wins(table: Table) -> None:
    (etag,) = await table.write([insert("c|1")])
    results = await asyncio.gather(
        *(table.write([replace("c|1", etag, N=number)]) for number in range(10)),
        return_exceptions=True,
    )
    lost = [result for result in results if isinstance(result, ConflictError)]
    assert len(lost) == 9


async def test_a_transaction_writes_all_its_rows(table: Table) -> None:
    (etag,) = await table.write([insert("c|1", A="a")])
    await table.write([insert("d|old")])
    etags = await table.write([replace("c|1", etag, A="b"), delete("d|old"), upsert("d|new")])
    row = await table.get("s001", "c|1")
    assert row is not None
    assert (row.columns, row.etag) == ({"A": "b"}, etags[0])
    assert await keys(table, "d|", "d|~") == [["d|new"]]


async def test_a_transaction_with_one_conflict_writes_nothing(table: Table) -> None:
    (stale,) = await table.write([insert("c|1", A="a")])
    await table.write([replace("c|1", stale, A="b")])
    with pytest.raises(ConflictError):
        await table.write([upsert("d|1"), replace("c|1", stale, A="c")])
    assert await keys(table, "d|", "d|~") == []


async def test_a_query_yields_the_range_in_order_and_in_pages(table: Table) -> None:
    for number in (5, 3, 1, 4, 2, 9):
        await table.write([upsert(f"d|{number}")])
    await table.write([upsert("c|1")])
    pages = await keys(table, "d|2", "d|9", page_size=2)
    assert [key for page in pages for key in page] == ["d|2", "d|3", "d|4", "d|5"]
    assert max(len(page) for page in pages) == 2


async def test_a_query_that_selects_nothing_gives_keys_and_versions(table: Table) -> None:
    (etag,) = await table.write([upsert("d|1", A="a")])
    (page,) = [page async for page in table.query("s001", "d|", "d|~") if page]
    assert page == [Row("s001", "d|1", {}, etag)]


async def test_a_query_selects_as_a_read_does(table: Table) -> None:
    (etag,) = await table.write([upsert("d|1", A="a", B="b")])
    (page,) = [page async for page in table.query("s001", "d|", "d|~", ["B", "Absent"]) if page]
    assert page == [Row("s001", "d|1", {"B": "b"}, etag)]


async def test_a_query_of_an_empty_range_yields_no_row(table: Table) -> None:
    await table.write([upsert("c|1")])
    assert await keys(table, "d|", "d|~") == []


async def test_a_property_above_64_kib_is_refused_as_too_large(table: Table) -> None:
    with pytest.raises(StateTooLargeError):
        await table.write([insert("c|1", Blob=bytes(65_537))])
    assert await table.get("s001", "c|1") is None
