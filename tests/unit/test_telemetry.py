"""What spans and metrics say, and what they never say."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scripts.processes import ROOT
from shared import telemetry
from shared.connector.client import ConnectorError
from shared.domain.policy import Override
from shared.expiry.metrics import record_sweep
from shared.expiry.report import OUTCOMES, SweepReport
from shared.expiry.run import SweepRunner
from shared.settings.expiry import ExpirySettings
from shared.storage.observed_table import ObservedTable
from tests.bot_in_memory import (
    BotInMemory,
    FunctionBot,
    activity,
    anonymous,
    count_in_conversation,
)
from tests.memory_table import MemoryTable
from tests.stores_in_memory import StoresInMemory

PAUSES = "expiry.turn.idle_seconds"

_exporter = InMemorySpanExporter()
_reader = InMemoryMetricReader()


@pytest.fixture(scope="session", autouse=True)
def _providers() -> None:
    # OpenTelemetry takes them once in the life of a process; a module may be begun more than once.
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([_reader]))


@pytest.fixture(autouse=True)
def _nothing_yet() -> None:
    _exporter.clear()
    measured()


def spans(name: str) -> list[ReadableSpan]:
    return [span for span in _exporter.get_finished_spans() if span.name == name]


def measured() -> dict[tuple[str, ...], Any]:
    """The latest point of each metric, by its name and the values of its attributes."""
    found = {}
    data = _reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    values = [str(value) for value in (point.attributes or {}).values()]
                    found[(metric.name, *values)] = getattr(point, "value", point)
    return found


def rise(before: dict[tuple[str, ...], Any], *key: str) -> Any:
    return measured()[key] - before.get(key, 0)


@pytest.fixture
def bot() -> BotInMemory:
    return BotInMemory(
        FunctionBot(count_in_conversation),
        conversations=ObservedTable(MemoryTable()),
        users=ObservedTable(MemoryTable()),
    )


async def test_a_turn_is_a_span_with_its_storage_requests_beneath(bot: BotInMemory) -> None:
    await bot.say("my secret is 42", sender="ann@example.com")

    (turn,) = spans("turn")
    row = await bot.row()
    assert row
    assert turn.attributes == {"conversation": row.address.key, "activity.type": "message"}
    within = [span for span in spans("storage") if span.parent == turn.get_span_context()]
    assert [span.attributes["db.operation.name"] for span in within if span.attributes] == [
        "get",
        "write",
        "write",
    ]


async def test_no_span_says_what_a_user_said_or_who_it_was(bot: BotInMemory) -> None:
    await bot.say("my secret is 42", sender="ann@example.com")
    bot.clock.sleep(200)
    await bot.sweep()

    everything = "".join(span.to_json() for span in _exporter.get_finished_spans())
    for private in ("secret", "ann@example.com", "talk", "channel.example"):
        assert private not in everything


async def test_a_notice_links_to_the_turn_that_last_touched_the_conversation(
    bot: BotInMemory,
) -> None:
    await bot.say("one")
    await bot.say("two")
    bot.clock.sleep(200)
    await bot.sweep()

    (notice,) = spans("notice")
    last_turn = spans("turn")[-1].get_span_context()
    assert last_turn
    assert [link.context.span_id for link in notice.links] == [last_turn.span_id]


async def test_a_conversation_that_was_never_traced_links_to_nothing() -> None:
    assert list(telemetry.links_to("")) == []
    assert list(telemetry.links_to("rubbish")) == []
    assert telemetry.traceparent() == ""


async def test_turns_are_counted_by_how_they_ended(bot: BotInMemory) -> None:
    before = measured()
    await bot.say("one", id="m1")
    await bot.say("one", id="m1")

    assert rise(before, "expiry.turns", "taken") == 1
    assert rise(before, "expiry.turns", "copy") == 1


async def test_a_bot_that_fails_is_counted(bot: BotInMemory) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError

    before = measured()
    broken = BotInMemory(FunctionBot(fail))
    await broken.say("one")

    assert rise(before, "expiry.turns", "apologized") == 1


async def test_a_sweep_counts_what_it_did(bot: BotInMemory) -> None:
    await bot.say("one")
    await bot.say("two", conversation={"id": "refuses"})
    bot.connector.refuse = lambda body: (
        ConnectorError("no", status=403) if body["conversation"]["id"] == "refuses" else None
    )
    bot.clock.sleep(200)
    report = await bot.sweep()
    before = measured()
    record_sweep(report)

    assert rise(before, "expiry.sweeps", "complete") == 1
    assert rise(before, "expiry.due") == 2
    assert rise(before, "expiry.expired") == 2
    assert rise(before, "expiry.notices", "notified", "") == 1
    assert rise(before, "expiry.notices", "failed", "403") == 1
    assert measured()[("expiry.lateness",)].sum >= 200


async def test_every_outcome_is_counted() -> None:
    numbers: dict[str, Any] = {name: number for number, name in enumerate(OUTCOMES, 1)}
    before = measured()
    record_sweep(SweepReport(**numbers))

    assert {name: rise(before, "expiry.outcomes", name) for name in OUTCOMES} == numbers


@pytest.mark.parametrize(
    ("report", "ended"),
    [(SweepReport(unfinished=["s001"]), "unfinished"), (SweepReport(stopped=True), "stopped")],
)
async def test_a_sweep_that_did_not_get_through_says_so(report: SweepReport, ended: str) -> None:
    before = measured()
    report.backlog_seconds = 7.5
    record_sweep(report)

    after = measured()
    assert after["expiry.sweeps", ended] - before.get(("expiry.sweeps", ended), 0) == 1
    assert after["expiry.backlog.age",] == 7.5


def pauses() -> dict[tuple[str, ...], tuple[int, float]]:
    """Number and sum in seconds of all pauses, by channel, type, what ended them and `up_to`."""
    found = measured().items()
    return {key[1:]: (at.count, at.sum) for key, at in found if key[0] == PAUSES}


async def new_pauses(act: Awaitable[object]) -> dict[tuple[str, ...], tuple[int, float]]:
    before = pauses()
    await act
    return {
        key: (count - before.get(key, (0, 0))[0], total - before.get(key, (0, 0))[1])
        for key, (count, total) in pauses().items()
        if before.get(key) != (count, total)
    }


async def test_a_pause_is_from_one_act_of_a_user_to_the_next(bot: BotInMemory) -> None:
    assert await new_pauses(bot.say("one", id="m1")) == {}  # the first word ends no pause
    bot.clock.sleep(50)
    assert await new_pauses(bot.say("two", id="m2")) == {
        ("directline", "personal", "user", "60"): (1, 50)
    }
    assert await new_pauses(bot.say("two", id="m2")) == {}  # a copy
    bot.clock.sleep(60)
    assert await new_pauses(bot.say(None, type="typing")) == {}  # sent by the client
    reaction = {"type": "messageReaction", "reactionsAdded": [{"type": "like"}]}
    assert await new_pauses(bot.say(None, **reaction)) == {
        ("directline", "personal", "user", "60"): (1, 60)
    }


async def test_a_pause_close_to_the_expiry_is_counted_although_its_time_is_saved_first(
    bot: BotInMemory,
) -> None:
    await bot.say()
    bot.clock.sleep(99)
    assert await new_pauses(bot.say()) == {("directline", "personal", "user", "120"): (1, 99)}


async def test_a_pause_before_a_turn_that_has_to_wait_is_counted_once(bot: BotInMemory) -> None:
    await bot.say()
    bot.clock.sleep(99)
    message, received_at = activity(), bot.clock()

    async def wait_and_take() -> None:
        await bot.turns.keep_alive(message, received_at)
        bot.clock.sleep(20)
        await bot.turns.take(message, anonymous(), received_at)

    assert await new_pauses(wait_and_take()) == {("directline", "personal", "user", "120"): (1, 99)}


async def test_who_is_back_after_the_deadline_ends_a_pause_that_the_expiry_then_does_not(
    bot: BotInMemory,
) -> None:
    await bot.say()
    bot.clock.sleep(200)
    assert await new_pauses(bot.say()) == {("directline", "personal", "user", "300"): (1, 200)}
    assert await new_pauses(bot.sweep()) == {}
    bot.clock.sleep(120)
    bot.connector.refuse = lambda _: ConnectorError("not now", status=503)
    assert await new_pauses(bot.sweep()) == {}  # its notice is to be tried again
    bot.connector.refuse = lambda _: None
    bot.clock.sleep(5)
    assert await new_pauses(bot.say()) == {("directline", "personal", "user", "300"): (1, 125)}
    bot.clock.sleep(20)
    assert await new_pauses(bot.sweep()) == {}


async def test_a_pause_that_nobody_ended_is_counted_once_when_the_session_is_over(
    bot: BotInMemory,
) -> None:
    await bot.say()
    bot.clock.sleep(3 * 86400)
    bot.connector.refuse = lambda _: ConnectorError("no", status=400)
    assert await new_pauses(bot.sweep()) == {
        ("directline", "personal", "expiry", "259200"): (1, 3 * 86400)
    }
    [letter] = await bot.dead_letters()
    assert await bot.store.replay(letter, bot.clock())
    bot.connector.refuse = lambda _: None
    bot.clock.sleep(200)
    assert await new_pauses(bot.sweep()) == {}
    await bot.say()
    bot.clock.sleep(40 * 86400)
    [(key, (count, _))] = (await new_pauses(bot.sweep())).items()
    assert (key, count) == (("directline", "personal", "expiry", "more"), 1)


async def test_a_session_in_which_no_user_spoke_has_no_pause() -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    added = {"type": "conversationUpdate", "membersAdded": [{"id": "ann"}]}
    await bot.say(None, **added)
    assert bot.keys() == ["c", "d"]
    bot.clock.sleep(50)
    assert await new_pauses(bot.say()) == {}


async def test_channels_and_types_are_those_that_are_known(bot: BotInMemory) -> None:
    mine = Override(channels=frozenset({"mine"}), expire_after=timedelta(seconds=500))
    own = BotInMemory(FunctionBot(count_in_conversation), overrides=[mine])
    in_channel = {"id": "c", "conversationType": "channel", "isGroup": True}
    acts: dict[tuple[str, str], dict[str, Any]] = {
        ("mine", "channel"): {"channelId": "mine", "conversation": in_channel},
        ("other", "groupChat"): {
            "channelId": "made-up",
            "conversation": {"id": "g", "isGroup": True},
        },
    }
    for names, fields in acts.items():
        await own.say(**fields)
        own.clock.sleep(20)
        assert await new_pauses(own.say(**fields)) == {(*names, "user", "30"): (1, 20)}


class _Ingestion(BaseHTTPRequestHandler):
    """What Application Insights is to its exporter."""

    received: list[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        items = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        self.received.extend(items)
        answer = json.dumps(
            {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing, where the base class prints each request."""


