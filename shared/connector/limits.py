"""How fast to send: keeps the channels' limits before they answer 429, and has a circuit breaker.

A reply goes at once, and makes notices wait; only the limit of its own conversation can delay it. A
notice gets a slot: evenly, below the limit, at the pace of the share that this process has of it
(`shared.expiry.budget`).
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
from shared.domain.budget import USED_SHARE, Share
from shared.domain.identity import tenant_hash
from shared.domain.reference import Reference
from shared.expiry.budget import LEAVES_AFTER_SECONDS, Budget
from shared.expiry.notice import Slot

logger = logging.getLogger(__name__)

_K = TypeVar("_K")
_V = TypeVar("_V")

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
# A notice may be later than its slot by an interval of its lane, and by no more than this: else
# those behind it would come too close.
_LATE_SECONDS = 0.1
# A process that does not know its share yet asks again after so long; the look takes some 50 ms.
_UNKNOWN_SECONDS = 0.1
# A share may grow, or end: who waits looks again after so long. A process that does not ask for its
# share leaves the others, `LEAVES_AFTER_SECONDS` later.
_LOOKED_AT_EVERY_SECONDS = 0.8 * LEAVES_AFTER_SECONDS
_COMES_BACK_SECONDS = 2.0

# This many lanes and conversations are remembered; the least recently used are dropped first.
_REMEMBERED = 10_000
# A reply waits no longer than this for its conversation's limit: the channel waits for the turn.
_LONGEST_REPLY_WAIT_SECONDS = 5.0


@dataclass(slots=True)
class _Lane:
    """The requests that share one limit: of a tenant, or a service URL.

    It has a clock of its own, on which its slots are even. The clock goes as fast as the pace of
    the share is, beside the whole pace. It stands while there is no share, and a reply turns it
    back.
    """

    id: str
    limit: tuple[int, float]
    read_at: float
    share: Share
    time: float = 0.0
    speed: float = 0.0
    next_at: float = float("-inf")  # the next slot, by the lane's clock
    waiting: int = 0  # notices that wait for their slots
    later_at: float = 0.0
    free_at: float = float("-inf")  # when the next one may begin; on the process's clock
    closed_until: float = 0.0
    slowed_at: float = float("-inf")

    @property
    def interval(self) -> float:
        """Between two slots, by the lane's clock."""
        return 1 / _whole_pace(self.limit)

    @property
    def goes_from(self) -> float:
        """From when on the clock goes."""
        return max(self.read_at, self.share.starts_at)

    @property
    def is_going(self) -> bool:
        """Whether notices may go."""
        return self.goes_from <= self.read_at < self.share.ends_at and self.speed > 0

    def recovered(self, now: float) -> float:
        """The part of its pace that a lane has after a 429."""
        recovered = min(max((now - self.slowed_at) / _RECOVERED_AFTER_SECONDS, 0.0), 1.0)
        return _AFTER_429 + (1 - _AFTER_429) * recovered

    def go_on(self, now: float) -> None:
        """Bring the clock to this moment; from now on it goes at the pace of the share."""
        self.time += max(min(now, self.share.ends_at) - self.goes_from, 0.0) * self.speed
        self.read_at = now
        self.speed = self.share.per_second * self.recovered(now) * self.interval
        if self.next_at <= self.time:
            self.waiting = 0

    def wait(self, at: float) -> float:
        """Seconds until a slot at this time of the lane's clock, if nothing changes."""
        return self.goes_from - self.read_at + max((at - self.time) / self.speed, 0.0)

    def is_late(self, at: float, seconds: float) -> bool:
        """Whether a slot was longer ago, as the clock goes now."""
        return self.time - at > seconds * self.speed

    def give_up(self) -> None:
        """One who waits goes; after the last one, nobody need wait for their slots to pass."""
        self.waiting = max(self.waiting - 1, 0)
        if self.waiting == 0:
            self.next_at = min(self.next_at, self.time)


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
        randomness: spreads the tests of service URLs after a pause, and processes' slots.
        budget: what all processes together may send; None: this process is the only one.
    """

    limits: Limits
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    randomness: random.Random = field(default_factory=random.Random)
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self._lanes: OrderedDict[tuple[str, str], _Lane] = OrderedDict()
        self._threads: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def reserve(self, reference: Reference, within_seconds: float) -> Slot:
        """Reserve a slot for a notice. If it is not granted, its seconds say when to ask again.

        These times are also spread at the pace of the lane, from the end of `within_seconds` on.
        """
        now = self.clock()
        lane = self._lane(reference, now)
        circuit = self._circuits.get(reference.service_url)
        if circuit and circuit.is_open:
            if now < circuit.until:
                return self._later(lane, now, circuit.until)
            # This notice tests the service URL; the others wait for it.
            circuit.is_probed, circuit.until = True, now + _PROBE_SECONDS
        share = self._share(lane)
        if share is None and within_seconds > _UNKNOWN_SECONDS:
            return Slot(_UNKNOWN_SECONDS)
        if share is None or share.per_second == 0:
            return self._later(lane, now, now + within_seconds)
        free = max(lane.closed_until, self._thread_free_at(reference, now))
        first = lane.time + max(free - lane.goes_from, 0.0) * lane.speed
        if lane.next_at < first:
            first += self._any_phase(lane)
        at = max(lane.next_at, first)
        wait = lane.wait(at)
        if wait > within_seconds:
            return self._later(lane, now, now + within_seconds)
        lane.next_at = at + lane.interval
        lane.waiting += wait > 0
        self._note(reference, now + wait)
        return Slot(_look_again(lane, wait), at=at)

    def confirm(self, reference: Reference, slot: Slot, within_seconds: float) -> Slot:
        """Check a slot whose time has come: replies go first, and a lane may close or slow down.

        It is not granted if it would have to wait longer than `within_seconds`.
        """
        if slot.at is None:
            again = self.reserve(reference, within_seconds)
            if again.granted and again.at is None:  # not known yet: ask less and less often
                return Slot(min(2 * slot.seconds, _COMES_BACK_SECONDS))
            return again
        now = self.clock()
        lane = self._lane(reference, now)
        share = self._share(lane)
        closed_until = self._closed_until(lane, reference, now)
        if closed_until is not None:
            lane.give_up()
            return self._later(lane, now, closed_until)
        if share is None or share.per_second == 0:  # it comes back, or others leave
            wait = _COMES_BACK_SECONDS
        else:
            if lane.is_late(slot.at, min(lane.interval / lane.speed, _LATE_SECONDS)):
                # The process stood still. All who wait move by as much, or they would go at once.
                lane.time = slot.at - self._any_phase(lane)
            wait = lane.wait(slot.at)
        if wait > within_seconds:
            lane.give_up()
            return Slot(wait, granted=False)
        if wait <= _A_MOMENT_SECONDS:
            lane.waiting -= 1
            return Slot(0, at=slot.at)
        return Slot(_look_again(lane, wait), at=slot.at)

    def begin(self, reference: Reference, slot: Slot, within_seconds: float) -> Slot:
        """Look at a slot again just before the message goes: its claim may have taken long.

        If storage answers late, it mostly answers many at once, of all processes. They go one by
        one, at the pace that the share has now. Those that are on time are not delayed.
        """
        now = self.clock()
        lane = self._lane(reference, now)
        share = self._share(lane)
        closed_until = self._closed_until(lane, reference, now)
        if closed_until is not None:
            return self._later(lane, now, closed_until)
        if share is None or not lane.is_going:
            return self._later(lane, now, now + within_seconds)
        begins_at, free_at = slot.begins_at, lane.free_at
        if begins_at is None or now - begins_at > _LATE_SECONDS:
            begins_at = now if free_at - now <= _LATE_SECONDS else free_at
            is_late = slot.at is not None and lane.is_late(slot.at, _LATE_SECONDS)
            if is_late and now - free_at > _LATE_SECONDS:  # as those of other processes
                begins_at += self._any_phase(lane) / lane.speed
            free_at = max(begins_at, free_at) + lane.interval / lane.speed
        wait = begins_at - now
        if wait > within_seconds:
            return self._later(lane, now, now + wait)
        if free_at > lane.free_at:
            lane.free_at = free_at
            lane.time -= min(wait * lane.speed, lane.interval)  # those who wait come after it
        return Slot(wait if wait > _A_MOMENT_SECONDS else 0, at=slot.at, begins_at=begins_at)

    def stay(self, reference: Reference) -> None:
        """Keep the share of a lane although nothing goes; it takes seconds to get one back."""
        self._share(self._lane(reference, self.clock()))

    async def before_reply(self, reference: Reference) -> None:
        """Wait for the limit of the reply's own conversation, if it is reached; then count it."""
        now = self.clock()
        wait = self._thread_free_at(reference, now) - now
        if wait > 0:
            await self.sleep(min(wait, _LONGEST_REPLY_WAIT_SECONDS))
        now = self.clock()
        lane = self._lane(reference, now)
        if not lane.is_going:
            pass  # no notice could follow too soon
        elif lane.next_at <= lane.time:  # nobody is waiting
            lane.next_at = lane.time + lane.interval * lane.speed
        else:
            lane.time -= lane.interval * lane.speed
        self._note(reference, now)
        if self.budget:
            self.budget.replied(lane.id)

    async def before_notice(self, reference: Reference, within_seconds: float) -> None:
        """Wait for the slot of a message that answers nobody.

        Raises:
            ConnectorError: there is none within that time; its `retry_after_seconds` say when.
        """
        ends_at = self.clock() + within_seconds
        slot = self.reserve(reference, within_seconds)
        while slot.granted and slot.seconds > 0:
            await self.sleep(slot.seconds)
            slot = self.confirm(reference, slot, ends_at - self.clock())
        if not slot.granted:
            raise ConnectorError(
                f"not sent: the channel's limit is used up for the next {slot.seconds:.0f} s",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                retry_after_seconds=slot.seconds,
            )

    def answered(
        self,
        reference: Reference,
        sent_at: float,
        error: ConnectorError | None = None,
        *,
        is_reply: bool = False,
    ) -> None:
        """Learn from the result of a request; `sent_at` is the time of `clock` when it was sent."""
        url, now = reference.service_url, self.clock()
        if error is not None and error.status == HTTPStatus.TOO_MANY_REQUESTS:
            lane = self._lane(reference, now)
            if self.budget and is_reply:
                self.budget.replied(lane.id, refused=True)
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

    def _closed_until(self, lane: _Lane, reference: Reference, now: float) -> float | None:
        circuit = self._circuits.get(reference.service_url)
        if circuit and circuit.is_open and not circuit.is_probed:
            return circuit.until
        return lane.closed_until if now < lane.closed_until else None

    def _later(self, lane: _Lane, now: float, earliest: float) -> Slot:
        interval = 1 / (lane.share.of_each * lane.recovered(now))
        lane.later_at = max(lane.later_at, earliest) + interval
        return Slot(lane.later_at - now, granted=False)

    def _any_phase(self, lane: _Lane) -> float:
        """A part of an interval: processes that begin together must not go on together."""
        return 0.0 if lane.share.is_whole else self.randomness.random() * lane.interval

    def _lane(self, reference: Reference, now: float) -> _Lane:
        limits = self.limits.of(reference.channel)
        shared = {
            "tenant": str(reference.tenant),
            "service_url": reference.service_url,
        }[limits.shared_by]
        pace = _whole_pace(limits.lane)
        lane = _remembered(
            self._lanes,
            (limits.table, shared),
            lambda: _Lane(
                tenant_hash(limits.table, shared),
                limits.lane,
                now,
                Share(pace, pace) if self.budget is None else Share(0, pace, ends_at=now),
            ),
        )
        lane.go_on(now)
        return lane

    def _share(self, lane: _Lane) -> Share | None:
        """The share of a lane that notices have now; None: not known yet."""
        if self.budget is None:
            return lane.share
        share = self.budget.share(lane.id, lane.limit)
        if share is not None and share is not lane.share:
            lane.share = share
            lane.go_on(lane.read_at)
        return share

    def _thread_free_at(self, reference: Reference, now: float) -> float:
        sent = self._threads.get(_thread(reference), ())
        return max(
            (
                sent[-most] + seconds / USED_SHARE
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


def _look_again(lane: _Lane, wait: float) -> float:
    share = lane.share
    if share.is_whole and share.per_second >= share.of_each:
        return wait
    return min(wait, _LOOKED_AT_EVERY_SECONDS)


def _whole_pace(limit: tuple[int, float]) -> float:
    """What one process alone would send in a second."""
    requests, seconds = limit
    return USED_SHARE * requests / seconds


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
