"""The inbox: activities whose channel has its answer, and whose turns are still to be taken."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from shared.domain.times import LEASE


@dataclass(frozen=True, slots=True)
class Waiting:
    """An activity in the inbox.

    Attributes:
        conversation: the hash of its `ConversationKey`.
        place: where it stands among those of its conversation; places sort as they are to be taken.
            Two copies of one activity have the same.
        content: the activity and its caller, packed.
        received_at: when it came.
        attempts: how often a run has begun its turn.
        lease_until: until then it belongs to the run that took the lease; None: to nobody.
        etag: the version that was read; empty if it was never stored.
    """

    conversation: str
    place: str
    content: bytes
    received_at: datetime
    attempts: int = 0
    lease_until: datetime | None = None
    etag: str = ""

    def is_leased(self, now: datetime) -> bool:
        """Whether a run has it, as far as anybody can tell."""
        return self.lease_until is not None and now < self.lease_until

    def begun(self, now: datetime) -> "Waiting":
        """The same with a lease for a run that begins its turn."""
        return replace(self, attempts=self.attempts + 1, lease_until=now + LEASE)


class Inbox(Protocol):
    """Where activities wait. Each method is at least one request.

    Each may raise StorageUnavailableError; a write that raises it may still have happened.
    """

    async def put(self, waiting: Waiting) -> None:
        """Add an activity; nothing if one is there in its place: a copy of it."""

    async def first(self, conversation: str) -> Waiting | None:
        """The one whose turn is next in the conversation; without content if that is damaged."""

    async def save(self, waiting: Waiting) -> Waiting:
        """Write it over the version that was read; returns the new version.

        Raises:
            ConflictError: another writer was first, or it is gone.
        """

    async def remove(self, waiting: Waiting) -> None:
        """Remove it.

        Raises:
            ConflictError: another writer was first. It is no error if it is gone.
        """

    def waiting_since(self, before: datetime) -> AsyncIterator[Sequence[Waiting]]:
        """Pages of all that were received before this time, without their contents."""
