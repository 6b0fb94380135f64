"""The port of a store, as one protocol for each kind of caller.

    StateStore          turns, state functions and erasures
    SweepStore          sweeps; it has all of StateStore
    DeadLetterStore     the commands for dead letters
    ControlStore        a changed timeout
    StatusStore         the status page, and the records of sweeps
    TenantStore         what processes tell each other about tenants
    BudgetStore         what processes that send tell each other
    ConversationStore   all of these: for a store with rows
    Stores              the stores of one app

Any method may raise StorageUnavailableError, or its kind NewerRowError: a row from a newer version
is neither changed nor deleted. Where a method returns many rows, it leaves out those that it cannot
read, and the log names them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from shared.domain.budget import Member, Rows, Told
from shared.domain.control import Control
from shared.domain.conversation import Conversation, KeptSession, PrivateState
from shared.domain.identity import Address
from shared.domain.sweep_record import SweepRecord
from shared.domain.users import Membership, UserRow
from shared.domain.work import DeadLetter, DueRow, Refiling

# Raises what is to end the work of its caller.
Check = Callable[[], Awaitable[None]]


class StateStore(Protocol):
    """The store for turns, the state API and erasures.

    Every write of a conversation is conditional on the ETag it carries.

    Attributes:
        users_in_row: how many of its users a conversation's row names; the others have rows.
    """

    users_in_row: int

    def address(self, key: str) -> Address:
        """Where a conversation is; `key` is `ConversationKey.hash`. No request is made.

        It is also where the due row of a user's erasure is; `key` is then the user's hash.
        """

    async def load(self, address: Address) -> Conversation | None:
        """The whole row with its state, or None."""

    async def load_private(
        self, conversation: Conversation, user: str, *, of_any_session: bool = False
    ) -> PrivateState:
        """The user's private bag of this session; empty if there is none.

        With `of_any_session` also one that an ended session left and no sweep has deleted yet.
        """

    async def load_kept(self, conversation: Conversation) -> KeptSession | None:
        """Its kept session with its state; None if there is none, or it is gone."""

    async def delete_kept(self, address: Address, kept: KeptSession | None) -> None:
        """Delete the state of a kept session of the conversation. It is no error if it is gone.

        After that nobody can resume it; whoever was first has.

        Args:
            address: the conversation's.
            kept: as the conversation's row names it; None: that is not known.
        """

    async def load_user(self, user: str) -> UserRow | None:
        """The user's row, or None. `user` is the hash of channel and user id."""

    async def has_committed(self, address: Address, user: str, writer: str) -> bool:
        """Whether the user's own row in that conversation names this turn.

        It makes no request if this process saved that turn lately.
        """

    async def save_user(
        self,
        user: str,
        row: UserRow | None,
        joining: Address | None = None,
        *,
        session: str = "",
    ) -> tuple[UserRow | None, str]:
        """Write the user's row over the version it was read at, and list a conversation there.

        `row` or `joining` may be None. Returns the row with its new ETag, and the ETag of the
        list's entry. If the conversation's row will not name the user, the entry names the
        `session`: so a sweep knows when it is over.

        Raises:
            ConflictError: the row has changed meanwhile.
            StateTooLargeError: nothing was written.
        """

    async def save(
        self,
        conversation: Conversation,
        *,
        due: int | None = None,
        instead_of: Sequence[DueRow] = (),
        private: Sequence[PrivateState] = (),
        forgetting: KeptSession | None = None,
    ) -> Conversation:
        """Write the conversation over the version it was read at, with private bags and own rows.

        If it is new beside a kept session whose state is given, that is written, too. The state of
        the kept session that it is `forgetting`, which its row named, goes. An expired one that was
        read without its state keeps that: then only what a sweep changes is written.

        `due` (Unix seconds) files a due row in the same transaction: for a new session, or
        `instead_of` those that an existing one has; then it says what they say of warnings.

        Raises:
            ConflictError: the row has changed meanwhile.
            StateTooLargeError: nothing was written.
        """

    async def discard(self, address: Address, etag: str) -> None:
        """Delete a conversation that cannot be read, at this version.

        Raises:
            ConflictError: the conversation has changed meanwhile.
        """

    async def load_listed(self, entry: "Membership") -> DeadLetter | None:
        """The dead letter of an entry, or None."""

    async def drop_listed(self, entry: "Membership") -> bool:
        """Delete the dead letter of an entry; returns whether there was one."""

    async def remove(self, row: DueRow) -> None:
        """Delete a work item. It is no error if it is gone."""

    async def file(self, row: DueRow) -> None:
        """Add a work item that belongs to no conversation."""

    async def joined(self, user: str) -> Sequence["Membership"]:
        """The conversations that the user is listed in, and the dead letters that name the user."""

    async def leave(self, user: str, entry: "Membership") -> None:
        """Remove an entry of the user's list, at its version.

        Raises:
            ConflictError: the user has joined that conversation again.
        """

    async def mark_erasure(self, user: str) -> None:
        """Say in the users' table too that the user is being erased.

        Who can write in one table only must not erase in the other.
        """

    async def is_erasure_marked(self, user: str) -> bool:
        """Whether the users' table says that the user is being erased."""

    async def unmark_erasure(self, user: str) -> None:
        """Take that mark away."""

    async def has_user(self, user: str) -> bool:
        """Whether there is a row of the user, readable or not."""

    async def delete_user(self, user: str, make_sure: Check | None = None) -> bool:
        """Delete the user's row as it was read before `make_sure`; returns whether there was one.

        Raises:
            ConflictError: it has changed since.
            Exception: `make_sure` raised it; nothing was deleted.
        """

    async def delete_private(
        self, address: Address, user: str, make_sure: Check | None = None
    ) -> bool:
        """Delete the user's private bag, of any session, and own row; returns if there was a bag.

        Both as they were read before `make_sure`.

        Raises:
            ConflictError: one has changed since.
            Exception: `make_sure` raised it; nothing was deleted.
        """

    async def due_rows_of(self, address: Address) -> Sequence[DueRow]:
        """The conversation's work items; reads all work items of its shard."""


