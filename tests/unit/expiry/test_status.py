"""The facts about expiry, the verdict on them, and the functions that show them."""

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest

import api_function
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import Address
from shared.domain.sweep_record import SweepRecord
from shared.domain.timing import Timing
from shared.domain.work import DueRow
from shared.expiry.report import record_of
from shared.expiry.status import Schedule, Status, gather_status, is_recent
from shared.settings.api import ApiSettings
from shared.storage.tables import Operation, Row
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation

EVERY_MINUTE = Schedule(60, 60)
LATE_AFTER = 3 * 60 + 45


@pytest.fixture
def bot() -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_conversation))


async def status_of(bot: BotInMemory) -> Status:
    return await gather_status(bot.store, EVERY_MINUTE, 45, bot.policy, bot.clock.now)


async def file_due(bot: BotInMemory, seconds: int) -> None:
    due = int(bot.clock.now.timestamp()) + seconds
    await bot.store.file(DueRow(Address("s001", f"{seconds % 1000:032d}"), "one", due))


async def test_without_a_sweep_the_verdict_says_so(bot: BotInMemory) -> None:
    assert (await status_of(bot)).verdict == ("bad", "No sweep has run yet")


async def test_a_recent_sweep_and_nothing_overdue_is_good(bot: BotInMemory) -> None:
    await bot.say()
    await bot.store.record_sweep(record_of(await bot.sweep(), bot.clock.now), 0)
    status = await status_of(bot)
    assert status.verdict == ("good", "Everything expires on time")
    assert status.waiting == {"up to 1 min": 0, "1 to 5 min": 1}


async def test_who_is_warned_is_counted_apart_until_a_sweep_finds_them_back() -> None:
    warned = Timing(timedelta(seconds=1000), (timedelta(seconds=300),))
    bot = BotInMemory(FunctionBot(count_in_conversation), warned)
    for name in "back", "silent":
        await bot.say(conversation={"id": name})
    assert (await status_of(bot)).by_time_left["warned"] == 0
    bot.clock.sleep(710)
    await bot.sweep()
    await bot.say(conversation={"id": "new"})
    await bot.say(conversation={"id": "back"})
    status = await status_of(bot)
    assert (status.warned, status.waiting["5 to 15 min"], status.overdue) == (2, 1, 0)
    assert status.as_json()["warned"] == 2
    bot.clock.sleep(400)
    status = await status_of(bot)
    assert (status.warned, status.overdue) == (0, 2)
    await bot.sweep()
    status = await status_of(bot)
    assert (status.warned, sum(status.waiting.values()), status.overdue) == (0, 2, 0)


async def test_what_is_kept_to_be_resumed_is_counted_apart_also_beside_a_new_session() -> None:
    timing = Timing(timedelta(seconds=1000), resume_within=timedelta(hours=1))
    bot = BotInMemory(FunctionBot(count_in_conversation), timing)
    for name in "away", "back":
        await bot.say(conversation={"id": name})
    bot.clock.sleep(1003)
    await bot.sweep()
    await bot.say(conversation={"id": "back"})
    status = await status_of(bot)
    assert (status.kept, sum(status.waiting.values()), status.overdue) == (2, 1, 0)
    assert status.as_json()["kept"] == status.by_time_left["kept"] == 2
    bot.clock.sleep(3665)
    status = await status_of(bot)
    assert (status.kept, status.overdue) == (0, 3)
    await bot.sweep()
    status = await status_of(bot)
    assert (status.kept, sum(status.waiting.values())) == (1, 0)


@pytest.mark.parametrize(("age", "health"), [(LATE_AFTER, "good"), (LATE_AFTER + 1, "bad")])
async def test_a_sweep_that_is_missing_is_bad(bot: BotInMemory, age: int, health: str) -> None:
    await bot.store.record_sweep(SweepRecord(bot.clock.now), 0)
    bot.clock.sleep(age)
    status = await status_of(bot)
    assert status.verdict[0] == health
    assert is_recent(status.sweeps, EVERY_MINUTE, 45, bot.clock.now) == (health == "good")


