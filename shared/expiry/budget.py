"""The part of one budget that this process has: its row, its looks at the others, its replies.

See `shared.domain.budget` for the rules. Nothing is done for a process that sends few replies and
no notices. The first notice that asks for its share makes the process a member; some seconds after
the last one it leaves. Replies never wait for any of this.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import uuid4

from shared.domain.budget import Member, Moment, Rows, Share, Told, View, row_seconds, seen
from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.domain.store import BudgetStore
from shared.domain.times import utc_now

logger = logging.getLogger(__name__)

# A process leaves if no notice has asked for so long: the next message of a fan-out comes sooner.
LEAVES_AFTER_SECONDS = 5.0
# A row is renewed after this part of the time that it is good for: so one look may fail.
_RENEWED_AFTER = 0.4
# An answer takes milliseconds. One that does not come must not cost the time that a row has.
_ANSWERED_WITHIN_SECONDS = 1.0
_FAILURES_UNTIL_LOGGED = 3  # in a row: one lost answer costs nothing
_MOST_REMOVED = 5  # rows of processes that died, at each look

# Replies are told if these came within this time. What all others send is left free anyway.
TOLD_FROM_REPLIES, TOLD_FROM_SECONDS = 6, 40.0
_MEASURED_SECONDS = 4.0
_TOLD_EVERY_SECONDS = 5.0
_TOLD_IF_GROWN = 1.15  # then sooner: but
_LOOKED_EVERY_SECONDS = 1.0
_TOLD_FOR = timedelta(seconds=10)
_LANES_REMEMBERED = 1_000
_REPLIES_REMEMBERED = 1_000  # of each lane


def _new_name() -> str:
    return uuid4().hex[:16]


@dataclass(slots=True)
class _Replies:
    """The replies of this process in one lane: when they were sent, and what was told of them."""

    sent: deque[float] = field(default_factory=lambda: deque(maxlen=_REPLIES_REMEMBERED))
    looked_at: float = float("-inf")
    told_at: float = float("-inf")
    told: float = 0.0

    def per_second(self, now: float) -> float:
        """How many were sent in each of the last seconds; 0: too few to be told."""
        count = min(len(self.sent), TOLD_FROM_REPLIES)
        if count < TOLD_FROM_REPLIES or now - self.sent[-count] > TOLD_FROM_SECONDS:
            return 0.0
        count = max(count, sum(each > now - _MEASURED_SECONDS for each in self.sent))
        return (count - 1) / max(now - self.sent[-count], _LOOKED_EVERY_SECONDS)

    def is_news(self, per_second: float, now: float) -> bool:
        """Whether others must know this rate by now."""
        is_old = now - self.told_at >= _TOLD_EVERY_SECONDS
        return per_second > 0 and (is_old or per_second >= _TOLD_IF_GROWN * self.told)


class Budget:
    """This process among those that send.

    Args:
        store: where the processes see each other.
        now: the clock, in aware UTC.
        clock: a monotonic clock, in seconds.
        sleep: waits for the given number of seconds.
        randomness: spreads renewals.
        new_name: names this process.
    """

    def __init__(
        self,
        store: BudgetStore,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        randomness: random.Random | None = None,
        new_name: Callable[[], str] = _new_name,
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._sleep = sleep
        # Only to spread load: nobody gains from guessing it.
        self._random = randomness or random.Random()  # noqa: S311
        self._new_name = new_name
        self._teller = new_name()
        self._member = Member(self._teller, None)
        self._view: View | None = None
        self._row_seconds = row_seconds(Rows())
        self._asked_at = float("-inf")
        self._membership: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._replies: OrderedDict[str, _Replies] = OrderedDict()
        self._failures = 0  # in a row

    def share(self, lane: str, limit: tuple[int, float]) -> Share | None:
        """The share of a lane that notices of this process have now; None: not known yet.

        Args:
            lane: its name.
            limit: requests, and in how many seconds.
        """
        now = self._asked_at = self._clock()
        if self._membership is None:
            self._membership = asyncio.create_task(self._attend())
        if self._view is None or now >= self._view.ends_at:
            return None
        return self._view.share(lane, limit)

    def replied(self, lane: str, *, refused: bool = False) -> None:
        """A reply goes to this lane, or was refused because the lane's limit is used up."""
        now = self._clock()
        replies = self._replies.setdefault(lane, _Replies())
        self._replies.move_to_end(lane)
        if len(self._replies) > _LANES_REMEMBERED:
            self._replies.popitem(last=False)
        if not refused:
            replies.sent.append(now)
        if now - replies.looked_at < _LOOKED_EVERY_SECONDS or self._telling is not None:
            return
        replies.looked_at = now
        per_second = replies.per_second(now)
        if refused:  # however few they are: here they matter
            per_second = max(per_second, 1.0)
        if replies.is_news(per_second, now):
            self._telling = asyncio.create_task(self._tell({lane: per_second}))

    async def close(self) -> None:
        """End what goes on in the background. The rows lapse."""
        for task in (self._membership, self._telling):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _attend(self) -> None:
        """Be a member until no notice asks for its share any more."""
        try:
            while self._clock() - self._asked_at < LEAVES_AFTER_SECONDS:
                await self._sleep(await self._renewed())
            self._view = None
            with suppress(ConflictError, StorageUnavailableError):  # else it lapses
                if self._member.version:
                    await self._store.remove(self._member)
        finally:
            self._member = Member(self._new_name(), None)
            self._view = self._membership = None

    async def _renewed(self) -> float:
        """Write the own row, look at all; returns the seconds until that is to be done again."""
        began = self._moment()
        until = began.wall + timedelta(seconds=self._row_seconds)
        # Whatever becomes of the write: what is read counts.
        with suppress(ConflictError, StorageUnavailableError, TimeoutError):
            async with asyncio.timeout(_ANSWERED_WITHIN_SECONDS):
                await self._store.renew(replace(self._member, until=until))
        asked = self._moment()
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN_SECONDS):
                rows = await self._store.rows()
        except (StorageUnavailableError, TimeoutError) as error:
            self._failed(error)
            return self._random.uniform(0.2, 0.6)
        self._failures = 0
        answered = self._clock()
        name = self._member.name
        self._view = seen(
            self._view,
            name,
            self._teller,
            rows,
            began=began,
            asked=asked,
            answered=answered,
        )
        self._row_seconds = row_seconds(rows)
        own = next((each for each in rows.members if each.name == name), None)
        if own is None:
            # Another name, or a late write of this one could stand in the way of the next.
            self._member = Member(self._new_name(), None)
            return self._random.uniform(0.2, 0.6)
        self._member = own
        with suppress(ConflictError, StorageUnavailableError):
            for row in list(rows.lapsed(asked.wall))[:_MOST_REMOVED]:
                await self._store.remove(row)
        if own.until != until:  # the write did not arrive
            return self._random.uniform(0.2, 0.6)
        left = began.seconds_at(until) - self._clock()
        return max(_RENEWED_AFTER * left, 0.2) * self._random.uniform(0.8, 1.0)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == _FAILURES_UNTIL_LOGGED:
            logger.warning("budget: the other processes cannot be seen: %r", error)

    def _moment(self) -> Moment:
        return Moment(self._now(), self._clock())

    async def _tell(self, news: dict[str, float]) -> None:
        """Tell the rate of these lanes, and of all others in which many replies go."""
        now = self._clock()
        for lane, replies in self._replies.items():
            rate = news.get(lane) or replies.per_second(now)
            if rate:
                news[lane] = replies.told = rate
                replies.told_at = now
        try:
            await self._store.tell(Told(self._teller, self._now() + _TOLD_FOR, news))
        except StorageUnavailableError as error:
            logger.warning("budget: replies not told: %s", error)
            for lane in news:
                self._replies.get(lane, _Replies()).told_at = float("-inf")
        finally:
            self._telling = None
