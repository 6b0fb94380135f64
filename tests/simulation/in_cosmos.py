"""The same simulation with the state in Cosmos DB, whose requests are chosen among the others.

What outlives its time to live vanishes, too. Whatever the turn and the sweep promise, they promise
here; and no document is deleted while a row names it.
"""

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import pytest

from shared.domain.conversation import Bags, Conversation
from shared.settings.cosmos import TIME_TO_LIVE_MARGIN_SECONDS
from shared.storage.cosmos_documents import Document
from shared.storage.cosmos_memory import DocumentMemory, RememberedContainer
from shared.storage.cosmos_store import CosmosStore
from shared.storage.table_store import TableStore
from shared.storage.tables import Operation, Row, Table
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable
from tests.simulation.explore import AtRandom, Ran, ran
from tests.simulation.loop import ORIGIN
from tests.simulation.scenario import (
    EXPIRE_AFTER,
    KINDS,
    Kind,
    Mutant,
    Simulation,
    random_scenario,
    writes_in_doubt,
)
from tests.simulation.world import ScheduledTable, Violation, World, at_once

MARGIN = timedelta(seconds=TIME_TO_LIVE_MARGIN_SECONDS)
# So a turn that changes nothing leaves a document that is younger than a tenth of this.
SPARE_TIME = EXPIRE_AFTER


@dataclass(frozen=True)
class _Found:
    """A document as the world tells answers apart."""

    document: Document

    @property
    def key(self) -> str:
        return self.document.id

    @property
    def etag(self) -> str:
        return self.document.etag


class ScheduledContainer:
    """A `Container` in memory, each of whose requests waits to be chosen.

    Args:
        world: the world.
        table: the table that a watcher takes its writes to be to, if any.
        time_to_live: of its documents.
        may_go: is asked about each document that is to be deleted.
    """

    def __init__(
        self,
        world: World,
        table: ScheduledTable | None,
        time_to_live: timedelta,
        may_go: Callable[[str], bool],
    ) -> None:
        self.memory = MemoryContainer()
        self.memory.now = lambda: world.now
        self._world = world
        self._table = table
        self._time_to_live = time_to_live
        self._may_go = may_go
        self._written_by: dict[str, str] = {}  # the turn that wrote each document last

    def _outlive(self) -> None:
        """Let go what has outlived its time.

        But not what a turn has written whose commit is under way: that one stands still between its
        two writes for longer than a conversation lasts is too long for promises (docs/cosmos.md).
        """
        self.memory.outlive(self._time_to_live, keep=self._is_being_committed)

    def _is_being_committed(self, document_id: str) -> bool:
        name = self._written_by.get(document_id, "")
        origin, task = self._world.roots.get(name, (None, None))
        return bool(origin and origin.process.alive and task and not task.done())

    async def read(self, document_id: str, token: str = "") -> Document | None:
        del token

        def perform() -> _Found | None:
            self._outlive()
            document = at_once(self.memory.read(document_id))
            return _Found(document) if document else None

        what = f"read {self._called(document_id)}"
        found: _Found | None = await self._world.request("read", what, perform=perform)
        return found.document if found else None

    async def create(self, document: Document) -> Document:
        return await self._write("insert", document, self.memory.create)

    async def replace(self, document: Document) -> Document:
        return await self._write("replace", document, self.memory.replace)

    async def delete(self, document_id: str, etag: str = "") -> None:
        async def delete(document: Document) -> Document:
            if not self._may_go(document.id):
                raise Violation(f"document {document.id} is deleted, and a row names it")
            await self.memory.delete(document.id, document.etag)
            return document

        await self._write("delete", Document(document_id, etag=etag), delete)

    def about(self, user: str, older_than: timedelta | None = None) -> AsyncIterator[str]:
        raise NotImplementedError("nobody is erased here")

    async def _write(
        self,
        kind: Literal["insert", "replace", "delete"],
        document: Document,
        do: Callable[[Document], Any],
    ) -> Document:
        writer = ORIGIN.get().name

        def perform() -> Document:
            self._outlive()
            self._written_by[document.id] = writer
            written: Document = at_once(do(document))
            return written

        written: Document = await self._world.request(
            "write",
            f"{kind} {self._called(document.id)}",
            table=self._table,
            operations=[Operation(kind, Row("document", document.id, {}, document.etag))],
            perform=perform,
        )
        return written

    def _called(self, document_id: str) -> str:
        key, _, version = document_id.partition("|")
        return f"document {self._world.names.get(key, key[:10])} {version[:6]}"


