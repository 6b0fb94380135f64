"""A `Container` in memory with Cosmos DB's rules, which passes the contract suite.

What outlives its time is deleted when a test says so, at a time it says.
"""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from shared.domain.errors import ConflictError, StateTooLargeError
from shared.domain.times import utc_now
from shared.storage.cosmos_documents import Document, from_json, to_json

LARGEST_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class _Stored:
    text: str
    document: Document
    written_at: datetime


class MemoryContainer:
    """One container."""

    def __init__(self) -> None:
        self.requests = 0
        self.stored: dict[str, _Stored] = {}
        self._versions = count(1)
        self.now = utc_now

    async def read(self, document_id: str, token: str = "") -> Document | None:
        del token
        self.requests += 1
        stored = self.stored.get(document_id)
        if stored is None:
            return None
        columns = {name: from_json(value) for name, value in json.loads(stored.text).items()}
        return replace(stored.document, columns=columns)

    async def create(self, document: Document) -> Document:
        self.requests += 1
        if document.id in self.stored:
            raise ConflictError("409 Conflict")
        return self._write(document)

    async def replace(self, document: Document) -> Document:
        self.requests += 1
        self._check(document.id, document.etag)
        if document.id not in self.stored:
            raise ConflictError("404 NotFound")
        return self._write(document)

    async def delete(self, document_id: str, etag: str = "") -> None:
        self.requests += 1
        self._check(document_id, etag)
        self.stored.pop(document_id, None)

    async def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        self.requests += 1
        before = self.now() - (older_than or timedelta(0))
        for name, stored in list(self.stored.items()):
            if user in stored.document.users and (not older_than or stored.written_at <= before):
                yield name

    def outlive(
        self, time_to_live: timedelta, keep: Callable[[str], bool] = lambda _: False
    ) -> list[str]:
        """Delete what was last written so long ago, as Cosmos DB does; returns the ids."""
        over = [
            name
            for name, stored in self.stored.items()
            if self.now() - stored.written_at >= time_to_live and not keep(name)
        ]
        for name in over:
            del self.stored[name]
        return over

    def _check(self, document_id: str, etag: str) -> None:
        stored = self.stored.get(document_id)
        if etag and stored and stored.document.etag != etag:
            raise ConflictError("412 PreconditionFailed")

    def _write(self, document: Document) -> Document:
        assert not set(document.id) & set("/\\#?"), "an id holds a forbidden character"
        assert 1 <= len(document.id) <= 255, "an id has 1 to 255 characters"
        text = json.dumps({name: to_json(value) for name, value in document.columns.items()})
        if len(text) > LARGEST_BYTES:
            raise StateTooLargeError("413 RequestEntityTooLarge")
        version = next(self._versions)
        now = self.now()
        written = replace(document, etag=f'"{version}"', token=f"0:{version}", written_at=now)
        self.stored[document.id] = _Stored(text, replace(written, token=""), now)
        return written
