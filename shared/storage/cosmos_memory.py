"""What a process remembers of documents, so that the next turn need not read them again.

Only for documents whose content never changes under their id: those of `CosmosStore`. Whether one
counts is not decided here: a row names it, or does not.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from typing_extensions import override

from shared.domain.errors import StoreError
from shared.domain.times import utc_now
from shared.storage.cosmos_documents import Container, Document

# The next turn comes most often within seconds. What somebody has deleted by hand, in the portal or
# with another program, is at most so long remembered.
REMEMBERED_FOR = timedelta(minutes=5)

MOST_DOCUMENTS = 1_000
MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Remembered:
    document: Document
    until: datetime
    size: int


class DocumentMemory:
    """The documents that a process has written or read last, within bounds of time and size.

    Args:
        lives: what a container deletes is at least so old.
        now: the clock.
    """

    def __init__(self, lives: timedelta, now: Callable[[], datetime] = utc_now) -> None:
        self._lives = lives
        self._now = now
        self._documents: dict[str, _Remembered] = {}  # in the order of time
        self._bytes = 0

    def get(self, document_id: str) -> Document | None:
        """The document, or None if it is not remembered, or not any more."""
        found = self._documents.get(document_id)
        return found.document if found and found.until > self._now() else None

    def put(self, document: Document) -> None:
        """Remember it; what came first is forgotten where there is no room."""
        self.drop(document.id)
        now = self._now()
        until = min(now + REMEMBERED_FOR, (document.written_at or now) + self._lives)
        size = _size(document.columns)
        self._documents[document.id] = _Remembered(document, until, size)
        self._bytes += size
        while self._documents:
            first_id, first = next(iter(self._documents.items()))
            has_room = len(self._documents) <= MOST_DOCUMENTS and self._bytes <= MOST_BYTES
            if has_room and first.until > now:
                break
            self.drop(first_id)

    def drop(self, document_id: str) -> None:
        """Forget it, if it is remembered."""
        dropped = self._documents.pop(document_id, None)
        if dropped:
            self._bytes -= dropped.size


class RememberedContainer(Container):
    """A `Container` that reads a document from memory, if this process wrote or read it lately.

    Args:
        container: where the documents are.
        memory: of this process.
    """

    def __init__(self, container: Container, memory: DocumentMemory) -> None:
        self._container = container
        self._memory = memory

    @override
    async def read(self, document_id: str, token: str = "") -> Document | None:
        document = self._memory.get(document_id)
        if document is None:
            document = await self._container.read(document_id, token)
            if document:
                self._memory.put(document)
        return document

    @override
    async def create(self, document: Document) -> Document:
        written = await self._container.create(document)
        self._memory.put(written)
        return written

    @override
    async def replace(self, document: Document) -> Document:
        try:
            written = await self._container.replace(document)
        except StoreError:  # it is gone, or nobody knows
            self._memory.drop(document.id)
            raise
        self._memory.put(written)
        return written

    @override
    async def delete(self, document_id: str, etag: str = "") -> None:
        self._memory.drop(document_id)
        await self._container.delete(document_id, etag)

    @override
    def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        return self._container.about(user, older_than)


def _size(value: Any) -> int:
    match value:
        case bytes() | str():
            return len(value)
        case Mapping():
            return sum(_size(name) + _size(each) for name, each in value.items())
    return 0
