"""A user's row, and the list of conversations the user wrote in."""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.identity import Address


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user's bag, packed, and who wrote it last.

    A turn writes the user's row before the conversation's, and the conversation's write is the
    commit. Until then `before` is the user's state that still counts: `writer` (the turn),
    `address`, `session` and `base_etag` tell whose commit decides, and `last_accessed`, of that
    session, how long it would have lasted at least.
    """

    state: bytes
    etag: str = ""
    before: bytes = b""
    writer: str = ""
    address: Address | None = None
    session: str = ""
    base_etag: str = ""
    written_at: datetime | None = None
    last_accessed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """An entry of a user's list: a conversation that the user wrote in.

    With a `session` it stands for the dead letter of that session, which names the user.
    """

    address: Address
    etag: str
    session: str = ""
    expired_seconds: int = 0
