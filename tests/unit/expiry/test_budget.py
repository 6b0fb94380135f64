"""What a process does to be one of those that send: its requests, and when it makes them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.budget import Member, Rows, Told
from shared.domain.errors import StorageUnavailableError
from shared.expiry.budget import LEAVES_AFTER_SECONDS, TOLD_FROM_REPLIES, Budget
from shared.storage.table_budget import TableBudget
from tests.memory_table import MemoryTable

START = datetime(2026, 11, 30, 12, tzinfo=UTC)
TEAMS = (50, 1.0)
LANE = "lane"


class Time:
    """Two clocks that are moved by hand; who sleeps is woken when they are."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.seconds + seconds, woken))
        await woken.wait()

    async def pass_by(self, seconds: float) -> None:
        self.seconds += seconds
        for until, woken in self._sleepers:
            if until <= self.seconds:
                woken.set()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Storage(TableBudget):
    """Fails if it is told to."""

    def __init__(self) -> None:
        self.table = MemoryTable()
        self.is_down = False
        super().__init__(self.table)

    async def renew(self, member: Member) -> None:
        if self.is_down:
            raise StorageUnavailableError("down")
        await super().renew(member)

    async def rows(self) -> Rows:
        if self.is_down:
            raise StorageUnavailableError("down")
        return await super().rows()

    async def tell(self, told: Told) -> None:
        if self.is_down:
            raise StorageUnavailableError("down")
        await super().tell(told)

    async def names(self) -> list[str]:
        rows = await super().rows()
        return [*(each.name for each in rows.members), *(each.name for each in rows.told)]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
async def processes(storage: Storage, time: Time) -> AsyncIterator[Callable[[], Budget]]:
    made: list[Budget] = []

    def one_more() -> Budget:
        number = len(made)
        names = (f"process{number}.{n}" for n in range(1000))
        made.append(
            Budget(
                storage,
                now=time.now,
                clock=time.clock,
                sleep=time.sleep,
                new_name=lambda: next(names),
            )
        )
        return made[-1]

    yield one_more
    for each in made:
        await each.close()


def per_second(budget: Budget) -> float | None:
    share = budget.share(LANE, TEAMS)
    return None if share is None else share.per_second


async def test_nothing_is_asked_of_the_storage_before_a_notice_is_to_be_sent(
    storage: Storage, processes: Callable[[], Budget]
) -> None:
    processes()
    await settle()
    assert storage.table.requests == 0


async def test_who_is_alone_has_its_share_after_two_requests(
    storage: Storage, processes: Callable[[], Budget]
) -> None:
    budget = processes()
    assert per_second(budget) is None
    await settle()
    share = budget.share(LANE, TEAMS)
    assert share
    assert (share.per_second, share.is_whole) == (39, True)
    assert share.starts_at <= 100
    assert storage.table.requests == 2


async def test_two_share_and_the_second_one_waits_for_the_firsts_old_view_to_end(
    processes: Callable[[], Budget], time: Time
) -> None:
    first, second = processes(), processes()
    per_second(first)
    await settle()
    per_second(second)
    await settle()
    share = second.share(LANE, TEAMS)
    assert share
    assert share.starts_at == 100 + 4 + 2
    assert per_second(first) == 39
    await time.pass_by(2)
    together = [per_second(first), per_second(second)]
    assert sorted(map(float, filter(None, together))) == [19, 20]


async def test_who_stood_still_has_no_share_until_it_has_looked_again(
    processes: Callable[[], Budget], time: Time
) -> None:
    budget = processes()
    per_second(budget)
    await settle()
    time.seconds += 6
    assert per_second(budget) is None
    await time.pass_by(0)
    assert per_second(budget) == 39


async def test_who_sends_no_more_leaves(
    storage: Storage, processes: Callable[[], Budget], time: Time
) -> None:
    budget = processes()
    per_second(budget)
    await settle()
    assert await storage.names() == ["process0.0"]
    for _ in range(4):
        await time.pass_by(LEAVES_AFTER_SECONDS / 2)
    assert await storage.names() == []
    requests = storage.table.requests
    await time.pass_by(60)
    assert storage.table.requests == requests
    per_second(budget)
    await settle()
    assert per_second(budget) == 39


