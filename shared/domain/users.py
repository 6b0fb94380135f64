"""A user's row, and the list of conversations the user wrote in."""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.identity import Address
from shared.domain.reference import ConversationType


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user's bag, packed, and its last writer.

    A turn writes the user's row before the conversation's, and the conversation's write is the
    commit. Until then `before` is the user's state that counts. `writer` (the turn), `address`,
    `session` and `base_etag` name the commit that decides. It names the turn in the conversation's
    row or, with `own_row`, in a row of the participant's own. The session was in use at
    `last_accessed`. With the timeout of that time it lasted at least until `lasts_until` (rows of
    older versions do not have it). `conversation_type`: the kind of that conversation, if the row
    says it; another policy may have ended the session earlier. `counts_anyway`: an earlier try of
    the same turn may have been committed, so for other turns it is `state` that counts, whatever
    becomes of this write.
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
    conversation_type: ConversationType | None = None
    own_row: bool = False
    counts_anyway: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """An entry of a user's list: a conversation that the user wrote in.

    With a `session` it stands for the dead letter of that session, which names the user. One with a
    `stored_key` is damaged, and leads nowhere: its address is empty.
    """

    address: Address
    etag: str
    session: str = ""
    expired_seconds: int = 0
    stored_key: str = ""
