"""What is around a sweep of the timer (its record, its count of requests), and health's checks."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from shared.domain.errors import StorageUnavailableError
from shared.domain.inbox import Waiting
from shared.expiry.health import HEALTH_SECONDS, INBOX_SECONDS, Health
from shared.expiry.inbox_watch import LATE_AFTER_SECONDS, InboxWatch
from shared.expiry.run import SweepRunner
from shared.settings.expiry import ExpirySettings
from shared.storage.table_inbox import TableInbox
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation
from tests.faults import FaultyTable, once
from tests.memory_queue import MemoryQueue
from tests.memory_table import MemoryTable
from tests.stores_in_memory import StoresInMemory

LATE = 3 * 10 + 45 + 1  # seconds: three intervals, one budget


@dataclass
class Fixture:
    settings: ExpirySettings
    table: FaultyTable = field(default_factory=lambda: FaultyTable(MemoryTable()))

    def __post_init__(self) -> None:
        self.bot = BotInMemory(FunctionBot(count_in_conversation), conversations=self.table)
        self.stores = StoresInMemory(self.bot)
        self.runner = SweepRunner(
            self.stores,
            self.settings,
            self.bot.notices,
            self.bot.erasure.finish,
            policy=self.bot.policy,
            now=self.bot.clock,
        )
        self.health = Health(
            self.stores,
            self.settings,
            self.bot.policy,
            now=self.bot.clock,
            clock=lambda: self.bot.clock().timestamp(),
        )


@pytest.fixture
def app() -> Fixture:
    variables = {"ExpireAfterSeconds": "100", "ExpirySchedule": "*/10 * * * * *"}
    return Fixture(ExpirySettings.model_validate(variables))


async def test_a_sweep_is_recorded_with_its_requests(app: Fixture) -> None:
    await app.bot.say()
    app.bot.clock.sleep(103)
    report = await app.runner.run()
    (record,) = await app.bot.store.sweeps()
    assert (record.at, record.error, record.complete) == (app.bot.clock.now, "", True)
    assert record.counts["notified"] == 1
    assert record.requests == report.requests == app.stores.REQUESTS


async def test_a_sweep_that_fails_is_recorded_with_the_class_of_its_error(app: Fixture) -> None:
    app.stores.down = True
    with pytest.raises(StorageUnavailableError):
        await app.runner.run()
    (record,) = await app.bot.store.sweeps()
    assert record.error == "StorageUnavailableError"


async def test_a_record_that_cannot_be_written_is_logged_and_the_sweep_is_done(
    app: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    app.table.before = once("sweep|")
    assert (await app.runner.run()).complete
    assert "sweep: not recorded: no answer" in caplog.text
    assert await app.bot.store.sweeps() == []


async def test_an_app_is_ready_for_as_long_as_sweeps_run(app: Fixture) -> None:
    assert await app.health.failed_checks() == ["sweep"]
    await app.runner.run()
    app.bot.clock.sleep(HEALTH_SECONDS)
    assert await app.health.failed_checks() == []
    app.bot.clock.sleep(LATE)
    assert await app.health.failed_checks() == ["sweep"]


async def test_health_asks_the_storage_every_five_seconds_at_most(app: Fixture) -> None:
    app.stores.down = True
    assert await app.health.failed_checks() == ["storage"]
    app.stores.down = False
    app.bot.clock.sleep(HEALTH_SECONDS - 1)
    assert await app.health.failed_checks() == ["storage"]
    assert app.stores.asked == 1
    app.bot.clock.sleep(1)
    assert await app.health.failed_checks() == ["sweep"]


async def test_a_check_that_fails_unforeseen_is_not_repeated_at_once_either(
    app: Fixture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def sweeps() -> None:
        nonlocal asked
        asked += 1
        raise TypeError("a row that nobody foresaw")

    monkeypatch.setattr(app.bot.store, "sweeps", sweeps)
    for _ in range(3):
        assert await app.health.failed_checks() == ["check"]
    assert asked == 1
    assert "a row that nobody foresaw" in caplog.text


async def test_many_probes_at_once_share_one_check(app: Fixture) -> None:
    answers = await asyncio.gather(*(app.health.failed_checks() for _ in range(20)))
    assert answers == [["sweep"]] * 20
    assert app.stores.asked == 1


async def test_an_inbox_that_nobody_takes_from_is_a_failure_looked_at_once_a_minute(
    app: Fixture,
) -> None:
    table = MemoryTable()
    inbox = TableInbox(table)
    app.health = Health(
        app.stores,
        app.settings,
        app.bot.policy,
        inbox=InboxWatch(inbox, MemoryQueue()),
        now=app.bot.clock,
        clock=lambda: app.bot.clock().timestamp(),
    )
    await inbox.put(Waiting("a" * 32, "1", b"words", app.bot.clock.now))
    await app.runner.run()
    assert await app.health.failed_checks() == []
    assert (await app.health.status()).verdict[0] == "good"
    looked = table.requests
    app.bot.clock.sleep(INBOX_SECONDS - 1)
    await app.runner.run()
    assert await app.health.failed_checks() == []
    assert table.requests == looked
    app.bot.clock.sleep(LATE_AFTER_SECONDS)
    assert await app.health.failed_checks() == ["sweep", "inbox"]
    await app.runner.run()
    app.bot.clock.sleep(HEALTH_SECONDS)
    assert await app.health.failed_checks() == ["inbox"]
    assert (await app.health.status()).verdict == (
        "bad",
        "Activities wait for their turns, 1, for up to 6 min",
    )


async def test_the_inbox_is_looked_at_without_timer_and_without_rows_too(app: Fixture) -> None:
    inbox = TableInbox(MemoryTable())
    await inbox.put(Waiting("a" * 32, "1", b"words", app.bot.clock.now))
    off = app.settings.model_copy(update={"timer_disabled": True})
    watch = InboxWatch(inbox, None)
    health = Health(app.stores, off, app.bot.policy, inbox=watch, now=app.bot.clock)
    app.bot.clock.sleep(1)
    assert await health.failed_checks() == ["inbox"]
    app.stores.has_rows = False
    status = await health.status()
    assert status.verdict == ("bad", "LongTurns is off, and 1 activities wait for it")
    assert status.as_json()["inbox"] == {"waiting": 1, "oldest_seconds": 1.0, "is_on": False}


async def test_the_status_says_whether_the_timer_is_off(app: Fixture) -> None:
    assert (await app.health.status()).timer == "on"
    off = app.settings.model_copy(update={"timer_disabled": True})
    health = Health(app.stores, off, app.bot.policy, now=app.bot.clock)
    assert (await health.status()).timer == "off"


async def test_without_rows_nothing_is_swept(app: Fixture) -> None:
    await app.bot.say()
    app.bot.clock.sleep(103)
    app.stores.has_rows = False
    assert (await app.runner.run()).expired == 0
    assert await app.bot.store.sweeps() == []
