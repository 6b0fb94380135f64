"""A user's row, and the list of conversations the user wrote in."""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.identity import Address


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user's bag, packed, and who wrote it last.

    A turn writes the user's row before the conversation's, and the conversation's write is the
    commit. Until then `before` is the user's state that still counts: `writer` (the turn),
    `address`, `session` and `base_etag` tell whose commit decides. The session was in use at
    `last_accessed` and lasted until `lasts_until` at least, with the timeout it had then (rows of
    older versions do not have that).
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
    lasts_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """An entry of a user's list: a conversation that the user wrote in.

    With a `session` it stands for the dead letter of that session, which names the user.
    """

    address: Address
    etag: str
    session: str = ""
    expired_seconds: int = 0