@pytest.mark.parametrize(("age", "health"), [(LATE_AFTER, "good"), (LATE_AFTER + 1, "bad")])
async def test_a_backlog_is_bad_once_it_is_old(bot: BotInMemory, age: int, health: str) -> None:
    await bot.store.record_sweep(SweepRecord(bot.clock.now), 0)
    await file_due(bot, -age)
    status = await status_of(bot)
    assert (status.verdict[0], status.overdue) == (health, 1)
    assert status.oldest_overdue_seconds == age


async def test_a_failed_sweep_is_bad_and_not_recent(bot: BotInMemory) -> None:
    failed = SweepRecord(bot.clock.now, error="StorageUnavailableError")
    await bot.store.record_sweep(failed, 0)
    status = await status_of(bot)
    assert status.verdict == ("bad", "The last sweep failed: StorageUnavailableError")
    assert not is_recent(status.sweeps, EVERY_MINUTE, 45, bot.clock.now)


async def test_without_its_timer_an_app_is_not_called_late(bot: BotInMemory) -> None:
    status = replace(await status_of(bot), timer="off")
    assert status.verdict[0] == "warn"
    assert "timer is off" in status.verdict[1]


def test_where_there_are_no_rows_there_is_nothing_to_be_late_with() -> None:
    status = Status.of_no_rows(datetime(2026, 11, 25, tzinfo=UTC))
    assert status.verdict[0] == "good"
    assert status.as_json()["timer"] == "none"


