"""Work items of the sweep, and dead letters: notices that cannot be delivered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.identity import Address
from shared.domain.reference import Reference
from shared.domain.times import due_seconds

# The session in the due row of an erasure, whose key is the user's hash.
ERASURE = "erase"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The notice of an expired session that could not be delivered, kept for the operator.

    It holds what is needed to send it again, and nothing that anybody said. The first attempt was
    right after `expired_at`, the last one right before `dead_at`.

    Attributes:
        reason: why it is not tried any more.
        status: the channel's last HTTP status, or None if it gave none.
        code: the channel's own error code, if it gave one.
    """

    address: Address
    session: str
    expired_at: datetime
    dead_at: datetime
    attempts: int
    reason: str
    status: int | None = None
    code: str = ""
    readable_key: str = ""
    reference: Reference | None = None
    locale: str | None = None

    @property
    def expired_seconds(self) -> int:
        """Unix time of the expiry. It is part of the key: a session has at most one dead letter."""
        return due_seconds(self.expired_at)


@dataclass(frozen=True, slots=True)
class DueRow:
    """One session's work item for the sweep; `due_seconds` is Unix time, rounded up.

    `stored_key` is the key of a row that is damaged: it is none that this work item would have.
    Then address and session are what could be read of it, or empty. `warned` is how many warnings
    there were in the silence that began at `warned_since`. `is_told`: the end of its session was
    told, and counted.
    """

    address: Address
    session: str
    due_seconds: int
    stored_key: str = ""
    warned: int = field(default=0, compare=False)
    warned_since: datetime | None = field(default=None, compare=False)
    is_told: bool = field(default=False, compare=False)

    @property
    def is_of_conversation(self) -> bool:
        """Whether it is a session's, and not an erasure's, and not damaged."""
        return self.session != ERASURE and not self.stored_key


# A work item and its new place; None: it is done, and goes.
Refiling = tuple[DueRow, DueRow | None]
RefileLater = Callable[[DueRow, DueRow | None], None]
