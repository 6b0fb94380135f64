"""The function folders: what they register with the host, and how they translate."""

import importlib
import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
import pytest
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest
from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ActivityTypes, AdaptiveCardInvokeResponse

import expiry_queue_function
import expiry_timer_function
import inbox_queue_function
import messages_function
from shared.connector.authentication import SigningKeysUnavailableError, UnauthorizedError
from shared.domain.errors import StorageUnavailableError
from shared.expiry.fan_out import InvalidMessageError, message_for
from shared.expiry.report import SweepReport
from shared.settings import read_settings
from shared.turn.long_turns import InvalidHintError, hint_for
from tests.bot_in_memory import BotInMemory, FunctionBot, activity, anonymous, count_in_conversation

DEVELOPMENT = {
    "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ExpireAfterSeconds": "30",
    "ExpirySchedule": "*/10 * * * * *",
}


class AppInMemory:
    """The App's face, over a bot in memory; `refuse` is raised by the authentication."""

    def __init__(self, bot: BotInMemory) -> None:
        self.bot = bot
        self.refuse: Exception | None = None
        self.authentication = self
        self.sweeps = self
        self.is_busy = False
        self.woken = 0
        self.taken: list[str] = []

    def check_header(self, _header: str) -> None:
        pass

    async def verify(self, _header: str) -> None:
        if self.refuse:
            raise self.refuse

    def caller(self, _token: None, _channel_id: str, _service_url: str) -> Any:
        return anonymous()

    async def receive(
        self, inbound: Activity, _caller: object, _body: bytes
    ) -> InvokeResponse | None:
        return await self.bot.take(inbound)

    async def wake_waiting(self) -> None:
        self.woken += 1

    async def take_waiting(self, conversation: str) -> None:
        if self.refuse:
            raise self.refuse
        self.taken.append(conversation)

    async def run(self) -> SweepReport:
        return await self.bot.sweep()

    async def run_shard(self, shard: str) -> SweepReport | None:
        if self.is_busy:
            return None
        if self.refuse:
            raise self.refuse
        if shard not in self.bot.store.shards:
            raise InvalidMessageError("no such shard")
        return await self.bot.sweep()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> AppInMemory:
    app = AppInMemory(BotInMemory(FunctionBot(count_in_conversation)))

    async def get_app() -> AppInMemory:
        return app

    monkeypatch.setattr(messages_function, "get_app", get_app)
    monkeypatch.setattr(expiry_timer_function, "get_app", get_app)
    monkeypatch.setattr(expiry_queue_function, "get_app", get_app)
    monkeypatch.setattr(inbox_queue_function, "get_app", get_app)
    return app


async def post(body: object, content_type: str = "application/json") -> func.HttpResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = func.HttpRequest(
        "POST", "/api/messages", body=content, headers={"Content-Type": content_type}
    )
    answer: func.HttpResponse = await messages_function.messages(request)
    return answer


def message(**changes: Any) -> dict[str, Any]:
    return {**activity().serialize(), "serviceUrl": "https://channel.example/", **changes}


async def test_a_message_is_answered_200_without_a_body(app: AppInMemory) -> None:
    answer = await post(message())
    assert (answer.status_code, answer.get_body()) == (200, b"")
    assert app.bot.connector.texts == ["1"]


async def test_expect_replies_are_answered_200_with_the_replies(app: AppInMemory) -> None:
    answer = await post(message(deliveryMode="expectReplies"))
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    (reply,) = json.loads(answer.get_body())["activities"]
    assert reply["text"] == "1"
    assert app.bot.connector.sent == []


async def test_an_invoke_nobody_handles_is_501(app: AppInMemory) -> None:
    assert app
    assert (await post(message(type="invoke", name="x"))).status_code == 501


