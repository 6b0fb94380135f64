"""How fast to send: keeps the channels' limits before they answer 429, and has a circuit breaker.

Per process. A reply goes at once, and makes notices wait; only the limit of its own conversation
can delay it. A notice gets a slot: evenly, a little below the limit, so that jitter on the way does
not break it.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from shared.connector.client import ConnectorError
from shared.connector.limits_file import Limits
from shared.domain.reference import Reference
from shared.expiry.notice import Slot

logger = logging.getLogger(__name__)

_K = TypeVar("_K")
_V = TypeVar("_V")

# The share of a limit that is used: a channel counts when requests arrive, not when they leave.
_USED_SHARE = 0.98
# After a 429 a lane goes on at this share of its pace, and reaches its full pace after 30 s.
_AFTER_429 = 0.5
_RECOVERED_AFTER_SECONDS = 30.0

# The circuit opens if all hold: this many failures in a row, no answer for this time, and all sent
# after the last answer. Requests that hang end together and late: later requests may have been
# answered long ago.
_FAILURES_UNTIL_OPEN = 5
_SILENT_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 300.0
_PROBE_SECONDS = 15.0  # longer than a request may take
_DOWN = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT, None}

_A_MOMENT_SECONDS = 0.001

# This many lanes and conversations are remembered; the least recently used are dropped first.
_REMEMBERED = 10_000
# A reply waits no longer than this for its conversation's limit: the channel waits for the turn.
_LONGEST_REPLY_WAIT_SECONDS = 5.0


@dataclass(slots=True)
class _Lane:
    """The requests that share one limit: of a tenant, or a service URL."""

    per_second: float
    # `next_at` counts lane time: it stops while replies are sent, and while the process stands
    # still; `behind` is by how much.
    next_at: float = 0.0
    behind: float = 0.0
    later_at: float = 0.0
    closed_until: float = 0.0
    slowed_at: float = float("-inf")

    def interval(self, now: float) -> float:
        recovered = min(max((now - self.slowed_at) / _RECOVERED_AFTER_SECONDS, 0.0), 1.0)
        share = _AFTER_429 + (1 - _AFTER_429) * recovered
        return 1 / (self.per_second * share)


@dataclass(slots=True)
class _Circuit:
    """One service URL: its failures in a row, and until when nothing is sent to it."""

    answered_at: float = float("-inf")
    failures: int = 0
    is_open: bool = False
    is_probed: bool = False
    until: float = 0.0
    pause_seconds: float = _FIRST_PAUSE_SECONDS


@dataclass
class SendingLimits:
    """Decides when the next request to a channel may go.

    Args:
        limits: of the settings file.
        clock: a monotonic clock, in seconds.
        sleep: waits for the given number of seconds.
        randomness: spreads the tests of service URLs after a pause.
    """

    limits: Limits
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    randomness: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._lanes: OrderedDict[tuple[str, str], _Lane] = OrderedDict()
        self._threads: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def reserve(self, reference: Reference, within_seconds: float) -> Slot:
        """Reserve a slot for a notice. If it is not granted, its seconds say when to ask again.

        These times are also spread at the pace of the lane, from the end of `within_seconds` on.
        """
        now = self.clock()
        circuit = self._circuits.get(reference.service_url)
        if circuit and circuit.is_open:
            if now < circuit.until:
                return self._later(reference, now, circuit.until)
            # This notice tests the service URL; the others wait for it.
            circuit.is_probed, circuit.until = True, now + _PROBE_SECONDS
        lane = self._lane(reference)
        free = max(lane.closed_until, self._thread_free_at(reference, now), now)
        at = max(lane.next_at, free - lane.behind)
        wait = at + lane.behind - now
        if wait > within_seconds:
            return self._later(reference, now, now + within_seconds)
        lane.next_at = at + lane.interval(now)
        self._note(reference, now + wait)
        return Slot(wait, at=at)

    def confirm(self, reference: Reference, slot: Slot) -> Slot:
        """Check a slot whose time has come: replies go first, and a lane may close."""
        now, lane = self.clock(), self._lane(reference)
        circuit = self._circuits.get(reference.service_url)
        if circuit and circuit.is_open and not circuit.is_probed:
            return self._later(reference, now, circuit.until)
        if now < lane.closed_until:
            return self._later(reference, now, lane.closed_until)
        more = slot.at + lane.behind - now
        if more < -lane.interval(now):
            # The process stood still. All who wait move by as much, or they would go at once.
            lane.behind -= more
        return Slot(more if more > _A_MOMENT_SECONDS else 0, at=slot.at)

    async def before_reply(self, reference: Reference) -> None:
        """Wait for the limit of the reply's own conversation, if it is reached; then count it."""
        now = self.clock()
        wait = self._thread_free_at(reference, now) - now
        if wait > 0:
            await self.sleep(min(wait, _LONGEST_REPLY_WAIT_SECONDS))
        now = self.clock()
        lane = self._lane(reference)
        if lane.next_at + lane.behind <= now:  # nobody is waiting
            lane.next_at = now - lane.behind + lane.interval(now)
        else:
            lane.behind += lane.interval(now)
        self._note(reference, now)

    async def before_notice(self, reference: Reference, within_seconds: float) -> None:
        """Wait for the slot of a message that answers nobody.

        Raises:
            ConnectorError: there is none within that time; its `retry_after_seconds` say when.
        """
        slot = self.reserve(reference, within_seconds)
        while slot.granted and slot.seconds > 0:
            await self.sleep(slot.seconds)
            slot = self.confirm(reference, slot)
        if not slot.granted:
            raise ConnectorError(
                f"not sent: the channel's limit is used up for the next {slot.seconds:.0f} s",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                retry_after_seconds=slot.seconds,
            )

    def answered(
        self, reference: Reference, sent_at: float, error: ConnectorError | None = None
    ) -> None:
        """Learn from the result of a request; `sent_at` is the time of `clock` when it was sent."""
        url, now = reference.service_url, self.clock()
        if error is not None and error.status == HTTPStatus.TOO_MANY_REQUESTS:
            lane = self._lane(reference)
            wait = min(max(error.retry_after_seconds or 0, 1.0), _LONGEST_PAUSE_SECONDS)
            lane.closed_until = max(lane.closed_until, now + wait)
            lane.slowed_at = lane.closed_until
        if error is None or error.status not in _DOWN:
            _remembered(self._circuits, url, _Circuit)
            self._circuits[url] = _Circuit(answered_at=now)
            return
        circuit = _remembered(self._circuits, url, _Circuit)
        if sent_at < circuit.answered_at:
            return
        circuit.failures += 1
        if circuit.is_open and not circuit.is_probed:
            return  # sent before it opened
        is_silent = now - circuit.answered_at >= _SILENT_SECONDS
        if circuit.is_probed or (circuit.failures >= _FAILURES_UNTIL_OPEN and is_silent):
            circuit.is_open, circuit.is_probed = True, False
            circuit.until = now + circuit.pause_seconds * self.randomness.uniform(0.8, 1.2)
            circuit.pause_seconds = min(2 * circuit.pause_seconds, _LONGEST_PAUSE_SECONDS)
            logger.warning(
                "sending: a service URL does not answer; probed in %.0f s", circuit.until - now
            )

    def _later(self, reference: Reference, now: float, earliest: float) -> Slot:
        lane = self._lane(reference)
        lane.later_at = max(lane.later_at, earliest) + lane.interval(now)
        return Slot(lane.later_at - now, granted=False)

    def _lane(self, reference: Reference) -> _Lane:
        limits = self.limits.of(reference.channel)
        shared = {
            "tenant": str(reference.tenant),
            "service_url": reference.service_url,
        }[limits.shared_by]
        requests, seconds = limits.lane
        return _remembered(
            self._lanes, (limits.table, shared), lambda: _Lane(_USED_SHARE * requests / seconds)
        )

    def _thread_free_at(self, reference: Reference, now: float) -> float:
        sent = self._threads.get(_thread(reference), ())
        return max(
            (
                sent[-most] + seconds / _USED_SHARE
                for most, seconds in self.limits.of(reference.channel).thread
                if len(sent) >= most
            ),
            default=now,
        )

    def _note(self, reference: Reference, at: float) -> None:
        windows = self.limits.of(reference.channel).thread
        if windows:
            most = max(most for most, _ in windows)
            _remembered(self._threads, _thread(reference), lambda: deque(maxlen=most)).append(at)


def _thread(reference: Reference) -> tuple[str, str]:
    """A conversation: channels may give the same id to different ones."""
    return reference.channel, reference.conversation_id


def _remembered(kept: OrderedDict[_K, _V], key: _K, make: Callable[[], _V]) -> _V:
    value = kept.get(key)
    if value is None:
        value = kept[key] = make()
        if len(kept) > _REMEMBERED:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return value
