"""Nothing reaches the host's functionTimeout: a handler, a channel and a storage never answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

import messages_function
from api_function import health, state, status
from shared import texts
from shared.app import App, build_app
from shared.domain.errors import StorageUnavailableError
from shared.expiry import run as sweeps
from shared.expiry.notice import NoticeResult
from shared.expiry.run import SweepCancelledError, SweepRunner
from shared.settings import host, read_settings
from shared.settings.expiry import ExpirySettings
from shared.turn import turn
from tests.bot_in_memory import BotInMemory, FunctionBot, activity, count_in_conversation
from tests.stores_in_memory import StoresInMemory
from tests.unit.test_functions import DEVELOPMENT, message


async def never(*_: object) -> Any:
    await asyncio.Event().wait()


@asynccontextmanager
async def at_once(_seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout` whose time is over as soon as somebody waits."""
    async with asyncio.timeout(0.01):
        yield


async def test_a_handler_that_never_returns_costs_its_own_turn_and_an_apology() -> None:
    bot = BotInMemory(FunctionBot(never), bot_seconds=0.01)
    assert await bot.say() == [texts.SOMETHING_WENT_WRONG]
    assert await bot.row() is None


async def test_a_handlers_own_timeout_is_its_own_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def times_out(*_: object) -> None:
        raise TimeoutError

    bot = BotInMemory(FunctionBot(times_out), bot_seconds=10)
    assert await bot.say() == [texts.SOMETHING_WENT_WRONG]
    assert "functionTimeout" not in caplog.text


async def test_replies_that_a_channel_never_takes_are_given_up_and_the_turn_is_saved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation), bot_seconds=10)
    monkeypatch.setattr(turn, "SLOW_DELIVERY_SECONDS", 0)
    monkeypatch.setattr(turn, "DELIVERY_ENDS_AFTER_SECONDS", -10)
    monkeypatch.setattr(bot.connector, "request", never)
    await bot.take(activity())
    assert await bot.row()
    assert "its replies took too long" in caplog.text


def runner(bot: BotInMemory, **changed: object) -> SweepRunner:
    return SweepRunner(
        StoresInMemory(bot),
        ExpirySettings.model_validate(
            {"ExpireAfterSeconds": "100", "ExpirySchedule": "0 * * * * *"}
        ),
        changed.pop("send_notice", bot.notices),  # type: ignore[arg-type]
        bot.erasure.finish,
        policy=bot.policy,
        now=bot.clock,
        timeout=at_once,
        **changed,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("of_one_shard", [False, True])
async def test_a_sweep_whose_channel_never_answers_is_cancelled_and_the_next_one_tells(
    caplog: pytest.LogCaptureFixture, *, of_one_shard: bool
) -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    await bot.say()
    bot.clock.sleep(103)

    async def no_answer(*_: object) -> NoticeResult:
        await never()
        raise AssertionError

    sweep = runner(bot, send_notice=no_answer)
    row = await bot.row()
    assert row
    with pytest.raises(SweepCancelledError, match="60 s more than its budget"):
        await (sweep.run_shard(row.address.shard) if of_one_shard else sweep.run())
    if not of_one_shard:
        (record,) = await bot.store.sweeps()
        assert record.error == "SweepCancelledError"
    bot.clock.sleep(61)  # the lease of the claim
    assert (await bot.sweep()).notified == 1
    assert "Traceback" not in caplog.text


async def test_a_record_that_is_never_written_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    monkeypatch.setattr(sweeps, "WRITES_WITHIN_SECONDS", 0.01)
    monkeypatch.setattr(bot.store, "record_sweep", never)
    assert (await runner(bot).run()).complete
    assert "sweep: not recorded" in caplog.text


@pytest.fixture
async def stuck_app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """An app whose storage takes connections and never answers."""

    server = socket.create_server(("127.0.0.1", 0))  # connected is who waits to be accepted
    port = server.getsockname()[1]
    account = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
    variables = {
        **DEVELOPMENT,
        "AzureWebJobsStorage": f"{account}TableEndpoint=http://127.0.0.1:{port}/a",
    }
    async with build_app(read_settings(variables)) as app:
        app._request_seconds = 0.05

        async def get_app() -> App:
            return app

        for module in (messages_function, state, status, health):
            monkeypatch.setattr(module, "get_app", get_app)
        yield app
    server.close()


async def test_requests_whose_storage_never_answers_are_503(stuck_app: App) -> None:
    post = func.HttpRequest(
        "POST",
        "/api/messages",
        body=json.dumps(message()).encode(),
        headers={"Content-Type": "application/json"},
    )
    ids = {"channelId": "test", "userId": "ann"}
    get = func.HttpRequest("GET", "/api/v3/botstate", body=b"", route_params=ids)
    read_user = next(route.handler for route in state.ROUTES if route.name == "state_users")
    answers = await asyncio.gather(
        messages_function.messages(post),
        read_user(get),
        status.status_page(get),
        health.ready(get),
    )
    assert [answer.status_code for answer in answers] == [503] * 4
    assert json.loads(answers[-1].get_body())["failed"] == ["storage"]
    with pytest.raises(StorageUnavailableError, match="before functionTimeout"):
        async with stuck_app.with_storage():
            pass


async def test_a_sweep_whose_storage_never_answers_is_cancelled(
    stuck_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck_app.sweeps, "_timeout", at_once)
    monkeypatch.setattr(sweeps, "WRITES_WITHIN_SECONDS", 0.01)
    with pytest.raises(SweepCancelledError):
        await stuck_app.sweeps.run()


@pytest.mark.parametrize(
    ("time_span", "bot_seconds"),
    [("00:05:00", 240), ("0:10", 540), ("1.00:00:00", 86_340), ("-1", None), ("", 240)],
)
def test_the_bots_time_comes_from_function_timeout(
    monkeypatch: pytest.MonkeyPatch, time_span: str, bot_seconds: float | None
) -> None:
    variables = {**DEVELOPMENT, "AzureFunctionsJobHost__functionTimeout": time_span}
    assert read_settings(variables).host.bot_seconds == bot_seconds


@pytest.mark.parametrize(
    ("text", "time_span"),
    [
        ('{"functionTimeout": "00:10:00"}', "00:10:00"),
        ('\ufeff{\n// "functionTimeout": "00:01:00",\n"FunctionTimeout": "0:02",\n}', "0:02"),
        ('{/* "functionTimeout": "00:01:00" */ "a": "// b", "functionTimeout": "-1"}', "-1"),
        ('{"version": "2.0"}', "00:05:00"),
        ('{"functionTimeout": "soon"}', "00:05:00"),
        ("\xff", "00:05:00"),
    ],
)
def test_host_json_is_read_as_the_host_reads_it(tmp_path: Path, text: str, time_span: str) -> None:
    (tmp_path / "host.json").write_bytes(text.encode("latin-1" if text == "\xff" else "utf-8"))
    assert host._in_host_json(tmp_path / "host.json") == time_span


def test_without_host_json_the_shortest_default_counts(tmp_path: Path) -> None:
    assert host._in_host_json(tmp_path / "host.json") == "00:05:00"
