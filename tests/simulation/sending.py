"""Many processes send to one channel, in virtual time: the real budget, limits, retries and rows.

`python -m tests.simulation.sending` runs all scenarios, with as many seeds as `--seeds` says; the
suite runs the small ones. The real `Expirer` handles each due row, in sweeps that follow each other
without a pause. What is not real: time, the network to the tables and to the channel, and the
conversations, which are all idle and in no table.

A process may stand still, die, have a clock that is wrong by two seconds, and not get answers.
Storage may stand still for all.
Replies are sent evenly: with replies at random, thirty a second alone are above fifty in some
second of a minute.
"""

import argparse
import asyncio
import math
import random
import selectors
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

from typing_extensions import override

from shared.connector.client import Connector, ConnectorError
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import read_limits
from shared.connector.notices import NoticeSender
from shared.connector.retry import Retries
from shared.connector.service_urls import ServiceUrls
from shared.domain.conversation import Conversation
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import Address
from shared.domain.policy import Policy
from shared.domain.reference import Reference
from shared.domain.times import CLOCK_SKEW
from shared.domain.timing import Timing
from shared.domain.work import DueRow
from shared.expiry.budget import Budget
from shared.expiry.expire import Expirer
from shared.expiry.notice import NoticeResult, Slot, Verdict
from shared.expiry.report import SweepReport
from shared.expiry.workload import Workload
from shared.settings.sending import SendingSettings
from shared.state.erasure import Erasure
from shared.storage.table_budget import TableBudget
from shared.storage.table_store import TableStore
from shared.storage.tables import Operation, Row, Table
from shared.texts.texts_file import read_texts
from tests.memory_table import MemoryTable

LIMIT = 50  # a second, of each tenant
SWEEP_SECONDS = 45.0
SETTLED_SECONDS = 30.0  # by then 64 processes that begin together have their shares
_EPOCH = datetime(2026, 11, 30, tzinfo=UTC)
_LIMITS = read_limits(SendingSettings())
_POLICY = Policy(Timing(timedelta(minutes=30)))
_TEXTS = read_texts()


class _NoFiles(selectors.SelectSelector):
    """Waits for nothing: time passes at once, and a little with each look, as it really does.

    Without that little, who waits for less than a rounding error would wait for ever.
    """

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and for nothing"
        self.passed += max(timeout, 1e-7)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, on virtual time."""

    def __init__(self) -> None:
        self._virtual = _NoFiles()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed


@dataclass(frozen=True)
class Scenario:
    """What happens.

    Attributes:
        workers: processes that send notices, as fast as they may.
        tenants: that each of them has notices for.
        seconds: how long it goes on.
        replies: (from, until, a second at first, a second at last), to the first tenant.
        repliers: processes that send them.
        deaths: of workers.
        stalls: of workers.
        stall_seconds: how long each is.
        storage_stalls: (from, for how many seconds): no request to storage is answered.
        mute: workers whose writes do not arrive after 20 s.
        lost: the part of storage requests that get no answer.
        skew: the most that a clock is wrong by.
        notices: the least that go to each tenant in a second, once it is settled.
        step_at: when a step of replies comes: what is above the limit until 20 s later is forgiven.
        mixed: whether the workers send the replies too.
    """

    workers: int
    tenants: int = 1
    seconds: float = 70.0
    replies: Sequence[tuple[float, float, float, float]] = ()
    repliers: int = 6
    deaths: int = 0
    stalls: int = 0
    stall_seconds: float = 30.0
    storage_stalls: Sequence[tuple[float, float]] = ()
    mute: int = 0
    lost: float = 0.002
    skew: float = 1.0
    notices: float = 37.0
    step_at: float | None = None
    mixed: bool = False


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        worst: the most requests that a tenant got in a second, but for what is forgiven.
        worst_ever: the same with that.
        notices: that went to each tenant in a second, once it was settled.
        refused: requests that the channel refused.
        lost: replies that were never taken.
        requests: to storage, in each minute.
    """

    worst: int
    worst_ever: int
    notices: float
    refused: int
    lost: int
    requests: float

    def problems(self, scenario: Scenario) -> list[str]:
        """What was promised and not kept."""
        found = []
        if self.worst > LIMIT:
            found.append(f"{self.worst} in a second")
        if self.notices < scenario.notices:
            found.append(f"{self.notices:.1f} notices a second")
        if self.lost:
            found.append(f"{self.lost} replies lost")
        return found