class Sharded(Protocol):
    """Rows in shards."""

    @property
    def shards(self) -> Sequence[str]:
        """The names of all shards."""


class DueRows(Sharded, Protocol):
    """The work items of each shard."""

    def due(
        self, shard: str, until: datetime, after: datetime | None = None
    ) -> AsyncIterator[Sequence[DueRow]]:
        """Pages of the shard's work items due by `until`, and after `after`, oldest first."""


class SweepStore(StateStore, DueRows, Protocol):
    """The store for sweeps."""

    async def load_tracking(self, address: Address) -> Conversation | None:
        """The row without its state, or None."""

    async def delete_leftovers(self, row: DueRow, gone_at: datetime | None = None) -> bool:
        """Delete what a finished session has left: its private bags.

        If the conversation is gone at `gone_at`, its users' own rows go too. There is an end to
        what one call does: if it returns False, its work item has to stay for the next call.
        """

    async def refile(self, rows: Sequence[Refiling]) -> None:
        """Move each work item (all of one shard) to its new place, or remove it.

        It is no error if another sweep has moved or removed one of them.
        """

    async def warn(self, row: DueRow, warned: DueRow) -> None:
        """Move a work item that says from now on that users were warned.

        Raises:
            ConflictError: it is not there any more.
        """

    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        """Lease an expired conversation until `due` and move its work item there, in one step.

        Raises:
            ConflictError: the conversation has changed meanwhile.
        """

    async def settle_later(self, conversation: Conversation, row: DueRow, until: datetime) -> None:
        """Its end was told; its row stays until then, and its work item moves there.

        It may be resumed, or else its private bags go: then it names writes of users' states, which
        count although the session has ended early.

        Raises:
            ConflictError: the conversation has changed meanwhile.
        """

    async def settle(self, conversation: Conversation) -> None:
        """Delete the expired conversation at this version. It is no error if it is gone.

        Its session's private bags and the entries in its users' lists go first. If users have rows
        of their own, there may be too many for that: `delete_leftovers` deletes them after it.

        Raises:
            ConflictError: the conversation has changed meanwhile.
        """

    async def settle_dead(
        self, conversation: Conversation, row: DueRow, letter: DeadLetter
    ) -> None:
        """Settle the expired conversation at this version, and keep its notice as a dead letter.

        This is one step, with its work item: there is a dead letter only if this settled it. If
        users have rows of their own, the work item stays, and `delete_leftovers` comes after it.

        Raises:
            ConflictError: the conversation has changed, or is gone; nothing was kept.
        """