@pytest.mark.parametrize(
    ("status", "body", "wire"),
    [
        (200, None, b""),
        (201, {"a": 1}, b'{"a": 1}'),
        (200, [1], b"[1]"),
        (412, "text", b'"text"'),
        (
            400,
            AdaptiveCardInvokeResponse(status_code=400, type="x", value=Exception("NotSupported")),
            b'{"statusCode": 400, "type": "x", "value": "NotSupported"}',
        ),
        (200, {"at": datetime(2026, 1, 2, tzinfo=UTC)}, b'{"at": "2026-01-02T00:00:00+00:00"}'),
    ],
)
async def test_an_invokes_answer_is_the_bots(
    monkeypatch: pytest.MonkeyPatch, app: AppInMemory, status: int, body: object, wire: bytes
) -> None:
    async def answer(_: FunctionBot, context: TurnContext) -> None:
        value = InvokeResponse(status=status, body=body)
        await context.send_activity(Activity(type=ActivityTypes.invoke_response, value=value))

    monkeypatch.setattr(app, "bot", BotInMemory(FunctionBot(answer)))
    response = await post(message(type="invoke", name="x"))
    assert (response.status_code, response.get_body()) == (status, wire)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"x" * 300_000, "text/plain", 415),
        (b"x" * 300_000, "application/json", 413),
        (b"{", "application/json", 400),
    ],
)
async def test_what_is_no_json_is_refused_with_a_reason_and_before_the_token(
    app: AppInMemory, body: bytes, content_type: str, status: int
) -> None:
    app.refuse = UnauthorizedError("no token")
    answer = await post(body, content_type)
    assert answer.status_code == status
    assert json.loads(answer.get_body())["error"]["message"]


@pytest.mark.parametrize("headers", [{}, {"transfer-encoding": "chunked"}])
async def test_a_body_of_unknown_length_does_not_arrive_and_is_411(
    app: AppInMemory, headers: dict[str, str]
) -> None:
    app.refuse = UnauthorizedError("no token")
    request = func.HttpRequest("POST", "/api/messages", body=b"", headers=headers)
    answer: func.HttpResponse = await messages_function.messages(request)
    assert answer.status_code == 411
    assert b"Content-Length" in answer.get_body()


async def test_an_empty_body_of_known_length_is_no_json(app: AppInMemory) -> None:
    headers = {"Content-Length": "0", "Content-Type": "application/json"}
    request = func.HttpRequest("POST", "/api/messages", body=b"", headers=headers)
    assert app
    assert (await messages_function.messages(request)).status_code == 400


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnauthorizedError("whatever the SDK called it"), 401),
        (SigningKeysUnavailableError("login is down"), 503),
        (StorageUnavailableError("storage is down"), 503),
    ],
)
async def test_failures_have_their_status_and_tell_a_stranger_nothing(
    app: AppInMemory, error: Exception, status: int
) -> None:
    app.refuse = error
    answer = await post(message())
    assert answer.status_code == status
    assert str(error).encode() not in answer.get_body()
    assert app.bot.connector.sent == []


@pytest.mark.parametrize("past_due", [False, True])
async def test_the_timer_runs_one_sweep_and_logs_its_report(
    app: AppInMemory, caplog: pytest.LogCaptureFixture, *, past_due: bool
) -> None:
    caplog.set_level(logging.INFO)
    await app.bot.say()
    app.bot.clock.sleep(103)
    await expiry_timer_function.expiry_timer(TimerRequest(past_due=past_due))
    assert "looked at 1, expired 1, notified 1" in caplog.text
    assert ("running late" in caplog.text) is past_due