@dataclass
class _Tenant:
    times: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    notices: list[float] = field(default_factory=list)
    refused: int = 0

    def arrives(self, now: float, *, is_reply: bool) -> bool:
        self.times.append(now)
        if len(self.taken) - bisect_right(self.taken, now - 1) >= LIMIT:
            self.refused += 1
            return False
        self.taken.append(now)
        if not is_reply:
            self.notices.append(now)
        return True

    def worst(self, forgiven: tuple[float, float] = (0, 0)) -> int:
        """The most that came in a second that ends outside of what is forgiven."""
        most = begin = 0
        for position, at in enumerate(self.times):
            while self.times[begin] <= at - 1:
                begin += 1
            if not forgiven[0] <= at < forgiven[1]:
                most = max(most, position - begin + 1)
        return most


class _Process:
    """One process: it may die, stand still, and have a wrong clock."""

    def __init__(self, world: "World", number: int, skew_seconds: float) -> None:
        self._world = world
        self._skew = timedelta(seconds=skew_seconds)
        self._offset = world.random.uniform(0, 1000)
        self.is_dead = False
        self.is_mute = False
        self.stands_until = 0.0
        names = random.Random(f"{world.seed} {number}")
        self.random = random.Random(names.random())
        self.budget = world.make_budget(
            TableBudget(_BudgetTable(world, self)),
            now=self.now,
            clock=self.clock,
            sleep=self.sleep,
            randomness=self.random,
            new_name=lambda: f"{names.getrandbits(64):016x}",
        )
        self.limits = world.make_limits(
            _LIMITS, self.clock, self.sleep, self.random, budget=self.budget
        )
        self.store = _Store(world, self)
        self._sweep: tuple[Expirer, Workload] | None = None

    def sweep(self) -> tuple[Expirer, Workload]:
        """The sweep that goes on; a new one if the last one is out of time."""
        if self._sweep and self._sweep[1].seconds_left:
            return self._sweep
        work, report = _Work(self), SweepReport()
        expirer = Expirer(
            self.store,
            self._tell,
            None,
            Erasure(self.store, self.now).finish,
            policy=_POLICY,
            now=self.now,
            pace=NoticeSender(cast("Connector", None), ServiceUrls(), self.limits, _TEXTS),
            max_notice_age_seconds=None,
            randomness=self.random,
            work=work,
            report=report,
            refile_later=lambda *_: None,
        )
        self._sweep = expirer, work
        return self._sweep

    async def _tell(self, conversation: Conversation) -> NoticeResult:
        reference = conversation.reference
        assert reference
        sent_at = self.clock()
        error = await self._world.send(self, str(reference.tenant), is_reply=False)
        self.limits.answered(reference, sent_at, error)
        if error:
            return NoticeResult(Verdict.TRY_LATER, error.status, error.retry_after_seconds)
        return NoticeResult(Verdict.DELIVERED, 200)

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._world.now) + self._skew

    def clock(self) -> float:
        return self._world.now + self._offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self._world.now < self.stands_until:  # noqa: ASYNC110 - time is all that it waits for
            await asyncio.sleep(self.stands_until - self._world.now)
        if self.is_dead:
            await asyncio.Event().wait()


class _Work(Workload):
    """A sweep's work, which stands still with its process."""

    def __init__(self, process: _Process) -> None:
        super().__init__(SWEEP_SECONDS, process.clock)
        self._process = process

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        async with super().idle():
            yield
            await self._process.sleep(0)


class _Network:
    """The way of one process to storage."""

    def __init__(self, world: "World", process: _Process) -> None:
        self._world, self._process = world, process

    async def sent(self) -> tuple[bool, bool]:
        """A request on its way; returns whether its answer gets lost, and whether it arrives."""
        chance = self._world.random
        loses = chance.random() < self._world.scenario.lost
        await asyncio.sleep(chance.uniform(0.0025, 0.025))
        for begin, seconds in self._world.scenario.storage_stalls:
            if begin <= self._world.now < begin + seconds:
                await asyncio.sleep(begin + seconds - self._world.now)
        return loses, not loses or chance.random() < 0.5

    async def answered(self, *, loses: bool) -> None:
        """Its answer on its way back."""
        await self._process.sleep(3 if loses else self._world.random.uniform(0.0025, 0.025))
        if loses:
            raise StorageUnavailableError("no answer")


