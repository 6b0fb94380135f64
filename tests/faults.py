"""A `Table` and a `Container` that fail or pause where a test says so, before a real one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from shared.domain.errors import StorageUnavailableError
from shared.storage.cosmos_documents import Container, Document
from shared.storage.tables import Operation, Row, Table

Hook = Callable[[str], Awaitable[None]]
T = TypeVar("T")


class FaultyTable:
    """Passes everything on; `before` and `after` may raise or wait.

    Each is called with what is done: "get c|...", "write insert c|... upsert d|...", "query d|".
    An error from `after` is a lost answer: the request has taken effect.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.before: Hook = _nothing
        self.after: Hook = _nothing

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        await self.before(f"get {key}")
        row = await self._table.get(partition, key, select)
        await self.after(f"get {key}")
        return row

    async def write(self, operations: Sequence[Operation]) -> list[str]:
        what = "write " + " ".join(f"{each.kind} {each.row.key}" for each in operations)
        await self.before(what)
        etags = await self._table.write(operations)
        await self.after(what)
        return etags

    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        await self.before(f"query {first}")
        async for page in self._table.query(partition, first, last, select, page_size):
            yield page


class FaultyContainer:
    """As `FaultyTable`: "read key|...", "create ..", "replace ..", "delete ..", "about user"."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.before: Hook = _nothing
        self.after: Hook = _nothing

    async def read(self, document_id: str, token: str = "") -> Document | None:
        return await self._do(f"read {document_id}", self._container.read(document_id, token))

    async def create(self, document: Document) -> Document:
        return await self._do(f"create {document.id}", self._container.create(document))

    async def replace(self, document: Document) -> Document:
        return await self._do(f"replace {document.id}", self._container.replace(document))

    async def delete(self, document_id: str, etag: str = "") -> None:
        await self._do(f"delete {document_id}", self._container.delete(document_id, etag))

    async def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        await self.before(f"about {user}")
        async for document_id in self._container.about(user, older_than):
            yield document_id

    async def _do(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            await self.before(what)
        except BaseException:
            work.close()
            raise
        done = await work
        await self.after(what)
        return done


async def _nothing(_: str) -> None:
    return


def once(what: str, error: BaseException | None = None) -> Hook:
    """A hook that raises at the first request whose description holds `what`."""
    armed = [True]

    async def hook(doing: str) -> None:
        if what in doing and armed:
            armed.clear()
            raise error or StorageUnavailableError(f"no answer to {doing}")

    return hook


def do_once(what: str, work: Callable[[], Awaitable[object]]) -> Hook:
    """A hook that does something else first, at the first request that holds `what`."""
    armed = [True]

    async def hook(doing: str) -> None:
        if what in doing and armed:
            armed.clear()
            await work()

    return hook