async def test_a_message_runs_the_sweep_of_its_shard_and_logs_its_report(
    app: AppInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await app.bot.say()
    app.bot.clock.sleep(103)
    await expiry_queue_function.expiry_queue(QueueMessage(id="1", body=message_for("s001")))
    assert "sweep of s001: looked at 1, expired 1, notified 1" in caplog.text


@pytest.mark.parametrize(
    "body", ["", "s001", "[]", "null", "{}", '{"shard": 1}', '{"shard": "s999"}', b"\xff"]
)
async def test_a_message_that_names_no_shard_is_logged_and_raises(
    app: AppInMemory, caplog: pytest.LogCaptureFixture, body: str | bytes
) -> None:
    assert app
    with pytest.raises(InvalidMessageError):
        await expiry_queue_function.expiry_queue(QueueMessage(id="the-id", body=body))
    assert "message the-id" in caplog.text


async def test_a_storage_outage_raises_so_that_the_host_tries_the_message_again(
    app: AppInMemory,
) -> None:
    app.refuse = StorageUnavailableError("down")
    with pytest.raises(StorageUnavailableError):
        await expiry_queue_function.expiry_queue(QueueMessage(id="1", body=message_for("s001")))


async def test_a_shard_that_this_process_has_no_room_for_says_so(
    app: AppInMemory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app.is_busy = True
    await expiry_queue_function.expiry_queue(QueueMessage(id="1", body=message_for("s001")))
    assert "sweep of s001: later" in caplog.text


async def test_the_timer_also_wakes_what_waits(app: AppInMemory) -> None:
    await expiry_timer_function.expiry_timer(TimerRequest(past_due=False))
    assert app.woken == 1


async def test_the_inbox_queue_takes_the_turns_of_the_conversation_that_is_named(
    app: AppInMemory,
) -> None:
    name = "0f" * 16
    await inbox_queue_function.inbox_queue(QueueMessage(id="1", body=hint_for(name)))
    assert app.taken == [name]


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"conversation": 1}', '{"conversation": "0F"}', b"\xff"]
)
async def test_a_message_that_names_no_conversation_is_logged_and_raises(
    app: AppInMemory, caplog: pytest.LogCaptureFixture, body: str | bytes
) -> None:
    with pytest.raises(InvalidHintError):
        await inbox_queue_function.inbox_queue(QueueMessage(id="the-id", body=body))
    assert "message the-id" in caplog.text
    assert app.taken == []


@pytest.mark.parametrize("long_turns", ["off", "on"])
def test_the_inbox_has_a_trigger_only_where_long_turns_are_on(
    monkeypatch: pytest.MonkeyPatch, long_turns: str
) -> None:
    for name, value in {**DEVELOPMENT, "LongTurns": long_turns, "Inbox": "work"}.items():
        monkeypatch.setenv(name, value)
    functions = func.FunctionApp()
    functions.register_functions(inbox_queue_function.make_blueprint(read_settings().long_turns))
    functions.register_functions(expiry_timer_function.blueprint)  # an app of no function warns
    triggers = [json.loads(str(each))["bindings"][0] for each in functions.get_functions()]
    queues = [each for each in triggers if each["type"] == "queueTrigger"]
    assert [(each["queueName"], each["connection"]) for each in queues] == (
        [("work", "AzureWebJobsStorage")] if long_turns == "on" else []
    )


@pytest.mark.parametrize("fan_out", ["off", "on"])
def test_the_queue_has_a_trigger_only_where_fan_out_is_on(
    monkeypatch: pytest.MonkeyPatch, fan_out: str
) -> None:
    for name, value in {**DEVELOPMENT, "ExpiryFanOut": fan_out, "ExpiryQueue": "work"}.items():
        monkeypatch.setenv(name, value)
    functions = func.FunctionApp()
    functions.register_functions(expiry_queue_function.make_blueprint(read_settings().expiry))
    functions.register_functions(expiry_timer_function.blueprint)  # an app of no function warns
    triggers = [json.loads(str(each))["bindings"][0] for each in functions.get_functions()]
    queues = [each for each in triggers if each["type"] == "queueTrigger"]
    assert [(each["queueName"], each["connection"]) for each in queues] == (
        [("work", "AzureWebJobsStorage")] if fan_out == "on" else []
    )


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    for name, value in DEVELOPMENT.items():
        monkeypatch.setenv(name, value)
    # An app lists its functions once only, so each test that asks for them loads its own.
    monkeypatch.delitem(sys.modules, "function_app", raising=False)
    function_app = importlib.import_module("function_app")

    functions = {str(each.get_function_name()): each for each in function_app.app.get_functions()}
    assert sorted(functions) == [
        "expiry_status",
        "expiry_timer",
        "health",
        "health_live",
        "messages",
        "state_conversations",
        "state_export",
        "state_private",
        "state_users",
    ]

    def trigger(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(str(functions[name]))["bindings"][0]
        return found

    return trigger


async def test_the_host_finds_both_functions(
    bindings: Callable[[str], dict[str, Any]],
) -> None:
    messages, timer = bindings("messages"), bindings("expiry_timer")
    assert (messages["type"], messages["route"], messages["methods"]) == (
        "httpTrigger",
        "messages",
        ["POST"],
    )
    assert (timer["type"], timer["schedule"]) == ("timerTrigger", "%ExpirySchedule%")