class _Store(TableStore):
    """Conversations that are all idle, and whose users do not come back."""

    def __init__(self, world: "World", process: _Process) -> None:
        super().__init__(MemoryTable(), MemoryTable(), 1)
        self._network = _Network(world, process)
        self.told_later: set[str] = set()

    async def load_tracking(self, address: Address) -> Conversation | None:
        await self._request()
        tenant, _, talk = address.key.partition(",")
        reference = Reference("msteams", "https://teams/", talk, tenant=tenant)
        return Conversation(address, "session", _EPOCH - timedelta(days=1), reference=reference)

    async def save(self, conversation: Conversation, **_: Any) -> Conversation:
        await self._request()
        return conversation

    async def settle(self, conversation: Conversation) -> None:
        await self._request()

    async def retry_later(self, conversation: Conversation, row: DueRow, due: int) -> None:
        self.told_later.add(row.address.key)
        await self._request()

    async def _request(self) -> None:
        loses, _ = await self._network.sent()
        await self._network.answered(loses=loses)


class _BudgetTable(Table):
    """The way of one process to the table of the budget."""

    def __init__(self, world: "World", process: _Process) -> None:
        self._world, self._process = world, process
        self._network = _Network(world, process)

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        raise NotImplementedError

    async def write(self, operations: Sequence[Operation]) -> list[str]:
        loses, arrives = await self._network.sent()
        if self._process.is_mute:
            loses, arrives = True, False
        try:
            if arrives:
                return await self._world.table.write(operations)
        finally:
            await self._network.answered(loses=loses)
        return []

    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        loses, _ = await self._network.sent()
        pages = [
            page
            async for page in self._world.table.query(partition, first, last, select, page_size)
        ]
        await self._network.answered(loses=loses)
        for page in pages:
            yield page


