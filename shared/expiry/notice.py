"""A notice as the sweep sees it: its slot, and its result."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol

from shared.domain.conversation import Conversation


class Verdict(Enum):
    """The result of one notice."""

    DELIVERED = "delivered"
    NOT_WANTED = "not wanted"  # notices are off, or there is no address to send one to
    TOO_OLD = "too old"  # not sent: the expiry is too long ago
    REFUSED = "refused"  # the channel takes no more for this conversation
    TRY_LATER = "try later"
    DEAD = "dead"  # sending it again would fail the same way
    STOP = "stop"  # our own credentials: every other notice would fail too


@dataclass(frozen=True, slots=True)
class NoticeResult:
    """The result of one notice.

    Attributes:
        verdict: what to do with it.
        status: the channel's HTTP status, or None if it gave none.
        retry_after_seconds: how long the channel asks us to wait, if it says so.
        code: the channel's own error code, if it gave one.
        service_url: with TRY_LATER, the address to try then; empty: the same again.
        detail: a failure in words, for the log.
        is_signed: whether only the channel can have given the answer. False: a refusal without an
            error code, which a firewall or a gateway on the way may give, too.
    """

    verdict: Verdict
    status: int | None = None
    retry_after_seconds: float | None = None
    code: str = ""
    service_url: str = ""
    detail: str = ""
    is_signed: bool = True


SendNotice = Callable[[Conversation], Awaitable[NoticeResult]]
# A warning, and how much time is left.
SendWarning = Callable[[Conversation, timedelta], Awaitable[NoticeResult]]
# The author's code for an expiry or a warning. It gets the conversation with its state, never
# raises, and returns what sends its own words; None: ours are sent.
OnExpired = Callable[[Conversation], Awaitable[SendNotice | None]]
OnWarned = Callable[[Conversation], Awaitable[SendWarning | None]]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The author's code for each event; None: there is none."""

    on_expired: OnExpired | None = None
    on_warned: OnWarned | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A notice's slot: the time when it may go.

    Attributes:
        seconds: until it may go; if not `granted`, until it may ask again.
        granted: whether there is a slot for it.
        at: for the `Pace` only.
        begins_at: the same.
    """

    seconds: float
    granted: bool = True
    at: float | None = None
    begins_at: float | None = None


class Pace(Protocol):
    """How fast the channels take notices."""

    def reserve(self, conversation: Conversation, within_seconds: float) -> Slot:
        """Reserve a slot for the notice, if there is one within these seconds."""

    def confirm(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """The slot when its time has come: 0 seconds to wait, or more if others go first.

        If it would have to wait longer than `within_seconds`, it is not granted any more.
        """

    def begin(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """The slot just before the message goes: as `confirm`, but all else is done by now.

        Storage may have held up this one and others since it was confirmed.
        """


class Unlimited:
    """A `Pace` without limits."""

    def reserve(self, conversation: Conversation, within_seconds: float) -> Slot:
        """See `Pace.reserve`."""
        del conversation, within_seconds
        return Slot(0)

    def confirm(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """See `Pace.confirm`."""
        del conversation, within_seconds
        return slot

    def begin(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """See `Pace.begin`."""
        del conversation, within_seconds
        return slot
