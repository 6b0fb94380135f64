"""State in Cosmos DB, rows in tables: `CosmosStore` is a `ConversationStore`.

A conversation's row is in Table Storage, as without Cosmos DB. It is the commit of every turn and
every expiry, and names a document with the session's bags:

    create the document ─► commit the row, which names it ─► delete the one it named before

A document is written once, with an id of its own, and counts while a row names it. So nothing is
half-written, although no transaction spans both. A crash leaves a document that no row names, until
its time to live is over. docs/cosmos.md has the rest.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from typing_extensions import override

from shared.domain.conversation import (
    Bags,
    Conversation,
    KeptSession,
    PrivateState,
    Status,
)
from shared.domain.errors import ConflictError, StateUnreadableError, StorageUnavailableError
from shared.domain.identity import Address
from shared.domain.store import Check
from shared.domain.times import COMMIT_TAKES_AT_MOST, utc_now
from shared.domain.users import UserRow
from shared.domain.work import DeadLetter, DueRow
from shared.storage.cosmos_bags import (
    InDocuments,
    UserDocuments,
    bags_in,
    merged_private,
    private_columns,
    private_states,
    users_of,
)
from shared.storage.cosmos_documents import Container, Document
from shared.storage.cosmos_memory import DocumentMemory, RememberedContainer
from shared.storage.table_rows import check_size
from shared.storage.table_store import MAX_ROW_BYTES, TableStore
from shared.storage.tables import Table

logger = logging.getLogger(__name__)

# A turn that changes nothing leaves a document as it is that is younger than this part of the spare
# time of its time to live. The rest is for sweeps that are late.
PART = 10

# If a row names another document at each look, the conversation is busy.
_MOST_LOOKS = 5


class CosmosStore(InDocuments, TableStore):
    """A `ConversationStore` with its rows in two tables and its bags in two containers.

    Args:
        conversations: the table of conversations, due rows and dead letters.
        users: the table of users' lists.
        shard_count: the number of partitions that conversations are spread over.
        documents: the container of conversation state.
        user_documents: the container of user state.
        memory: what this process remembers of documents.
        spare_time: by how much documents live longer than they must; asked for at each write.
        max_row_bytes: the most that a row, or a document, may hold.
        now: the clock.
    """

    KIND = "cosmos"

    def __init__(
        self,
        conversations: Table,
        users: Table,
        shard_count: int,
        *,
        documents: Container,
        user_documents: Container,
        memory: DocumentMemory,
        spare_time: Callable[[], timedelta],
        max_row_bytes: int = MAX_ROW_BYTES,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(conversations, users, shard_count, max_row_bytes)
        self._documents: Container = RememberedContainer(documents, memory)
        self._spare_time = spare_time
        self._now = now
        self._user_documents = UserDocuments(user_documents, max_row_bytes)

    async def load(self, address: Address) -> Conversation | None:
        """See `StateStore.load`; if a session's document is gone, the session is expired."""
        for _ in range(_MOST_LOOKS):
            row = await super().load(address)
            if row is None or row.bags is None:
                return row
            bags = await self._read(row.bags, row.etag)
            if bags is not None:
                return replace(row, state=bags.state, bags=bags)
            again = await self.load_tracking(address)
            if again is not None and again.etag == row.etag:
                logger.warning(
                    "conversation %s/%s: its state is gone from Cosmos DB: its time to live was"
                    " over, or somebody deleted it; it starts over",
                    address.shard,
                    address.key,
                )
                return replace(row, status=Status.EXPIRED, resume_until=None, bags=None)
        raise ConflictError(f"conversation {address.shard}/{address.key} is busy")

    async def _read(self, bags: Bags, etag: str) -> Bags | None:
        try:
            document = await self._documents.read(bags.id, bags.token)
        except StateUnreadableError as error:
            raise StateUnreadableError(str(error), etag) from error
        return bags_in(document, bags, etag) if document else None

    @override
    async def load_kept(self, conversation: Conversation) -> KeptSession | None:
        kept = conversation.kept
        if kept is None or kept.bags is None:
            return kept and replace(kept, state=b"")
        bags = await self._read(kept.bags, conversation.etag)
        return replace(kept, state=bags.state, bags=bags) if bags else None

    @override
    async def delete_kept(self, address: Address, kept: KeptSession | None) -> None:
        if kept and kept.bags:
            # Whoever has resumed it meanwhile has written another document.
            await self._delete(kept.bags)

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        instead_of: Sequence[DueRow] = (),
        private: Sequence[PrivateState] = (),
        forgetting: KeptSession | None = None,
    ) -> Conversation:
        """See `StateStore.save`; the document's time to live begins anew."""
        if conversation.state is None:  # what a sweep writes of one whose state stays
            return await super().save(conversation, due=due, instead_of=instead_of)
        before = conversation.bags
        is_resumed = conversation.goes_on_with(forgetting)
        bags = await self._written(conversation, private, is_resumed=is_resumed)
        is_another = (bags and bags.id) != (before and before.id)
        kept = conversation.kept and replace(conversation.kept, state=None)
        row = replace(conversation, state=_no_state(conversation), bags=bags, kept=kept)
        try:
            saved = await super().save(row, due=due, instead_of=instead_of)
        except ConflictError:
            if bags and is_another:
                await self._delete_if_unnamed(conversation.address, bags)
            raise
        if before and is_another:
            await self._delete(before)
        if forgetting and forgetting.bags:
            await self._delete(forgetting.bags)
        return replace(saved, state=conversation.state, bags=bags)

    @override
    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        if conversation.state is None:
            await super().retry_later(conversation, row, due)
            return
        await super().retry_later(replace(conversation, bags=None), row, due)
        if conversation.bags:
            await self._delete(conversation.bags)

    @override
    async def settle(self, conversation: Conversation) -> None:
        await super().settle(conversation)
        if conversation.bags:  # its state has stayed until now
            await self._delete_if_unnamed(conversation.address, conversation.bags)

    @override
    async def settle_dead(
        self, conversation: Conversation, row: DueRow, letter: DeadLetter
    ) -> None:
        await super().settle_dead(conversation, row, letter)
        if conversation.bags:
            await self._delete_if_unnamed(conversation.address, conversation.bags)

    @override
    async def discard(self, address: Address, etag: str) -> None:
        row = None
        with suppress(StateUnreadableError):  # then its document is left to its time to live
            row = await self.load_tracking(address)
        await super().discard(address, etag)
        if row and row.bags and row.etag == etag:
            await self._delete(row.bags)

    async def save_user(
        self,
        user: str,
        row: UserRow | None,
        joining: Address | None = None,
        *,
        session: str = "",
    ) -> tuple[UserRow | None, str]:
        """See `StateStore.save_user`; the list is written first, so that it is never incomplete."""
        index_etag = ""
        if joining is not None:
            _, index_etag = await super().save_user(user, None, joining, session=session)
        return (await self._user_documents.save(user, row) if row else None), index_etag

    async def delete_user(self, user: str, make_sure: Check | None = None) -> bool:
        """See `StateStore.delete_user`; also deletes documents about the user that crashes left."""
        async for document_id in self._documents.about(user, older_than=COMMIT_TAKES_AT_MOST):
            bags = Bags(document_id, session="")
            address = self.address(document_id.partition("|")[0])
            await self._delete_if_unnamed(address, bags)
        return await self._user_documents.delete(user, make_sure)

    async def delete_private(
        self, address: Address, user: str, make_sure: Check | None = None
    ) -> bool:
        """See `StateStore.delete_private`; the bag is in the document, the own row in the table."""
        had_bag = await super().delete_private(address, user, make_sure)
        await TableStore.delete_private(self, address, user, make_sure)
        return had_bag

    async def _delete_private_of(self, address: Address, life: str) -> None:
        """Nothing: private bags went with the document."""

    @override
    async def delete_leftovers(self, row: DueRow, gone_at: datetime | None = None) -> bool:
        return await super().delete_leftovers(row, gone_at) if gone_at else True

    async def _written(
        self,
        conversation: Conversation,
        private: Sequence[PrivateState],
        *,
        is_resumed: bool = False,
    ) -> Bags | None:
        """Write the document that the row will name; None if there is nothing to keep.

        A session that `is_resumed` from beside another one gets a new one: a sweep may just be
        deleting the old one, as its time is over.
        """
        before, state = conversation.bags, conversation.state or b""
        kept = merged_private(conversation, private)
        if not state and not kept:
            return None
        if (
            before
            and not is_resumed
            and before.session == conversation.life
            and (before.state, before.private) == (state, kept)
        ):
            if self._lives_on(before, conversation):
                return before
            # Written although it is equal: its time to live counts from the last write.
            document = await self._documents.replace(_bags_document(before, conversation))
            return _as_written(before, document)
        document_id = f"{conversation.address.key}|{uuid4().hex}"
        bags = Bags(document_id, conversation.life, state, kept)
        document = _bags_document(bags, conversation)
        check_size({"id": document_id, "State": state, **private_states(kept)}, self._max_row_bytes)
        return _as_written(bags, await self._documents.create(document))

    def _lives_on(self, bags: Bags, conversation: Conversation) -> bool:
        """Whether the document need not be written again, as that is long enough to come.

        The spare time is that of the policy's longest timeout. The bot's code may set a longer one.
        """
        if bags.written_at is None or conversation.own is not None:
            return False
        if [*bags.users] != users_of(conversation, bags.private):
            return False  # an erasure goes by them, and takes its user away from them
        return self._now() - bags.written_at < self._spare_time() / PART

    async def _delete_if_unnamed(self, address: Address, bags: Bags) -> None:
        row = None
        with suppress(StateUnreadableError):
            row = await self.load_tracking(address)
        named = row.bags if row else None
        kept = row.kept.bags if row and row.kept else None
        if bags.id not in [each.id for each in (named, kept) if each]:
            await self._delete(bags)

    async def _delete(self, bags: Bags) -> None:
        try:
            await self._documents.delete(bags.id)
        except StorageUnavailableError as error:
            # No row names it any more, so only space is at stake.
            logger.warning("cosmos: a document is left to its time to live: %s", error)


def _as_written(bags: Bags, document: Document) -> Bags:
    return replace(bags, token=document.token, written_at=document.written_at, users=document.users)


def _no_state(conversation: Conversation) -> bytes | None:
    """Empty, because the state is in the document. None (not loaded) stays None: a save fails."""
    return None if conversation.state is None else b""


def _bags_document(bags: Bags, conversation: Conversation) -> Document:
    columns = {
        "SessionId": bags.session,
        "State": bags.state,
        "Private": private_columns(bags.private),
    }
    return Document(bags.id, columns, users_of(conversation, bags.private))
