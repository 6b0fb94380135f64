"""A notice as the sweep sees it: its place in the line, and what became of it."""

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
class Place:
    """A notice's place in the line.

    Attributes:
        seconds: until it may go or, if there is no place for it, until it may ask again.
        granted: whether there is a place for it.
        at: whatever the `Pace` knows it by.
    """

    seconds: float
    granted: bool = True
    at: float = 0.0


class Pace(Protocol):
    """How fast the channels take notices."""

    def place(self, conversation: Conversation, within_seconds: float) -> Place:
        """The notice's place in the line, if that is reached within so many seconds."""

    def reached(self, conversation: Conversation, place: Place) -> Place:
        """What has become of a place whose time has come: 0 seconds, or others went first."""


class AtOnce:
    """A `Pace` without limits."""

    def place(self, conversation: Conversation, within_seconds: float) -> Place:
        """See `Pace.place`."""
        del conversation, within_seconds
        return Place(0)

    def reached(self, conversation: Conversation, place: Place) -> Place:
        """See `Pace.reached`."""
        del conversation
        return place
