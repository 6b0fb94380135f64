"""Conversation and user state in Cosmos DB: two `StateStore`s that differ in who expires it.

`CosmosStore` is a `ConversationStore`: a conversation's row is in Table Storage as ever, the commit
of every turn and of every expiry, and names a document with the session's bags:

    create the document ─► commit the row, which names it ─► delete the one it named before

A document is written once, under an id that nobody else has, and counts while a row names it. So
nothing is half-written without a transaction over both, and whatever a crash leaves is a document
that nobody names: its time to live is over some day. `TimeToLiveStore` has no rows: a conversation
is one document, tracking and all, and ends when Cosmos DB deletes it. docs/cosmos.md has the rest.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from typing_extensions import override

from shared.domain.conversation import Bags, Conversation, PrivateState, Status
from shared.domain.errors import ConflictError, StateUnreadableError, StorageUnavailableError
from shared.domain.identity import Address, address_of
from shared.domain.store import StateStore
from shared.domain.times import COMMIT_TAKES_AT_MOST
from shared.domain.users import Joined, UserRow
from shared.domain.work import DueRow
from shared.storage.cosmos_documents import Container, Document
from shared.storage.table_rows import (
    check_size,
    conversation_columns,
    conversation_of,
    user_columns,
    user_row_of,
)
from shared.storage.table_store import MAX_ROW_BYTES, USER, TableStore
from shared.storage.tables import Row, Table

logger = logging.getLogger(__name__)

# A row that names another document each time it is looked at is one that is busy.
_MOST_LOOKS = 5


class UserDocuments:
    """Users' rows as documents, at their ETags.

    Args:
        container: the container of user state.
        max_row_bytes: the most that a row may hold.
    """

    def __init__(self, container: Container, max_row_bytes: int) -> None:
        self._container = container
        self._max_row_bytes = max_row_bytes

    async def load(self, user: str) -> UserRow | None:
        """See `StateStore.load_user`."""
        document = await self._container.read(user)
        if document is None:
            return None
        return user_row_of(Row(USER, user, document.columns, document.etag))

    async def save(self, user: str, row: UserRow) -> UserRow:
        """See `StateStore.save_user`."""
        columns = user_columns(row)
        check_size(columns, self._max_row_bytes)
        saved = await _write(self._container, Document(user, columns, [user], row.etag))
        return replace(row, etag=saved.etag)

    async def exists(self, user: str) -> bool:
        """See `StateStore.has_user`."""
        return await self._container.read(user) is not None

    async def delete(self, user: str) -> bool:
        """See `StateStore.delete_user`."""
        existed = await self.exists(user)
        if existed:
            await self._container.delete(user)
        return existed


class _InDocuments(StateStore):
    """What is the same for both stores: bags come with their conversation, users have documents."""

    _user_documents: UserDocuments

    async def load_private(self, conversation: Conversation, user: str) -> PrivateState:
        """See `StateStore.load_private`; it came with the conversation."""
        return _private_of(conversation, user)

    @override
    async def load_user(self, user: str) -> UserRow | None:
        return await self._user_documents.load(user)

    @override
    async def has_user(self, user: str) -> bool:
        return await self._user_documents.exists(user)


class CosmosStore(_InDocuments, TableStore):
    """A `ConversationStore` with its rows in two tables and its bags in two containers.

    Args:
        conversations: the table of conversations, due rows and dead letters.
        users: the table of users' lists.
        shard_count: into how many partitions conversations are spread.
        documents: the container of conversation state.
        user_documents: the container of user state.
        max_row_bytes: the most that a row, or a document, may hold.
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
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        super().__init__(conversations, users, shard_count, max_row_bytes)
        self._documents = documents
        self._user_documents = UserDocuments(user_documents, max_row_bytes)

    async def load(self, address: Address) -> Conversation | None:
        """See `StateStore.load`; a session whose document is gone comes back as expired."""
        for _ in range(_MOST_LOOKS):
            row = await super().load(address)
            if row is None or row.bags is None:
                return row
            bags = await self._read(row, row.bags)
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
                return replace(row, status=Status.EXPIRED, bags=None)
        raise ConflictError(f"conversation {address.shard}/{address.key} is busy")

    async def _read(self, row: Conversation, bags: Bags) -> Bags | None:
        try:
            document = await self._documents.read(bags.id, bags.token)
        except StateUnreadableError as error:
            raise StateUnreadableError(str(error), row.etag) from error
        return _bags_in(document, row) if document else None

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        private: Sequence[PrivateState] = (),
    ) -> Conversation:
        """See `StateStore.save`; the document's time to live begins anew."""
        before = conversation.bags
        bags = await self._written(conversation, private)
        is_another = (bags and bags.id) != (before and before.id)
        row = replace(conversation, state=_no_state(conversation), bags=bags)
        try:
            saved = await super().save(row, due=due)
        except ConflictError:
            if bags and is_another:
                await self._delete_if_unnamed(conversation.address, bags)
            raise
        if before and is_another:
            await self._delete(before)
        return replace(saved, state=conversation.state, bags=bags)

    @override
    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        await super().retry_later(replace(conversation, bags=None), row, due)
        if conversation.bags:
            await self._delete(conversation.bags)

    @override
    async def discard(self, address: Address, etag: str) -> None:
        row = None
        with suppress(StateUnreadableError):  # then its document is left to its time to live
            row = await self.load_tracking(address)
        await super().discard(address, etag)
        if row and row.bags and row.etag == etag:
            await self._delete(row.bags)

    async def save_user(
        self, user: str, row: UserRow | None, joining: Address | None = None
    ) -> tuple[UserRow | None, str]:
        """See `StateStore.save_user`; the list comes first, so that it leads to all there is."""
        index_etag = ""
        if joining is not None:
            _, index_etag = await super().save_user(user, None, joining)
        return (await self._user_documents.save(user, row) if row else None), index_etag

    async def delete_user(self, user: str) -> bool:
        """See `StateStore.delete_user`; what crashes have left about the user goes too."""
        async for document_id in self._documents.about(user, older_than=COMMIT_TAKES_AT_MOST):
            bags = Bags(document_id, session="")
            address = address_of(document_id.partition("|")[0], self._shard_count)
            await self._delete_if_unnamed(address, bags)
        return await self._user_documents.delete(user)

    async def delete_private(self, address: Address, user: str) -> bool:
        """See `StateStore.delete_private`.

        Raises:
            ConflictError: the conversation is another version by now.
        """
        return await _delete_private(self, address, user)

    async def _delete_private_of(self, address: Address, session: str) -> None:
        """Nothing: private bags have gone with the document."""

    async def _written(
        self, conversation: Conversation, private: Sequence[PrivateState]
    ) -> Bags | None:
        """The document that the row is to name, written; None if there is nothing to keep."""
        before, state = conversation.bags, conversation.state or b""
        kept = _merged(conversation, private)
        if not state and not kept:
            return None
        if (
            before
            and before.session == conversation.session
            and (before.state, before.private) == (state, kept)
        ):
            # Written all the same: that is what its time to live counts from.
            document = await self._documents.replace(_bags_document(before, conversation))
            return replace(before, token=document.token)
        document_id = f"{conversation.address.key}|{uuid4().hex}"
        bags = Bags(document_id, conversation.session, state, kept)
        document = _bags_document(bags, conversation)
        check_size({"id": document_id, "State": state, **_states(kept)}, self._max_row_bytes)
        return replace(bags, token=(await self._documents.create(document)).token)

    async def _delete_if_unnamed(self, address: Address, bags: Bags) -> None:
        row = None
        with suppress(StateUnreadableError):
            row = await self.load_tracking(address)
        if row is None or row.bags is None or row.bags.id != bags.id:
            await self._delete(bags)

    async def _delete(self, bags: Bags) -> None:
        try:
            await self._documents.delete(bags.id)
        except StorageUnavailableError as error:
            # No row names it any more, so this is about space alone.
            logger.warning("cosmos: a document is left to its time to live: %s", error)


