"""What a `BudgetStore` does, in a table on Azurite and in one in memory."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.budget import Member, Rows, Told
from shared.domain.errors import ConflictError
from shared.storage.columns import FORM, FORM_COLUMN
from shared.storage.table_budget import BUDGET, MOST_LANES, TableBudget
from shared.storage.tables import Operation, Row, Table
from tests.memory_table import MemoryTable

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
LANE = "f" * 32


@pytest.fixture(params=["azurite", "memory"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "memory":
        return MemoryTable()
    azure: Table = request.getfixturevalue("two_azure_tables")[0]
    return azure


@pytest.fixture
def budget(table: Table) -> TableBudget:
    return TableBudget(table)


async def only_member(budget: TableBudget) -> Member:
    (member,) = (await budget.rows()).members
    return member


async def test_there_are_no_rows_at_first(budget: TableBudget) -> None:
    assert await budget.rows() == Rows([], [])


async def test_a_member_is_seen_and_renewed_at_its_version(budget: TableBudget) -> None:
    await budget.renew(Member("a", NOW))
    member = await only_member(budget)
    assert (member.name, member.until) == ("a", NOW)
    await budget.renew(Member("a", LATER, member.version))
    assert (await only_member(budget)).until == LATER


async def test_a_late_write_turns_no_time_back(budget: TableBudget) -> None:
    await budget.renew(Member("a", NOW))
    first = await only_member(budget)
    await budget.renew(Member("a", LATER, first.version))
    for late in Member("a", NOW), Member("a", NOW, first.version):
        with pytest.raises(ConflictError):
            await budget.renew(late)
    with pytest.raises(ConflictError):
        await budget.remove(first)
    assert (await only_member(budget)).until == LATER


async def test_a_member_that_is_gone_is_not_renewed(budget: TableBudget) -> None:
    await budget.renew(Member("a", NOW))
    member = await only_member(budget)
    await budget.remove(member)
    await budget.remove(member)
    with pytest.raises(ConflictError):
        await budget.renew(Member("a", LATER, member.version))
    assert await budget.rows() == Rows([], [])


async def test_what_is_told_last_is_what_is_read(budget: TableBudget) -> None:
    await budget.tell(Told("a", NOW, {LANE: 7.0}))
    await budget.tell(Told("a", LATER, {LANE: 2.5, "other": 1.0}))
    (told,) = (await budget.rows()).told
    assert (told.name, told.until) == ("a", LATER)
    assert told.replies == {LANE: 2.5, "other": 1.0}
    await budget.remove(told)
    assert await budget.rows() == Rows([], [])


async def test_of_very_many_lanes_the_busiest_are_told(budget: TableBudget) -> None:
    rates = {f"{number:032x}": float(number) for number in range(MOST_LANES + 100)}
    await budget.tell(Told("a", NOW, rates))
    (told,) = (await budget.rows()).told
    assert min(told.replies.values()) == 100
    assert len(told.replies) == MOST_LANES


DAMAGED: list[tuple[str, dict[str, Any]]] = [
    ("m|x", {}),
    ("m|x", {"Until": "soon"}),
    ("m|x", {"Until": 5}),
    ("m|x", {"Until": datetime(9999, 1, 1, tzinfo=UTC)}),
    ("m|x", {"Until": NOW, FORM_COLUMN: "first"}),
    ("m|", {"Until": NOW}),
    ("m|a b", {"Until": NOW}),
    ("k|x", {"Until": NOW}),
    ("h|x", {"Until": NOW, "Replies": "[" * 30_000}),
    ("h|x", {"Until": NOW, "Replies": "[1]"}),
    ("h|x", {"Until": NOW, "Replies": '{"lane": "many"}'}),
    ("h|x", {"Until": NOW, "Replies": '{"lane": true}'}),
    ("h|x", {"Until": NOW, "Replies": '{"lane": -1}'}),
    ("h|x", {"Until": NOW, "Replies": '{"lane": NaN}'}),
    ("h|x", {"Until": NOW, "Replies": b"\x00"}),
    ("h|x", {"Replies": "{}"}),
]


@pytest.mark.parametrize(("key", "columns"), DAMAGED)
async def test_a_damaged_row_is_named_once_and_hurts_nobody(
    table: Table,
    budget: TableBudget,
    caplog: pytest.LogCaptureFixture,
    key: str,
    columns: dict[str, Any],
) -> None:
    await table.write([Operation("insert", Row(BUDGET, key, columns))])
    await budget.renew(Member("a", NOW))
    for _ in range(2):
        rows = await budget.rows()
        assert [each.name for each in rows.members] == ["a"]
        assert not rows.told
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert f"{BUDGET}/{key}" in line.getMessage()


async def test_rows_of_a_newer_version_are_members_and_stay(
    table: Table, budget: TableBudget, caplog: pytest.LogCaptureFixture
) -> None:
    newer: dict[str, Any] = {FORM_COLUMN: FORM + 1}
    for key, columns in [
        ("m|a", {"Until": LATER, **newer}),
        ("m|b", {"Until": "in its own way", **newer}),
        ("m|c", dict(newer)),
        ("h|a", newer),
    ]:
        await table.write([Operation("insert", Row(BUDGET, key, columns))])
    rows = await budget.rows()
    assert [(each.name, each.until) for each in rows.members] == [
        ("a", LATER),
        ("b", None),
        ("c", None),
    ]
    assert not rows.told
    assert not list(rows.lapsed(NOW + timedelta(days=1)))
    assert not caplog.records