async def test_without_storage_there_is_no_share_and_one_line_in_the_log(
    storage: Storage,
    processes: Callable[[], Budget],
    time: Time,
    caplog: pytest.LogCaptureFixture,
) -> None:
    budget = processes()
    storage.is_down = True
    for _ in range(5):
        assert per_second(budget) is None
        await time.pass_by(1)
    assert len(caplog.records) == 1
    storage.is_down = False
    await time.pass_by(1)
    assert per_second(budget) == 39


async def test_a_row_that_is_taken_away_is_written_anew_under_another_name(
    storage: Storage, processes: Callable[[], Budget], time: Time
) -> None:
    budget = processes()
    per_second(budget)
    await settle()
    (member,) = (await storage.rows()).members
    await storage.remove(member)
    for _ in range(8):
        per_second(budget)
        await time.pass_by(1)
    assert per_second(budget) == 39
    assert await storage.names() == ["process0.1"]


async def test_rows_of_processes_that_died_long_ago_are_removed(
    storage: Storage, processes: Callable[[], Budget], time: Time
) -> None:
    long_ago = time.now() - timedelta(minutes=11)
    await storage.renew(Member("dead", long_ago))
    await storage.tell(Told("dead-too", long_ago, {LANE: 1.0}))
    budget = processes()
    per_second(budget)
    await settle()
    assert await storage.names() == ["process0.0"]


async def test_a_few_replies_make_no_request(
    storage: Storage, processes: Callable[[], Budget], time: Time
) -> None:
    budget = processes()
    for _ in range(10):
        for _ in range(TOLD_FROM_REPLIES - 1):
            budget.replied(LANE)
        await time.pass_by(60)
    assert storage.table.requests == 0


async def test_many_replies_are_told_at_most_once_in_five_seconds(
    storage: Storage, processes: Callable[[], Budget], time: Time
) -> None:
    budget = processes()
    for _ in range(200):
        budget.replied(LANE)
        await time.pass_by(0.1)
    (told,) = (await storage.rows()).told
    assert told.replies[LANE] == pytest.approx(10, abs=0.5)
    # Sooner only while they become more: in the first seconds.
    assert 4 <= storage.table.requests - 1 <= 9


async def test_what_others_reply_is_left_to_them_and_what_it_replies_itself_is_not(
    processes: Callable[[], Budget], time: Time
) -> None:
    sweeps, messages = processes(), processes()
    for each in sweeps, messages:
        for _ in range(100):
            each.replied(LANE)
            await time.pass_by(0.05)
    per_second(sweeps)
    await settle()
    assert per_second(sweeps) == pytest.approx(20, abs=1)  # 45 - 1.25 x 20
    await time.pass_by(2)
    per_second(sweeps)
    for _ in range(6):
        await time.pass_by(2)
        per_second(sweeps)
    assert per_second(sweeps) == 39  # it was told long ago


async def test_a_refused_reply_is_told_however_few_there_are(
    storage: Storage, processes: Callable[[], Budget], time: Time
) -> None:
    budget = processes()
    budget.replied(LANE)
    await time.pass_by(2)
    budget.replied(LANE, refused=True)
    await settle()
    (told,) = (await storage.rows()).told
    assert told.replies == {LANE: 1.0}


async def test_replies_that_could_not_be_told_are_told_soon_after(
    storage: Storage,
    processes: Callable[[], Budget],
    time: Time,
    caplog: pytest.LogCaptureFixture,
) -> None:
    budget = processes()
    storage.is_down = True
    for _ in range(20):
        budget.replied(LANE)
        await time.pass_by(0.1)
    assert "replies not told" in caplog.text
    storage.is_down = False
    for _ in range(20):
        budget.replied(LANE)
        await time.pass_by(0.1)
    assert (await storage.rows()).told
