"""Fan-out: what a sweep does not finish is put on a queue, and finished from there."""

import asyncio
import json
import logging
from dataclasses import dataclass, field

import pytest

from shared.connector.client import ConnectorError
from shared.domain.errors import StorageUnavailableError
from shared.expiry import run
from shared.expiry.fan_out import FanOut, InvalidMessageError, message_for
from shared.expiry.run import SweepRunner
from shared.settings import read_settings
from tests.bot_in_memory import (
    SHARDS,
    BotInMemory,
    FunctionBot,
    count_in_conversation,
)
from tests.memory_queue import MemoryQueue
from tests.stores_in_memory import StoresInMemory

ALL = ["s000", "s001"]
IDLE = 103  # seconds: expire_after is 100
NO_TIME = 0  # a sweep with this budget finishes no shard


@dataclass
class Fixture:
    bot: BotInMemory
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    poison: MemoryQueue = field(default_factory=MemoryQueue)
    fan_out_is_on: bool = True

    def runner(self, budget_seconds: int) -> SweepRunner:
        settings = read_settings()
        expiry = settings.expiry.model_copy(update={"sweep_budget_seconds": budget_seconds})
        fan_out = FanOut(self.queue, self.poison, most=SHARDS) if self.fan_out_is_on else None
        return SweepRunner(
            StoresInMemory(self.bot),
            expiry,
            self.bot.notices,
            self.bot.erasure.finish,
            policy=settings.policy,
            fan_out=fan_out,
            now=self.bot.clock,
        )


@pytest.fixture
async def idle(monkeypatch: pytest.MonkeyPatch) -> Fixture:
    """40 idle conversations in two shards."""
    for name, value in {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "ExpireAfterSeconds": "100",
        "ExpirySchedule": "*/10 * * * * *",
        "TableShards": str(SHARDS),
    }.items():
        monkeypatch.setenv(name, value)
    bot = BotInMemory(FunctionBot(count_in_conversation))
    for number in range(40):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    return Fixture(bot)


async def test_a_sweep_out_of_time_hands_over_each_shard_once(
    idle: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await idle.runner(NO_TIME).run()
    assert sorted(idle.queue.texts) == [message_for(shard) for shard in ALL]
    assert json.loads(idle.queue.texts[0]).keys() == {"shard"}
    assert "2 of 2 shards handed over" in caplog.text


async def test_a_sweep_that_finishes_hands_over_nothing_and_costs_one_request(
    idle: Fixture,
) -> None:
    report = await idle.runner(60).run()
    assert report.expired == 40
    assert idle.queue.texts == []
    assert idle.queue.requests + idle.poison.requests == 1


async def test_with_fan_out_off_nothing_is_handed_over(idle: Fixture) -> None:
    idle.fan_out_is_on = False
    report = await idle.runner(NO_TIME).run()
    assert sorted(report.unfinished) == ALL
    assert idle.queue.requests + idle.poison.requests == 0


async def test_a_sweep_that_was_stopped_hands_over_nothing(idle: Fixture) -> None:
    idle.bot.connector.refuse = lambda _: ConnectorError("refused", status=401)
    report = await idle.runner(60).run()
    assert report.stopped
    assert report.unfinished
    assert idle.queue.texts == []


async def test_shards_handed_over_are_swept_and_no_others(idle: Fixture) -> None:
    runner = idle.runner(60)
    one, other = [await runner.run_shard(shard) for shard in ALL]
    assert one and other  # noqa: PT018 - for the types
    assert one.expired > 0
    assert other.expired > 0
    assert one.expired + other.expired == 40
    assert idle.queue.texts == []


async def test_a_shards_sweep_looks_ahead_after_a_shorter_timeout_too(
    idle: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle.runner(60).run()  # everything expires, and the control row has the timeout
    await idle.bot.say(conversation={"id": "talk0"})
    idle.bot.clock.sleep(50)
    monkeypatch.setenv("ExpireAfterSeconds", "40")
    await idle.runner(NO_TIME).run()  # finishes no shard, but notes the change
    runner = idle.runner(60)
    reports = [await runner.run_shard(shard) for shard in ALL]
    assert sum(report.expired for report in reports if report) == 1


async def test_a_shard_goes_back_while_this_process_sweeps_enough_of_them(
    idle: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SHARDS_AT_ONCE", 1)
    runner = idle.runner(60)
    one, other = await asyncio.gather(*(runner.run_shard(shard) for shard in ALL))
    assert one
    assert other is None
    assert idle.queue.texts == [message_for("s001")]
    assert await idle.queue.receive(30) is None
    idle.queue.sleep(run.BACK_AFTER_SECONDS)
    assert await idle.queue.receive(30)
    assert await runner.run_shard("s001")


async def test_a_shard_left_unfinished_is_put_on_the_queue_again(idle: Fixture) -> None:
    await idle.runner(NO_TIME).run_shard("s001")
    assert idle.queue.texts == [message_for("s001")]


async def test_a_shard_that_cannot_be_put_on_again_is_the_hosts_to_try_again(
    idle: Fixture,
) -> None:
    idle.queue.down = True
    with pytest.raises(StorageUnavailableError):
        await idle.runner(NO_TIME).run_shard("s001")


async def test_a_shard_that_does_not_exist_is_refused(idle: Fixture) -> None:
    with pytest.raises(InvalidMessageError, match="no shard 's002'"):
        await idle.runner(60).run_shard("s002")


async def test_a_long_backlog_never_gathers_more_messages_than_shards(idle: Fixture) -> None:
    runner = idle.runner(NO_TIME)
    for _ in range(5):
        await runner.run()
        message = await idle.queue.receive(600)  # one that a function works on counts too
        assert message is None or message.text
    assert len(idle.queue.texts) == SHARDS


async def test_a_queue_that_is_down_is_logged_and_stops_no_sweep(
    idle: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    idle.queue.down = idle.poison.down = True
    caplog.set_level(logging.INFO)
    report = await idle.runner(NO_TIME).run()
    assert sorted(report.unfinished) == ALL
    assert "not all shards could be handed over: the queue is down" in caplog.text
    assert "0 of 2 shards handed over" in caplog.text
    assert "the poison queue could not be looked at: the queue is down" in caplog.text


@pytest.mark.parametrize("count", [0, 3])
async def test_poison_is_named_in_the_log(
    idle: Fixture, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    for _ in range(count):
        await idle.poison.put("rubbish")
    await idle.runner(60).run()
    assert ("about 3 messages in the poison queue" in caplog.text) is (count == 3)