class DeadLetterStore(Sharded, Protocol):
    """The store for the commands that handle dead letters."""

    def dead_letters(self, shard: str) -> AsyncIterator[Sequence[DeadLetter]]:
        """Pages of the shard's dead letters, the oldest expiry first."""

    async def replay(self, letter: DeadLetter, now: datetime) -> bool:
        """Turn a dead letter back into an expired conversation whose notice is due `now`.

        Returns False if the user was back first (the letter is then dropped), or if it is gone.
        """

    async def drop(self, letter: DeadLetter) -> None:
        """Delete a dead letter. It is no error if it is gone."""


class ControlStore(Protocol):
    """The store of the control row."""

    async def control(self) -> Control:
        """The row that describes the table; written now if the table is new.

        Raises:
            StorageUnavailableError: the table does not exist, or no answer.
        """

    async def save_control(self, control: Control) -> Control:
        """Write that row over the version it was read at; returns it with its new ETag.

        Raises:
            ConflictError: it has changed meanwhile.
        """


class StatusStore(DueRows, Protocol):
    """The store for the status page and the records of sweeps."""

    def dead_letter_times(self, shard: str) -> AsyncIterator[Sequence[datetime]]:
        """Pages of the times of expiry of the shard's dead letters, oldest first."""

    async def sweeps(self) -> Sequence[SweepRecord]:
        """The last sweeps, newest first."""

    async def record_sweep(self, record: SweepRecord, slot: int) -> None:
        """Write a sweep's record into that slot, over the old one: one request, no read."""


class TenantStore(Protocol):
    """The store of what processes tell each other about a channel's tenants, by `tenant_hash`."""

    async def service_url(self, tenant: str) -> str:
        """The service URL that was kept last; empty if there is none that can be read."""

    async def keep_service_url(self, tenant: str, url: str) -> None:
        """Keep a service URL over the one before: one request, no read."""


class BudgetStore(Protocol):
    """The rows of the budget that all sending processes share; see `shared.domain.budget`."""

    async def renew(self, member: Member) -> None:
        """Write a member's row over the version that was read. Only a look tells the result.

        Raises:
            ConflictError: another version is there, or none.
        """

    async def rows(self) -> Rows:
        """All rows. One request, if there are not hundreds of them."""

    async def tell(self, told: Told) -> None:
        """Write the row of a process that sends replies over the one before: one request."""

    async def remove(self, row: Member | Told) -> None:
        """Delete a row at the version that was read. It is no error if it is gone.

        Raises:
            ConflictError: it has changed.
        """


class ConversationStore(
    SweepStore, DeadLetterStore, ControlStore, StatusStore, TenantStore, Protocol
):
    """A store with a row for each conversation; it has every operation."""


class Stores(Protocol):
    """The stores of one app."""

    @property
    def has_rows(self) -> bool:
        """Whether conversations have rows; without rows there is nothing to sweep."""

    def for_turns(self) -> StateStore:
        """The store of turns, the state API and erasures."""

    def for_sweeps(self) -> ConversationStore:
        """The store of sweeps, and of all other work on rows."""

    def counted(self) -> tuple[ConversationStore, Callable[[], int]]:
        """The store of one sweep, and how many requests it has made."""

    def ready(self) -> AbstractAsyncContextManager[None]:
        """Make sure of tables and containers, once. After a failure again, as they may be gone.

        Raises:
            StorageUnavailableError: they could not be reached or created.
            SettingsError: they do not fit the settings.
        """