class TimeToLiveStore(_InDocuments):
    """A `StateStore` without rows: Cosmos DB forgets conversations that are idle, in silence.

    Args:
        conversations: the container of conversations, which has a time to live.
        users: the container of user state, which has none.
        shard_count: what addresses are made with; nothing is sharded here.
        max_row_bytes: the most that a document may hold.
    """

    # What a conversation remembers in place of the version of an entry in its users' lists: its
    # document names them, which takes no list.
    LISTED = "document"

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
    async def load(self, address: Address) -> Conversation | None:
        document = await self._conversations.read(address.key)
        if document is None:
            return None
        row = Row(address.shard, address.key, document.columns, document.etag)
        conversation = conversation_of(address, row)
        columns = {"State": conversation.state, "Private": document.columns.get("Private")}
        return replace(
            conversation, bags=_bags_in(replace(document, columns=columns), conversation)
        )

    async def save_user(
        self, user: str, row: UserRow | None, joining: Address | None = None
    ) -> tuple[UserRow | None, str]:
        """See `StateStore.save_user`; there is no list to join."""
        saved = await self._user_documents.save(user, row) if row else None
        return saved, self.LISTED if joining else ""

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        private: Sequence[PrivateState] = (),
    ) -> Conversation:
        """See `StateStore.save`; nothing is due, and the time to live begins anew."""
        del due
        kept = _merged(conversation, private)
        bags = Bags(conversation.address.key, conversation.session, conversation.state or b"", kept)
        columns = {
            **conversation_columns(replace(conversation, bags=None)),
            "Private": _private_columns(kept),
        }
        check_size({**columns, **_states(kept)}, self._max_row_bytes)
        users = _users(conversation, kept)
        document = Document(conversation.address.key, columns, users, conversation.etag)
        saved = await _write(self._conversations, document)
        return replace(conversation, bags=bags, etag=saved.etag)

    @override
    async def discard(self, address: Address, etag: str) -> None:
        await self._conversations.delete(address.key, etag)

    async def clean_up(self, row: DueRow, *, has_private: bool) -> None:
        """Nothing: there are no work items."""

    async def file(self, row: DueRow) -> None:
        """Nothing: there is no sweep that would go on with it."""

    async def due_rows_of(self, address: Address) -> Sequence[DueRow]:
        """None: there are no work items."""
        del address
        return ()

    @override
    async def joined(self, user: str) -> Sequence[Joined]:
        return [
            Joined(address_of(key, self._shard_count), etag="")
            async for key in self._conversations.about(user)
        ]

    async def leave(self, user: str, entry: Joined) -> None:
        """Nothing: a conversation names who takes part."""

    async def drop_listed(self, entry: Joined) -> bool:
        """False: there are no dead letters."""
        del entry
        return False

    @override
    async def delete_user(self, user: str) -> bool:
        return await self._user_documents.delete(user)

    async def delete_private(self, address: Address, user: str) -> bool:
        """See `StateStore.delete_private`.

        Raises:
            ConflictError: the conversation is another version by now.
        """
        return await _delete_private(self, address, user)