async def test_more_rows_than_are_counted_are_said_to_be_more(
    bot: BotInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.expiry.status.MOST_ROWS", 4)  # two a shard
    for seconds in (10, 20, 30):
        await file_due(bot, seconds)
    status = await status_of(bot)
    assert (status.more, sum(status.waiting.values())) == (True, 2)


async def test_dead_letters_are_counted_with_the_oldest(bot: BotInMemory) -> None:
    at = int(bot.clock.now.timestamp())
    for ago in (5, 9):
        row = Row("s000", f"x|{at - ago:010d}|{ago:032d}|one")
        await bot.conversations.write([Operation("insert", row)])
    await bot.store.record_sweep(SweepRecord(bot.clock.now), 0)
    status = await status_of(bot)
    assert status.verdict[0] == "warn"
    assert status.dead_letters == 2
    assert status.oldest_dead_letter == bot.clock.now - timedelta(seconds=9)


async def test_records_come_back_newest_first_and_a_slot_holds_one(bot: BotInMemory) -> None:
    now = bot.clock.now
    first = SweepRecord(now, {"expired": 3}, 1.5, 2.5, 0.1, 7)
    second = SweepRecord(now + timedelta(seconds=60), complete=False, stopped=True)
    await bot.store.record_sweep(SweepRecord(now - timedelta(days=1)), 1)
    await bot.store.record_sweep(first, 1)
    await bot.store.record_sweep(second, 2)
    assert list(await bot.store.sweeps()) == [second, first]


def test_sweeps_of_fifty_intervals_have_slots_of_their_own(bot: BotInMemory) -> None:
    schedule = Schedule.of("0 */5 * * * *", bot.clock.now)
    assert schedule == Schedule(300, 300)
    times = [bot.clock.now + timedelta(seconds=300 * number) for number in range(50)]
    assert len({schedule.slot(at) for at in times}) == 50


@pytest.mark.parametrize(
    ("expression", "shortest_days", "longest_days"),
    [
        ("0 0 0 1-7 * MON", 28, 35),  # day of month AND day of week
        ("0 0 0 13 * FRI", 28, 427),
        ("0 0 9-17 * * MON-FRI", 1 / 24, 64 / 24),  # over a weekend
        ("0 6,18 * * *", 0.5, 0.5),
    ],
)
def test_the_longest_gap_of_a_schedule_is_known_on_any_day(
    bot: BotInMemory, expression: str, shortest_days: float, longest_days: float
) -> None:
    for days in range(7):
        schedule = Schedule.of(expression, bot.clock.now + timedelta(days=days))
        assert schedule.shortest_seconds == shortest_days * 86400
        assert schedule.longest_seconds == longest_days * 86400


async def test_no_sweep_was_missed_in_the_weeks_between_two_of_an_irregular_schedule(
    bot: BotInMemory,
) -> None:
    schedule = Schedule.of("0 0 0 1-7 * MON", bot.clock.now)
    a_month_ago = SweepRecord(bot.clock.now - timedelta(days=34))
    assert is_recent([a_month_ago], schedule, 45, bot.clock.now)
    await bot.store.record_sweep(a_month_ago, 0)
    status = await gather_status(bot.store, schedule, 45, bot.policy, bot.clock.now)
    assert status.verdict[0] == "good"


def trigger_of(function: Any) -> Any:
    return function.get_trigger()


async def asked(
    monkeypatch: pytest.MonkeyPatch,
    bot: BotInMemory,
    protection: str = "key",
    *,
    failed: tuple[str, ...] = (),
    path: str = "expiry",
    **request: Any,
) -> func.HttpResponse:
    async def failed_checks() -> tuple[str, ...]:
        return failed

    async def status() -> Status:
        if failed:
            raise StorageUnavailableError("no answer")
        return await status_of(bot)

    async def get_app() -> Any:
        health = SimpleNamespace(status=status, failed_checks=failed_checks)
        return SimpleNamespace(health=health, in_time=nullcontext)

    for module in (api_function.status, api_function.health):
        monkeypatch.setattr(module, "get_app", get_app)
    app = func.FunctionApp()
    values = {"StatusPage": protection, "WEBSITE_AUTH_ENABLED": "true"}
    settings = ApiSettings.model_validate(values)
    app.register_functions(api_function.make_blueprint(settings))
    (function,) = [f for f in app.get_functions() if trigger_of(f).route == path]
    req = func.HttpRequest("GET", f"/api/{path}", body=b"", **request)
    answer: func.HttpResponse = await function.get_user_function()(req)
    return answer


async def test_the_page_is_protected_by_a_setting_of_its_own(
    monkeypatch: pytest.MonkeyPatch, bot: BotInMemory
) -> None:
    assert (await asked(monkeypatch, bot, "off")).status_code == 404
    assert (await asked(monkeypatch, bot, "entra")).status_code == 401
    assert (await asked(monkeypatch, bot, "key")).status_code == 200


@pytest.mark.parametrize("failed", [(), ("storage",)])
@pytest.mark.parametrize("path", ["expiry", "health", "health/live"])
async def test_no_answer_is_stored_or_sniffed(
    monkeypatch: pytest.MonkeyPatch, bot: BotInMemory, path: str, failed: tuple[str, ...]
) -> None:
    answer = await asked(monkeypatch, bot, path=path, failed=failed)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_facts_come_as_json_too(
    monkeypatch: pytest.MonkeyPatch, bot: BotInMemory
) -> None:
    await bot.store.record_sweep(SweepRecord(bot.clock.now), 0)
    facts = json.loads((await asked(monkeypatch, bot, params={"format": "json"})).get_body())
    assert facts["headline"] == "Everything expires on time"
    assert facts["sweeps"][0]["at"] == bot.clock.now.isoformat()


async def test_readiness_names_what_failed_and_liveness_asks_nothing(
    monkeypatch: pytest.MonkeyPatch, bot: BotInMemory
) -> None:
    assert (await asked(monkeypatch, bot, path="health")).status_code == 200
    not_ready = await asked(monkeypatch, bot, path="health", failed=("storage",))
    assert not_ready.status_code == 503
    assert json.loads(not_ready.get_body()) == {"status": "not ok", "failed": ["storage"]}
    live = await asked(monkeypatch, bot, path="health/live", failed=("storage",))
    assert live.status_code == 200
    assert (await asked(monkeypatch, bot, failed=("storage",))).status_code == 503
