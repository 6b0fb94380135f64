"""Erasing a user of whom something is kept to be resumed: nothing of it is left, or comes back."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from shared.domain.conversation import Conversation
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import user_hash
from shared.expiry.notice import NoticeResult, Verdict
from shared.storage.tables import Operation, Row
from tests.bot_in_memory import CHANNEL, BotInMemory, InCosmos, count_in_every_bag
from tests.faults import FaultyContainer, FaultyTable, do_once, once
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable
from tests.unit.turn.test_resume import GONE, TIMING, ResumableBot, button, press

GROUP: dict[str, Any] = {"conversation": {"id": "talk", "isGroup": True}}
PERSONAL: dict[str, Any] = {"conversation": {"id": "talk"}}
ANN = user_hash(CHANNEL, "ann")


class Bot(BotInMemory):
    """A bot that counts in every bag, on tables and containers that can fail."""

    def __init__(self, *, in_cosmos: bool) -> None:
        self.memory = MemoryTable(), MemoryTable()
        self.containers = MemoryContainer(), MemoryContainer()
        self.faulty = [FaultyTable(each) for each in self.memory]
        self.faulty_containers = tuple(FaultyContainer(each) for each in self.containers)
        super().__init__(
            ResumableBot(count_in_every_bag),
            TIMING,
            conversations=self.faulty[0],
            users=self.faulty[1],
            cosmos=InCosmos(self.faulty_containers[0], self.faulty_containers[1])
            if in_cosmos
            else None,
        )
        for container in self.containers:
            container.now = self.clock

    def hook(self, where: str, hook: Callable[[str], Awaitable[None]]) -> None:
        for each in (*self.faulty, *self.faulty_containers):
            setattr(each, where, hook)

    def healthy(self) -> None:
        for where in "before", "after":
            self.hook(where, once("nothing"))

    def left(self) -> list[str]:
        """What is left of Ann, and of a conversation that was hers alone."""
        rows = [row for table in self.memory for row in table.rows.values()]
        stored = [each for container in self.containers for each in container.stored.items()]
        return [
            *(f"{row.partition}/{row.key}" for row in rows if ANN in f"{row.partition} {row}"),
            *(name for name, each in stored if ANN in f"{name} {each}"),
        ]

    def kinds(self) -> set[str]:
        return {row.key[0] for row in self.memory[0].rows.values()}


@pytest.fixture(params=[False, True], ids=["tables", "cosmos"])
def bot(request: pytest.FixtureRequest) -> Bot:
    return Bot(in_cosmos=request.param)


async def expire(bot: Bot) -> None:
    bot.clock.sleep(103)
    await bot.sweep()


async def kept(bot: Bot, where: dict[str, Any]) -> None:
    await bot.say(**where)
    await bot.say(sender="bob" if where is GROUP else "ann", **where)
    await expire(bot)


async def beside_a_new_one(bot: Bot, where: dict[str, Any]) -> None:
    await kept(bot, where)
    await bot.say(**where)


async def beside_a_newer_one(bot: Bot, where: dict[str, Any]) -> None:
    await beside_a_new_one(bot, where)
    await expire(bot)
    await bot.say(**where)


async def resumed(bot: Bot, where: dict[str, Any]) -> None:
    await beside_a_new_one(bot, where)
    (action,) = bot.connector.sent[-2][2]["suggestedActions"]["actions"]
    await press(bot, action["value"], **where)


async def waiting_to_be_told(bot: Bot, where: dict[str, Any]) -> None:
    async def busy(_: Conversation) -> NoticeResult:
        return NoticeResult(Verdict.TRY_LATER, 503)

    await bot.say(**where)
    bot.clock.sleep(103)
    await bot.sweep(busy)


async def left_by_a_crash(bot: Bot, where: dict[str, Any]) -> None:
    """The second expiry has ended before it deleted what the first one had kept."""
    await beside_a_new_one(bot, where)
    bot.clock.sleep(103)
    bot.hook("before", _dies_after_its_claim())
    await bot.sweep()
    bot.healthy()


def _dies_after_its_claim() -> Callable[[str], Awaitable[None]]:
    claimed: list[str] = []

    async def hook(doing: str) -> None:
        if claimed:
            raise StorageUnavailableError(f"dead, before {doing}")
        claimed.extend([doing] if doing.startswith("write merge c|") else [])

    return hook


FORMS = [
    kept,
    beside_a_new_one,
    beside_a_newer_one,
    resumed,
    waiting_to_be_told,
    left_by_a_crash,
]
every_form = pytest.mark.parametrize("form", FORMS)
everywhere = pytest.mark.parametrize("where", [PERSONAL, GROUP], ids=["personal", "group"])


@every_form
@everywhere
async def test_nothing_of_the_user_is_left_in_any_table_or_container(
    bot: Bot, form: Callable[[Bot, dict[str, Any]], Awaitable[None]], where: dict[str, Any]
) -> None:
    await form(bot, where)
    assert bot.left()
    bot.clock.sleep(40)  # a document that no row names may belong to a turn under way until then
    await bot.erasure.erase(CHANNEL, "ann")
    assert bot.left() == []
    if where is PERSONAL:
        assert {"c", "p"}.isdisjoint(bot.kinds())
        assert not bot.containers[0].stored
    bot.clock.sleep(4000)
    await bot.sweep()
    bot.clock.sleep(4000)
    await bot.sweep()
    assert bot.kinds() == set()
    assert not bot.containers[0].stored


@every_form
async def test_what_was_erased_cannot_be_resumed(
    bot: Bot, form: Callable[[Bot, dict[str, Any]], Awaitable[None]]
) -> None:
    await form(bot, PERSONAL)
    row = await bot.row()
    assert row
    await bot.erasure.erase(CHANNEL, "ann")
    sessions = [row.session, *([row.kept.session] if row.kept else [])]
    for session in sessions:
        assert await press(bot, {"expiry": "resume", "session": session}) == [GONE]


@pytest.mark.slow
@everywhere
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("in_cosmos", [False, True], ids=["tables", "cosmos"])
async def test_a_crash_at_any_request_is_finished_by_a_sweep(
    in_cosmos: bool, when: str, where: dict[str, Any]
) -> None:
    for request_number in range(MOST_REQUESTS):
        bot = Bot(in_cosmos=in_cosmos)
        await beside_a_new_one(bot, where)
        bot.clock.sleep(40)
        done = await erase_until(bot, when, request_number)
        bot.clock.sleep(40)
        await bot.sweep()
        # Before both tables know of it, it has not begun: the caller knows that it failed.
        if done >= (2 if when == "before" else 1):
            assert bot.left() == []
    assert done < MOST_REQUESTS - 1  # the last ones were not interrupted


MOST_REQUESTS = 60


async def erase_until(bot: Bot, when: str, request_number: int) -> int:
    """Begin to erase Ann; die at this request. Returns how many requests there were before."""
    done: list[str] = []

    async def crash(doing: str) -> None:
        if len(done) >= request_number:
            raise StorageUnavailableError(f"dead, at {doing}")
        done.append(doing)

    bot.hook(when, crash)
    with suppress(StorageUnavailableError):
        await bot.erasure.erase(CHANNEL, "ann")
    bot.healthy()
    return len(done)


@pytest.mark.parametrize("name", ["c|", "p|", "kept"])
async def test_damaged_rows_are_erased_too(bot: Bot, name: str) -> None:
    await beside_a_new_one(bot, PERSONAL)
    for row in list(bot.memory[0].rows.values()):
        if row.key.startswith(name) or row.key.endswith(name):
            broken = Row(row.partition, row.key, {**row.columns, "SessionId": 5, "Kept": "["})
            await bot.memory[0].write([Operation("upsert", broken)])
    bot.clock.sleep(40)
    await bot.erasure.erase(CHANNEL, "ann")
    assert bot.left() == []
    bot.clock.sleep(3)
    await bot.sweep()  # which also removes what stood in the way of a turn under way
    assert {"c", "p"}.isdisjoint(bot.kinds())
    assert not bot.containers[0].stored


@pytest.mark.parametrize("at", ["get c|", "query p|", "write delete p|", "write delete c|"])
async def test_who_resumes_during_an_erasure_brings_nothing_back(bot: Bot, at: str) -> None:
    await kept(bot, PERSONAL)
    value = button(bot)
    bot.hook("before", do_once(at, lambda: press(bot, value)))
    await bot.erasure.erase(CHANNEL, "ann")
    bot.healthy()
    assert bot.left() == []