class CosmosSimulation(Simulation):
    """One run of a scenario, with the state in Cosmos DB."""

    documents: ScheduledContainer | None = None

    def _store(self, conversations: Table, users: Table) -> TableStore:
        if self.documents is None:
            ever = timedelta(days=9999)
            lives = EXPIRE_AFTER + self.scenario.resume_within + MARGIN + SPARE_TIME
            self.documents = ScheduledContainer(self.world, None, lives, self._is_unnamed)
            self.user_documents = ScheduledContainer(self.world, self.users, ever, lambda _: True)
        at_once_too = isinstance(conversations, MemoryTable)
        # Each process has a store of its own, and so a memory.
        lives = EXPIRE_AFTER + self.scenario.resume_within + MARGIN
        memory = DocumentMemory(timedelta(0) if at_once_too else lives, lambda: self.world.now)
        return CosmosStore(
            conversations,
            users,
            self.scenario.shards,
            documents=self.documents.memory if at_once_too else self.documents,
            user_documents=self.user_documents.memory if at_once_too else self.user_documents,
            memory=memory,
            spare_time=lambda: SPARE_TIME,
            now=lambda: self.world.now,
        )

    def _is_unnamed(self, document_id: str) -> bool:
        rows = self.conversations.memory.rows.values()
        kept = (json.loads(row.columns.get("Kept") or "{}") for row in rows)
        # Once its time is over, a sweep deletes it without a write of the row, which is in use.
        now = self.world.now.isoformat()
        named = [each["bags"] for each in kept if each and each["until"] > now and "bags" in each]
        return document_id not in [*(row.columns.get("Bags") for row in rows), *named]


def cosmos_simulation(
    seed: int, mutant: Mutant | None = None, kind: Kind | None = None
) -> CosmosSimulation:
    """The run that the seed stands for."""
    chance = random.Random(seed)
    return CosmosSimulation(random_scenario(chance, kind, KINDS), AtRandom(chance), mutant)


def run_seed_in_cosmos(seed: int, mutant: Mutant | None = None, kind: Kind | None = None) -> Ran:
    """Run it; a violation comes back with its trace."""
    return ran(seed, cosmos_simulation(seed, mutant, kind), "--cosmos ")


# Ways to break it


class InTheStore(Mutant):
    """Puts another method in the place of one of the store's, or of the class that is named."""

    def __init__(self, name: str, method: Callable[..., Any], where: type = CosmosStore) -> None:
        self._name = name
        self._method = method
        self._where = where

    @contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._where, self._name, self._method)
            yield


_save, _written = CosmosStore.save, CosmosStore._written
_read = RememberedContainer.read


async def row_first(store: CosmosStore, conversation: Conversation, **rest: Any) -> Conversation:
    """The row names a document that is not there yet."""
    documents, late = store._documents, []

    class Later:
        async def create(self, document: Document) -> Document:
            late.append(document)
            return document

        def __getattr__(self, name: str) -> Any:
            return getattr(documents, name)

    store._documents = Later()
    try:
        saved = await _save(store, conversation, **rest)
    finally:
        store._documents = documents
    for document in late:
        await documents.create(document)
    return saved


async def old_one_first(
    store: CosmosStore, conversation: Conversation, **rest: Any
) -> Conversation:
    """The document before is deleted, then the row names the new one."""
    if conversation.bags:
        await store._delete(conversation.bags)
    return await _save(store, conversation, **rest)


async def same_document(
    store: CosmosStore, conversation: Conversation, private: Any, **rest: Any
) -> Bags | None:
    """The document that the row names is written over."""
    before = conversation.bags
    bags = await _written(store, replace(conversation, bags=before), private, **rest)
    if bags is None or before is None or bags.id == before.id:
        return bags
    document = await store._documents.read(bags.id)
    await store._documents.delete(bags.id)
    if document:
        await store._documents.replace(replace(document, id=before.id, etag=""))
    return replace(bags, id=before.id)


async def deleted_unseen(store: CosmosStore, address: Any, bags: Bags) -> None:
    """Whoever loses deletes the document that it wrote, without a look at the row."""
    del address
    await store._delete(bags)


async def of_that_conversation(
    container: RememberedContainer, document_id: str, token: str = ""
) -> Document | None:
    """Whatever is remembered of a conversation stands for the document that its row names."""
    key = document_id.partition("|")[0]
    remembered = [name for name in container._memory._documents if name.startswith(key)]
    return await _read(container, remembered[-1] if remembered else document_id, token)


MUTANTS: dict[str, tuple[Kind | None, Callable[[], Mutant]]] = {
    "the row first, its document second": (None, lambda: InTheStore("save", row_first)),
    "the document before deleted first": (None, lambda: InTheStore("save", old_one_first)),
    "one document written over": (None, lambda: InTheStore("_written", same_document)),
    "a loser's document deleted unseen": (
        writes_in_doubt,
        lambda: InTheStore("_delete_if_unnamed", deleted_unseen),
    ),
    "what is remembered stands for what the row names": (
        None,
        lambda: InTheStore("read", of_that_conversation, RememberedContainer),
    ),
}