async def _delete_private(store: StateStore, address: Address, user: str) -> bool:
    conversation = await store.load(address)
    if conversation is None or not _private_of(conversation, user).state:
        return False
    await store.save(conversation, private=[PrivateState(user, b"", "")])
    return True


async def _write(container: Container, document: Document) -> Document:
    """Write a document over the version it was read at, which may be none."""
    if document.etag:
        return await container.replace(document)
    return await container.create(document)


def _no_state(conversation: Conversation) -> bytes | None:
    """What the row holds of the state; None, which a store refuses, where it was not read."""
    return None if conversation.state is None else b""


def _merged(
    conversation: Conversation, private: Sequence[PrivateState]
) -> Mapping[str, PrivateState]:
    """The private bags of the session, with these changes."""
    if conversation.status is Status.EXPIRED:
        return {}
    bags = conversation.bags
    before = bags.private if bags and bags.session == conversation.session else {}
    merged = {**before, **{bag.user: bag for bag in private}}
    return {user: bag for user, bag in merged.items() if bag.state}


def _private_of(conversation: Conversation, user: str) -> PrivateState:
    bags, nothing = conversation.bags, PrivateState(user, b"", "")
    if bags is None or bags.session != conversation.session:
        return nothing
    return bags.private.get(user, nothing)


def _users(conversation: Conversation, private: Mapping[str, PrivateState]) -> list[str]:
    return sorted({*conversation.users, *private})


def _states(private: Mapping[str, PrivateState]) -> dict[str, bytes]:
    return {f"private {user}": bag.state for user, bag in private.items()}


def _private_columns(private: Mapping[str, PrivateState]) -> dict[str, dict[str, bytes | str]]:
    return {user: {"State": bag.state, "Version": bag.version} for user, bag in private.items()}


def _private_in(document: Document) -> dict[str, PrivateState]:
    return {
        user: PrivateState(user, each["State"], each["Version"])
        for user, each in document.columns["Private"].items()
    }


def _bags_document(bags: Bags, conversation: Conversation) -> Document:
    columns = {
        "SessionId": bags.session,
        "State": bags.state,
        "Private": _private_columns(bags.private),
    }
    return Document(bags.id, columns, _users(conversation, bags.private))


def _bags_in(document: Document, row: Conversation) -> Bags:
    columns, token = document.columns, row.bags.token if row.bags else ""
    try:
        return Bags(document.id, row.session, columns["State"], _private_in(document), token)
    except (AttributeError, KeyError, TypeError) as error:
        raise StateUnreadableError(f"document {document.id}: {error!r}", row.etag) from error
