"""State in Cosmos DB without tables: `TimeToLiveStore` has no rows, and no sweep.

A conversation is one document, with its tracking and its bags. It ends when its time to live is
over, because Cosmos DB then deletes the document. docs/cosmos.md has the rest.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from shared.domain.conversation import Bags, Conversation, KeptSession, PrivateState
from shared.domain.identity import Address, address_of
from shared.domain.store import Check
from shared.domain.users import Membership, UserRow
from shared.domain.work import DeadLetter, DueRow
from shared.storage.cosmos_bags import (
    InDocuments,
    UserDocuments,
    bags_in,
    merged_private,
    private_columns,
    private_states,
    users_of,
    write_document,
)
from shared.storage.cosmos_documents import Container, Document
from shared.storage.table_rows import check_size, conversation_columns, conversation_of
from shared.storage.table_store import MAX_ROW_BYTES
from shared.storage.tables import Row


class TimeToLiveStore(InDocuments):
    """A `StateStore` without rows: Cosmos DB deletes idle conversations, and nobody is told.

    Args:
        conversations: the container of conversations, which has a time to live.
        users: the container of user state, which has none.
        shard_count: needed for addresses; nothing is sharded here.
        max_row_bytes: the most that a document may hold.
    """

    # A conversation remembers this instead of the version of an entry in a user's list. There are
    # no lists: its document names its users.
    LISTED = "document"

    # All users are in the one document, as no transaction spans two.
    users_in_row = sys.maxsize

    def __init__(
        self,
        conversations: Container,
        users: Container,
        shard_count: int,
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        self._conversations = conversations
        self._user_documents = UserDocuments(users, max_row_bytes)
        self._shard_count = shard_count
        self._max_row_bytes = max_row_bytes

    @override
    def address(self, key: str) -> Address:
        return address_of(key, self._shard_count)

    @override
    async def load(self, address: Address) -> Conversation | None:
        document = await self._conversations.read(address.key)
        if document is None:
            return None
        row = Row(address.shard, address.key, document.columns, document.etag)
        conversation = conversation_of(address, row)
        columns = {"State": conversation.state, "Private": document.columns.get("Private")}
        named = Bags(address.key, conversation.life)
        bags = bags_in(replace(document, columns=columns), named, conversation.etag)
        return replace(conversation, bags=bags)

    async def load_kept(self, conversation: Conversation) -> KeptSession | None:
        """None: what is over is gone, and cannot be resumed."""
        del conversation
        return None

    async def delete_kept(self, address: Address, kept: KeptSession | None) -> None:
        """Nothing: there are none."""

    async def has_committed(self, address: Address, user: str, writer: str) -> bool:
        """False: no user has a row of their own."""
        del address, user, writer
        return False

    async def save_user(
        self,
        user: str,
        row: UserRow | None,
        joining: Address | None = None,
        *,
        session: str = "",
    ) -> tuple[UserRow | None, str]:
        """See `StateStore.save_user`; there is no list to join."""
        del session
        saved = await self._user_documents.save(user, row) if row else None
        return saved, self.LISTED if joining else ""

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        instead_of: Sequence[DueRow] = (),
        private: Sequence[PrivateState] = (),
        forgetting: KeptSession | None = None,
    ) -> Conversation:
        """See `StateStore.save`; nothing is due, and the time to live begins anew."""
        del due, instead_of, forgetting
        kept = merged_private(conversation, private)
        bags = Bags(conversation.address.key, conversation.life, conversation.state or b"", kept)
        columns = {
            **conversation_columns(replace(conversation, bags=None)),
            "Private": private_columns(kept),
        }
        check_size({**columns, **private_states(kept)}, self._max_row_bytes)
        users = users_of(conversation, kept)
        document = Document(conversation.address.key, columns, users, conversation.etag)
        saved = await write_document(self._conversations, document)
        return replace(conversation, bags=bags, etag=saved.etag)

    @override
    async def discard(self, address: Address, etag: str) -> None:
        await self._conversations.delete(address.key, etag)

    async def remove(self, row: DueRow) -> None:
        """Nothing: there are no work items."""

    async def file(self, row: DueRow) -> None:
        """Nothing: there is no sweep that would take it up."""

    async def due_rows_of(self, address: Address) -> Sequence[DueRow]:
        """None: there are no work items."""
        del address
        return ()

    @override
    async def joined(self, user: str) -> Sequence[Membership]:
        return [
            Membership(self.address(key), etag="") async for key in self._conversations.about(user)
        ]

    async def leave(self, user: str, entry: Membership) -> None:
        """Nothing: a conversation names its users."""

    async def load_listed(self, entry: Membership) -> DeadLetter | None:
        """None: there are no dead letters."""
        del entry
        return None

    async def drop_listed(self, entry: Membership) -> bool:
        """False: there are no dead letters."""
        del entry
        return False

    async def mark_erasure(self, user: str) -> None:
        """Nothing: no work item is filed that could be forged."""

    async def is_erasure_marked(self, user: str) -> bool:
        """False, as there is no mark."""
        del user
        return False

    async def unmark_erasure(self, user: str) -> None:
        """Nothing, as there is no mark."""

    @override
    async def delete_user(self, user: str, make_sure: Check | None = None) -> bool:
        return await self._user_documents.delete(user, make_sure)