class World:
    """One run.

    Args:
        scenario: what happens.
        seed: of all chances.
        budget: what each process has: a mutant, for example.
        limits: the same.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        budget: type[Budget] = Budget,
        limits: type[SendingLimits] = SendingLimits,
    ) -> None:
        self.scenario, self.seed = scenario, seed
        self.make_budget, self.make_limits = budget, limits
        self.random = random.Random(seed)
        random.seed(seed)  # the waits of retries
        self.table = MemoryTable()
        self._loop = VirtualLoop()
        self._tenants = {f"tenant {n}": _Tenant() for n in range(scenario.tenants)}
        self._lost = 0
        self._sent: Counter[str] = Counter()
        skew = scenario.skew
        self._workers = [
            _Process(self, n, self.random.uniform(-skew, skew)) for n in range(scenario.workers)
        ]
        self._repliers = (
            self._workers
            if scenario.mixed
            else [
                _Process(self, 1000 + n, self.random.uniform(-skew, skew))
                for n in range(scenario.repliers)
            ]
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        return self._loop.time()

    def run(self) -> Outcome:
        """Let it happen."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())
        scenario = self.scenario
        step = scenario.step_at
        forgiven = (0.0, 0.0) if step is None else (step, step + 20)
        span = scenario.seconds - SETTLED_SECONDS
        tenants = self._tenants.values()
        settled = [
            sum(SETTLED_SECONDS <= each < scenario.seconds for each in tenant.notices)
            for tenant in tenants
        ]
        return Outcome(
            worst=max(each.worst(forgiven) for each in tenants),
            worst_ever=max(each.worst() for each in tenants),
            notices=min(settled) / span,
            refused=sum(each.refused for each in tenants),
            lost=self._lost,
            requests=60 * self.table.requests / scenario.seconds,
        )

    async def _run(self) -> None:
        scenario = self.scenario
        for worker in self._workers:
            self._start(self._work(worker, self.random.uniform(0, 2)))
        for part in scenario.replies:
            self._start(self._talk(*part))
        for number in range(scenario.deaths):
            victim = self._workers[(7 * number + 1) % scenario.workers]
            self._start(self._die(victim, 20 + 60 * number / scenario.deaths))
        for number in range(scenario.stalls):
            victim = self._workers[(5 * number) % scenario.workers]
            self._start(self._stall(victim, 25 + 50 * number / scenario.stalls))
        for worker in self._workers[: scenario.mute]:
            self._loop.call_at(20, setattr, worker, "is_mute", True)
        await asyncio.sleep(scenario.seconds)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _die(self, worker: _Process, at: float) -> None:
        await asyncio.sleep(at)
        worker.is_dead = True

    async def _stall(self, worker: _Process, at: float) -> None:
        await asyncio.sleep(at)
        worker.stands_until = self.now + self.scenario.stall_seconds

    async def _work(self, worker: _Process, begin: float) -> None:
        await worker.sleep(begin)
        rows = max(3, 120 // (self.scenario.workers * self.scenario.tenants))
        for tenant in self._tenants:
            for row in range(rows):
                self._start(self._row(worker, tenant, row))

    async def _row(self, worker: _Process, tenant: str, row: int) -> None:
        """One due row after another, as a sweep hands them to its `Expirer`."""
        for number in count():
            talk = Address("0", f"{tenant},{row} {number}")
            expirer, work = worker.sweep()
            async with work.waiting, work.sends:
                pass
            async with work.busy:
                with suppress(StorageUnavailableError):
                    due = DueRow(talk, "session", 0)
                    await expirer.handle(due, worker.now() - CLOCK_SKEW)
            if talk.key in worker.store.told_later:
                worker.store.told_later.remove(talk.key)
                await worker.sleep(1)

    async def send(
        self, process: _Process, tenant: str, *, is_reply: bool
    ) -> ConnectorError | None:
        await asyncio.sleep(self.random.uniform(0.01, 0.06))
        taken = self._tenants[tenant].arrives(self.now, is_reply=is_reply)
        await process.sleep(self.random.uniform(0.01, 0.06))
        return None if taken else ConnectorError("no", status=429, retry_after_seconds=1)

    async def _talk(self, begin: float, end: float, first: float, last: float) -> None:
        await asyncio.sleep(begin)
        number = 0
        while self.now < end:
            rate = first + (last - first) * (self.now - begin) / (end - begin)
            await asyncio.sleep(min(1 / max(rate, 0.2), 2))
            number += 1
            self._start(self._reply(self._repliers[number % len(self._repliers)], number))

    async def _reply(self, process: _Process, number: int) -> None:
        reference = Reference("msteams", "https://teams/", f"reply {number}", tenant="tenant 0")

        async def send() -> None:
            await process.limits.before_reply(reference)
            sent_at = process.clock()
            error = await self.send(process, "tenant 0", is_reply=True)
            process.limits.answered(reference, sent_at, error, is_reply=True)
            if error:
                raise error

        try:
            await Retries(clock=process.clock, sleep=process.sleep).begin().call(send)
        except ConnectorError:
            self._lost += 1


# Rules of the product, broken on purpose. Each must be noticed in one of the small scenarios.


class OwnBelief(Budget):
    """Sends until the time that it meant to write, whether others can read it or not."""

    @override
    async def _renewed(self) -> float:
        meant = self._clock() + self._row_seconds
        pause = await super()._renewed()
        if self._view:
            self._view = replace(self._view, ends_at=meant)
        return pause


class NoWait(Budget):
    """Sends as soon as it has a view, though others have views without it."""

    @override
    async def _renewed(self) -> float:
        pause = await super()._renewed()
        if self._view:
            self._view = replace(self._view, starts_at=0.0)
        return pause


class Alone(Budget):
    """Does not count the others."""

    @override
    async def _renewed(self) -> float:
        pause = await super()._renewed()
        if self._view:
            self._view = replace(self._view, names=[self._view.name], starts_at=0.0)
        return pause


class Forever(Budget):
    """Goes on when its time is over."""

    @override
    async def _renewed(self) -> float:
        pause = await super()._renewed()
        if self._view:
            self._view = replace(self._view, ends_at=math.inf)
        return pause


class Silent(Budget):
    """Tells no replies."""

    @override
    def replied(self, lane: str, *, refused: bool = False) -> None:
        pass


class Blind(SendingLimits):
    """Does not look again between the claim and the send."""

    @override
    def begin(self, reference: Reference, slot: Slot, within_seconds: float) -> Slot:
        return Slot(0)


class Hasty(Blind):
    """Catches up after it stood still, too."""

    @override
    def confirm(self, reference: Reference, slot: Slot, within_seconds: float) -> Slot:
        lane = self._lane(reference, self.clock())
        before = lane.time
        found = super().confirm(reference, slot, within_seconds)
        lane.time = max(lane.time, before)
        return found


def _at_replies(each_second: float) -> float:
    """The least notices that a tenant gets beside so many replies."""
    return 0.8 * (46 - 1.25 * each_second)


_STEP = ((40.0, 100.0, 30.0, 30.0),)
_RAMP = ((10.0, 90.0, 0.0, 30.0), (90.0, 110.0, 30.0, 30.0))
_SLOW_RAMP = ((10.0, 170.0, 0.0, 30.0), (170.0, 190.0, 30.0, 30.0))

SMALL: Mapping[str, Scenario] = {
    **{f"{n} at work": Scenario(n) for n in (1, 4, 16, 64)},
    "16, some die": Scenario(16, seconds=120, deaths=4, notices=35),
    "16, some stand still": Scenario(16, seconds=120, stalls=8, notices=35),
    "16, lost answers": Scenario(16, lost=0.02, notices=35),
    "4, 10 replies a second": Scenario(
        4, replies=((5, 70, 10, 10),), notices=_at_replies(10), step_at=5
    ),
    "16, 30 replies a second": Scenario(
        16, replies=((2, 70, 30, 30),), notices=_at_replies(30), step_at=2
    ),
    "16, a step to 30 replies": Scenario(
        16, seconds=100, replies=_STEP, notices=_at_replies(30), step_at=40
    ),
    "4, 5 tenants": Scenario(4, tenants=5, seconds=45),
    "2, the writes of one get lost": Scenario(2, mute=1, notices=35),
    **{
        f"{n}, storage stands still": Scenario(
            n, seconds=120, storage_stalls=((30, 3), (60, 0.4), (90, 12)), notices=least
        )
        for n, least in ((1, 30), (16, 26), (64, 22))
    },
    "1, stands still for a moment": Scenario(1, stalls=1, stall_seconds=4, notices=35),
    "8, each stands still for a moment": Scenario(8, stalls=8, stall_seconds=4, notices=30),
}
LARGE: Mapping[str, Scenario] = {
    **{  # a sweep works on 16 rows at once, too few for all: only the limit counts here
        f"{n}, 100 tenants": Scenario(n, tenants=100, seconds=60, notices=0) for n in (1, 4, 16, 64)
    },
    **{
        f"{n}, a step to 30 replies": Scenario(
            n, seconds=100, replies=_STEP, notices=_at_replies(30), step_at=40
        )
        for n in (1, 4, 64)
    },
    **{
        f"{n}, replies rise to 30": Scenario(n, seconds=110, replies=_RAMP, notices=_at_replies(30))
        for n in (1, 4, 16, 64)
    },
    "64, some die": Scenario(64, seconds=120, deaths=16, notices=35),
    "64, all at once": Scenario(
        64, seconds=110, deaths=12, stalls=12, lost=0.02, replies=_RAMP, notices=_at_replies(30)
    ),
    "16, all at once": Scenario(
        16, seconds=110, deaths=4, stalls=4, lost=0.02, replies=_RAMP, notices=_at_replies(30)
    ),
    "16 that also reply": Scenario(
        16, seconds=190, replies=_SLOW_RAMP, mixed=True, notices=_at_replies(30)
    ),
    "16, replies of 30 processes": Scenario(
        16, seconds=190, replies=_SLOW_RAMP, repliers=30, notices=_at_replies(30)
    ),
}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; none: all")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    every = {**SMALL, **LARGE}
    failed = False
    head = ("worst", "ever", "notices", "429s", "lost", "req/min", "CPU s")
    sys.stdout.write(f"{'':42}" + "".join(f"{each:>9}" for each in head) + "\n")
    for name in arguments.names or every:
        for seed in range(arguments.seeds):
            began = time.process_time()
            outcome = World(every[name], seed).run()
            problems = outcome.problems(every[name])
            failed = failed or bool(problems)
            figures: list[float] = [outcome.worst, outcome.worst_ever, round(outcome.notices, 1)]
            figures += [outcome.refused, outcome.lost, round(outcome.requests)]
            figures.append(round(time.process_time() - began, 1))
            sys.stdout.write(f"{name:42}" + "".join(f"{each:9}" for each in figures))
            sys.stdout.write(f"  {', '.join(problems)}\n")
            sys.stdout.flush()
    sys.exit(failed)


if __name__ == "__main__":
    _main()
