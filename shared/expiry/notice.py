"""A notice as the sweep sees it: its slot in the line, and what became of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from shared.domain.conversation import Conversation


class Verdict(Enum):
    """What became of one notice."""

    DELIVERED = "delivered"
    NOT_WANTED = "not wanted"  # notices are off, or there is nowhere to send one
    TOO_OLD = "too old"  # not sent: the expiry is too long ago
    REFUSED = "refused"  # the channel takes no more for this conversation
    TRY_LATER = "try later"
    DEAD = "dead"  # sending it again would fail the same way
    STOP = "stop"  # our own credentials: no other notice would fare better


@dataclass(frozen=True, slots=True)
class NoticeResult:
    """What became of one notice.

    Attributes:
        verdict: what to do with it.
        status: the channel's HTTP status, None where it gave none.
        retry_after_seconds: how long the channel asks to be left alone, if it says so.
        code: the channel's own word for a failure, if it gave one.
        service_url: with TRY_LATER, the address to try then; empty: the same again.
        detail: a failure in words, for the log.
        is_signed: whether the answer can only be the channel's. False: a refusal without an error
            code, as a firewall or a gateway on the way gives it, too.
    """

    verdict: Verdict
    status: int | None = None
    retry_after_seconds: float | None = None
    code: str = ""
    service_url: str = ""
    detail: str = ""
    is_signed: bool = True


SendNotice = Callable[[Conversation], Awaitable[NoticeResult]]


@dataclass(frozen=True, slots=True)
class Slot:
    """A notice's slot in the line.

    Attributes:
        seconds: until it may go or, if there is no slot for it, until it may ask again.
        granted: whether there is a slot for it.
        at: whatever the `Pace` knows it by.
    """

    seconds: float
    granted: bool = True
    at: float = 0.0


class Pace(Protocol):
    """How fast the channels take notices."""

    def reserve(self, conversation: Conversation, within_seconds: float) -> Slot:
        """The notice's slot in the line, if that is reached within so many seconds."""

    def confirm(self, conversation: Conversation, slot: Slot) -> Slot:
        """What has become of a slot whose time has come: 0 seconds, or others went first."""


class Unlimited:
    """A `Pace` without limits."""

    def reserve(self, conversation: Conversation, within_seconds: float) -> Slot:
        """See `Pace.reserve`."""
        del conversation, within_seconds
        return Slot(0)

    def confirm(self, conversation: Conversation, slot: Slot) -> Slot:
        """See `Pace.confirm`."""
        del conversation
        return slot
