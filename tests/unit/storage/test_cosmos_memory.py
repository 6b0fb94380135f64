"""What a process remembers of documents, and for how long."""

from datetime import timedelta

import pytest

from shared.domain.errors import ConflictError
from shared.storage import cosmos_memory
from shared.storage.cosmos_documents import Document
from shared.storage.cosmos_memory import REMEMBERED_FOR, DocumentMemory, RememberedContainer
from tests.bot_in_memory import Clock
from tests.memory_container import MemoryContainer

LONG = timedelta(days=1)


class Case:
    """A container that is remembered, and the requests that reach the one behind it."""

    def __init__(self, lives: timedelta = LONG) -> None:
        self.clock = Clock()
        self.behind = MemoryContainer()
        self.behind.now = self.clock
        self.container = RememberedContainer(self.behind, DocumentMemory(lives, self.clock))

    async def reads(self, document_id: str) -> int:
        """The requests that reading it makes."""
        before = self.behind.requests
        await self.container.read(document_id)
        return self.behind.requests - before


async def test_what_was_written_or_read_is_not_read_again() -> None:
    case = Case()
    created = await case.container.create(Document("one", {"State": b"1"}))
    assert await case.container.read("one") == created
    assert await case.reads("one") == 0
    await case.behind.create(Document("two"))
    assert [await case.reads("two"), await case.reads("two")] == [1, 0]
    replaced = await case.container.replace(Document("one", {"State": b"2"}))
    assert await case.container.read("one") == replaced


async def test_what_is_deleted_or_could_not_be_written_is_forgotten() -> None:
    case = Case()
    await case.container.create(Document("one"))
    await case.container.delete("one")
    assert await case.container.read("one") is None
    await case.container.create(Document("two"))
    await case.behind.delete("two")
    with pytest.raises(ConflictError):
        await case.container.replace(Document("two"))
    assert await case.container.read("two") is None


async def test_nothing_is_remembered_for_longer_than_five_minutes() -> None:
    case = Case()
    await case.container.create(Document("one"))
    case.clock.sleep(REMEMBERED_FOR.total_seconds() - 1)
    assert await case.reads("one") == 0
    case.clock.sleep(1)
    assert await case.reads("one") == 1


async def test_what_cosmos_db_has_ended_is_not_remembered() -> None:
    case = Case(lives=timedelta(seconds=160))
    await case.behind.create(Document("one"))
    case.clock.sleep(100)
    assert [await case.reads("one"), await case.reads("one")] == [1, 0]
    case.clock.sleep(60)
    case.behind.outlive(timedelta(seconds=160))
    assert await case.container.read("one") is None


async def test_the_oldest_goes_if_there_are_too_many_or_they_are_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cosmos_memory, "MOST_DOCUMENTS", 2)
    monkeypatch.setattr(cosmos_memory, "MOST_BYTES", 100)
    case = Case()
    for name in ("one", "two", "three"):
        await case.container.create(Document(name))
    assert [await case.reads(name) for name in ("two", "three", "one")] == [0, 0, 1]
    await case.container.create(Document("large", {"Private": {"ann": {"State": bytes(90)}}}))
    assert await case.reads("large") == 1
    assert await case.reads("one") == 1
