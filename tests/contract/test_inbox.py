"""What an `Inbox` does, in a table on Azurite and in one in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import ConflictError, NewerRowError
from shared.domain.inbox import Waiting
from shared.storage.table_inbox import TableInbox
from shared.storage.tables import Operation, Row, Table
from tests.memory_table import MemoryTable

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TALK, OTHER = "a" * 32, "b" * 32


@pytest.fixture(params=["azurite", "memory"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "memory":
        return MemoryTable()
    azure: Table = request.getfixturevalue("two_azure_tables")[0]
    return azure


@pytest.fixture
def inbox(table: Table) -> TableInbox:
    return TableInbox(table)


def waiting(place: str, conversation: str = TALK, content: bytes = b"words") -> Waiting:
    return Waiting(conversation, place, content, NOW)


async def test_the_first_place_comes_first_whatever_came_first(inbox: TableInbox) -> None:
    assert await inbox.first(TALK) is None
    for each in waiting("2"), waiting("1"), waiting("0", OTHER):
        await inbox.put(each)
    first = await inbox.first(TALK)
    assert first
    assert (first.place, first.content, first.received_at) == ("1", b"words", NOW)
    await inbox.remove(first)
    await inbox.remove(first)
    assert (await inbox.first(TALK) or first).place == "2"


async def test_a_copy_changes_nothing(inbox: TableInbox) -> None:
    await inbox.put(waiting("1"))
    await inbox.put(waiting("1", content=b"others"))
    first = await inbox.first(TALK)
    assert first
    assert first.content == b"words"


async def test_a_lease_is_for_one(inbox: TableInbox) -> None:
    await inbox.put(waiting("1"))
    first = await inbox.first(TALK)
    assert first
    leased = await inbox.save(first.begun(NOW))
    with pytest.raises(ConflictError):
        await inbox.save(first.begun(NOW))
    with pytest.raises(ConflictError):
        await inbox.remove(first)
    found = await inbox.first(TALK)
    assert found == leased
    assert found.attempts == 1
    assert found.is_leased(NOW + timedelta(seconds=59))
    assert not found.is_leased(NOW + timedelta(seconds=60))


async def test_the_largest_activity_fits(inbox: TableInbox) -> None:
    content = bytes(range(256)) * 1_100
    await inbox.put(waiting("1", content=content))
    first = await inbox.first(TALK)
    assert first
    assert first.content == content


async def test_those_that_wait_for_long_are_listed(inbox: TableInbox) -> None:
    await inbox.put(waiting("1"))
    await inbox.put(waiting("1", OTHER))
    found = [each async for page in inbox.waiting_since(NOW) for each in page]
    assert found == []
    later = NOW + timedelta(seconds=1)
    found = [each async for page in inbox.waiting_since(later) for each in page]
    assert [each.conversation for each in found] == [TALK, OTHER]


async def test_a_damaged_row_keeps_nobody_waiting_and_a_newer_one_is_left_alone(
    inbox: TableInbox, table: Table
) -> None:
    row = Row("a", f"{TALK}|1", {"ReceivedAt": "soon", "Content00": b"words"})
    await table.write([Operation("upsert", row)])
    damaged = await inbox.first(TALK)
    assert damaged
    assert damaged.content == b""
    await inbox.remove(damaged)
    await table.write([Operation("upsert", Row("a", f"{TALK}|1", {"Form": 2}))])
    with pytest.raises(NewerRowError):
        await inbox.first(TALK)