@pytest.fixture
def ingestion() -> Iterator[tuple[str, list[Any]]]:
    """The address of a stand-in for Application Insights, and what it received."""
    received: list[Any] = []
    handler = type("Ingestion", (_Ingestion,), {"received": received})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()


_APP = """
import asyncio, logging
import function_app
from shared import telemetry

with telemetry.tracer.start_as_current_span("turn"):
    telemetry.turns.add(1, {"ended": "taken"})
    logging.getLogger("shared.turn").error("this goes to the host")
"""
_FLUSH = "asyncio.run(telemetry.flush(10))\n"
_KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def environment_of_app(folder: Path, address: str = "") -> dict[str, str]:
    key = "00000000-0000-0000-0000-000000000001"
    connection_string = f"InstrumentationKey={key};IngestionEndpoint={address}"
    return {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "ExpireAfterSeconds": "30",
        "ExpirySchedule": "0 * * * * *",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",  # its own, to an address outside
        "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",  # not only some in each second
        "OTEL_TRACES_SAMPLER_ARG": "1",
        "TMPDIR": str(folder),  # where the exporter keeps what it could not send
        "APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string if address else "",
    }


def run_app(folder: Path, then: str, address: str = "", first: str = "") -> str:
    """Run the app in a process of its own; returns what it logged and printed."""
    done = subprocess.run(
        [sys.executable, "-c", first + _APP + _FLUSH + then],
        cwd=ROOT,
        env=environment_of_app(folder, address),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (-9 if then.endswith(_KILL) else 0), done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_spans_and_metrics_are_sent_and_the_log_is_not_although_the_process_is_killed(
    ingestion: tuple[str, list[Any]], tmp_path: Path
) -> None:
    address, received = ingestion
    run_app(tmp_path, _KILL, address)
    spans, metrics = sent(received)
    assert spans == ["turn"]
    assert "expiry.turns" in metrics
    assert "this goes to the host" not in json.dumps(received)


_PAUSES = """
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from shared.domain.conversation import Conversation
from shared.domain.identity import Address, ConversationKey
from shared.domain.policy import Policy
from shared.domain.reference import Reference
from shared.domain.timing import Timing
from shared.expiry.pauses import ended_by_user

now = datetime.now(UTC)
begun = Conversation.begun(ConversationKey("sms", "talk"), Address("s000", "0" * 32), now)
row = replace(begun, reference=Reference("sms", "https://channel.example/", "talk"))
for seconds in 1000, 1100, 5000:
    ended_by_user(row, now + timedelta(seconds=seconds), Policy(Timing(timedelta(hours=1))))
"""


@pytest.mark.slow
def test_application_insights_gets_number_and_sum_of_the_pauses_of_each_bucket(
    ingestion: tuple[str, list[Any]], tmp_path: Path
) -> None:
    address, received = ingestion
    run_app(tmp_path, _PAUSES + _FLUSH + _KILL, address)
    found = {
        data["properties"]["up_to"]: (data["properties"], metric["count"], metric["value"])
        for data in (item["data"]["baseData"] for item in received)
        for metric in data.get("metrics", ())
        if metric["name"] == PAUSES
    }
    whose = {"channel": "sms", "type": "personal", "ended": "user"}
    assert found == {
        "1200": ({**whose, "up_to": "1200"}, 2, 2100.0),
        "5400": ({**whose, "up_to": "5400"}, 1, 5000.0),
    }


@pytest.mark.slow
def test_what_is_sent_leaves_no_line_in_the_log(
    ingestion: tuple[str, list[Any]], tmp_path: Path
) -> None:
    address, received = ingestion
    # As the worker's root logger is: the host sends what it gets to Application Insights.
    everything = "import logging; logging.basicConfig(level=logging.INFO)\n"
    log = run_app(tmp_path, _KILL, address, everything)
    assert sent(received)[0] == ["turn"]
    assert "this goes to the host" in log
    assert "azure" not in log


def sent(received: list[Any]) -> tuple[list[str], set[str]]:
    """The names of spans and metrics that Application Insights got."""
    data = [item["data"]["baseData"] for item in list(received)]
    spans = [each["name"] for each in data if "duration" in each]
    return spans, {metric["name"] for each in data for metric in each.get("metrics", ())}


@pytest.mark.slow
def test_outside_of_sweeps_spans_and_metrics_are_sent_at_intervals(
    ingestion: tuple[str, list[Any]], tmp_path: Path
) -> None:
    address, received = ingestion

    def is_sent() -> bool:
        spans, metrics = sent(received)
        return bool(spans) and "expiry.turns" in metrics

    often = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    with subprocess.Popen(
        [sys.executable, "-c", _APP + "import time; time.sleep(60)"],
        cwd=ROOT,
        env=environment_of_app(tmp_path, address) | often,
    ) as app:
        while app.poll() is None and not is_sent():
            time.sleep(0.02)
        app.kill()
    spans, metrics = sent(received)
    assert spans == ["turn"]
    assert "expiry.turns" in metrics


async def test_telemetry_that_cannot_be_sent_is_logged_and_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_milliseconds: int) -> None:
        raise OSError("no network")

    monkeypatch.setattr(trace.get_tracer_provider(), "force_flush", fail)
    await telemetry.flush(10)
    assert "telemetry: not sent: OSError('no network')" in caplog.text


async def test_a_sweep_sends_its_spans_before_it_ends(
    bot: BotInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    provider = trace.get_tracer_provider()
    monkeypatch.setattr(
        provider, "force_flush", lambda _: sent.extend(span.name for span in spans("sweep"))
    )
    variables = {"ExpireAfterSeconds": "100", "ExpirySchedule": "0 * * * * *"}
    runner = SweepRunner(
        StoresInMemory(bot),
        ExpirySettings.model_validate(variables),
        bot.notices,
        bot.erasure.finish,
        policy=bot.policy,
        now=bot.clock,
    )
    await runner.run()
    assert sent == ["sweep"]


@pytest.mark.slow
def test_without_one_nothing_of_the_exporter_is_even_imported(tmp_path: Path) -> None:
    run_app(
        tmp_path, "import sys; assert not {'azure.monitor', 'opentelemetry.sdk'} & {*sys.modules}"
    )
