"""The common part of both stores in Cosmos DB: users and bags in documents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from shared.domain.conversation import Bags, Conversation, PrivateState, Status
from shared.domain.errors import StateUnreadableError
from shared.domain.identity import Address
from shared.domain.store import Check, StateStore
from shared.domain.users import UserRow
from shared.storage.cosmos_documents import Container, Document
from shared.storage.table_rows import check_size, user_columns, user_row_of
from shared.storage.table_store import USER
from shared.storage.tables import Row


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
        saved = await write_document(self._container, Document(user, columns, [user], row.etag))
        return replace(row, etag=saved.etag)

    async def exists(self, user: str) -> bool:
        """See `StateStore.has_user`."""
        return await self._container.read(user) is not None

    async def delete(self, user: str, make_sure: Check | None = None) -> bool:
        """See `StateStore.delete_user`."""
        document = await self._container.read(user)
        if document is None:
            return False
        if make_sure:
            await make_sure()
        await self._container.delete(user, document.etag)
        return True


class InDocuments(StateStore):
    """The common methods of both stores: bags come with their conversation, users are documents."""

    _user_documents: UserDocuments

    async def load_private(
        self, conversation: Conversation, user: str, *, of_any_session: bool = False
    ) -> PrivateState:
        """See `StateStore.load_private`; it came with the conversation."""
        del of_any_session  # bags of an ended session go with its document
        return private_of(conversation, user)

    @override
    async def load_user(self, user: str) -> UserRow | None:
        return await self._user_documents.load(user)

    @override
    async def has_user(self, user: str) -> bool:
        return await self._user_documents.exists(user)

    async def delete_private(
        self, address: Address, user: str, make_sure: Check | None = None
    ) -> bool:
        """See `StateStore.delete_private`.

        Raises:
            ConflictError: the conversation is another version by now.
        """
        conversation = await self.load(address)
        if conversation is None or not private_of(conversation, user).state:
            return False
        if make_sure:
            await make_sure()
        await self.save(conversation, private=[PrivateState(user, b"", "")])
        return True


async def write_document(container: Container, document: Document) -> Document:
    """Write a document over the version it was read at; create it if it was never read.

    Raises:
        ConflictError: the document is another version by now, or was created by another writer.
        StateTooLargeError: nothing was written.
    """
    if document.etag:
        return await container.replace(document)
    return await container.create(document)


def merged_private(
    conversation: Conversation, private: Sequence[PrivateState]
) -> Mapping[str, PrivateState]:
    """The private bags of the session, with these changes."""
    if conversation.status is Status.EXPIRED and not conversation.resume_until:
        return {}
    bags = conversation.bags
    before = bags.private if bags and bags.session == conversation.life else {}
    after = {**before, **{bag.user: bag for bag in private}}
    return {user: bag for user, bag in after.items() if bag.state}


def private_of(conversation: Conversation, user: str) -> PrivateState:
    """The user's private bag of this session; empty if there is none."""
    bags, nothing = conversation.bags, PrivateState(user, b"", "")
    if bags is None or bags.session != conversation.life:
        return nothing
    return bags.private.get(user, nothing)


def users_of(conversation: Conversation, private: Mapping[str, PrivateState]) -> list[str]:
    """The users that the document is about, by their hashes."""
    return sorted({*conversation.users, *private})


def private_states(private: Mapping[str, PrivateState]) -> dict[str, bytes]:
    """The private bags' bytes, for a check of the size; each says whose bag it is."""
    return {f"private {user}": bag.state for user, bag in private.items()}


def private_columns(private: Mapping[str, PrivateState]) -> dict[str, dict[str, bytes | str]]:
    """The private bags as the column `Private` of a document."""
    return {user: {"State": bag.state, "Version": bag.version} for user, bag in private.items()}


def _private_in(document: Document) -> dict[str, PrivateState]:
    found = {
        user: PrivateState(user, _bytes(each["State"]), each["Version"])
        for user, each in document.columns["Private"].items()
    }
    if not all(isinstance(each.version, str) for each in found.values()):
        raise TypeError("Version is no text")
    return found


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("State is not binary")
    return value


def bags_in(document: Document, named: Bags, etag: str = "") -> Bags:
    """The bags that a document holds.

    Args:
        document: what was read.
        named: the bags as a row names them.
        etag: of that row.

    Raises:
        StateUnreadableError: the document does not have the columns of bags.
    """
    columns = document.columns
    try:
        state, private = _bytes(columns["State"]), _private_in(document)
    except (AttributeError, LookupError, TypeError) as error:
        raise StateUnreadableError(f"document {document.id}: {error!r}", etag) from error
    return Bags(
        document.id,
        named.session,
        state,
        private,
        named.token,
        document.written_at,
        document.users,
    )
