"""The app as Azure runs it: loaded and invoked by Microsoft's own worker library.

Collected on Python 3.13 and newer only (conftest.py), which that library needs.
"""

import importlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

import shared.app
import shared.bot
from scripts import processes
from shared.domain.identity import ConversationKey
from shared.turn.long_turns import hint_for
from tests.bots import survey_bot
from tests.bots.survey_bot import TRANSPORT
from tests.e2e.running_bot import User, settings_on
from tests.fake_channel import FakeChannel


class Message(SimpleNamespace):
    """Stands in for every protobuf message that the host and the worker exchange."""

    Success, Failure = "success", "failure"  # of StatusResult
    out, inout, undefined = 1, 2, 0  # of BindingInfo, with the numbers of azure.functions

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        """The field that is set; these messages hold one at a time."""
        return next(iter(vars(self)), None)


class Protos:
    """Stands in for the module of protobuf messages, which all look the same here."""

    def __getattr__(self, name: str) -> type[Message]:
        return Message


class Worker:
    """Asks the worker library what the Functions host asks it."""

    def __init__(self) -> None:
        # By name: this file is type-checked on Python 3.11 too, where there is no such package.
        self._library: Any = importlib.import_module("azure_functions_runtime")
        self.functions: dict[str, Any] = {}

    async def load_app(self) -> None:
        folder = str(processes.ROOT)
        await self._ask("worker_init", capabilities={}, function_app_directory=folder)
        answer = await self._ask("functions_metadata")
        self.functions = {each.name: each for each in answer.function_metadata_results or ()}
        for function in self.functions.values():
            await self._ask("function_load", function_id=function.function_id)

    async def invoke(self, name: str, argument: str, data: Message) -> Any:
        """Run a function; returns what it returned, as the host would get it."""
        answer = await self._ask(
            "invocation",
            invocation_id="1",
            function_id=self.functions[name].function_id,
            input_data=[Argument(name=argument, data=data)],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        return answer.return_value

    async def _ask(self, what: str, **fields: Any) -> Any:
        request = Message(
            name=f"{what}_request",
            request=Message(**{f"{what}_request": Message(**fields)}),
            properties={"protos": Protos(), "host": "127.0.0.1"},
        )
        answer = await getattr(self._library, request.name)(request)
        assert answer.result.status == Message.Success, answer.result.exception
        return answer


class Argument(Message):
    """A parameter's binding: always with its data in the message itself."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - protobuf's name
        return "data"


@asynccontextmanager
async def loaded(
    settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Worker]:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shared.bot, "create_bot", survey_bot.create_bot)
    monkeypatch.syspath_prepend(str(processes.ROOT))
    # azure-functions 2 lists the functions of an app object once only: each test loads its own.
    sys.modules.pop("function_app", None)
    worker = Worker()
    await worker.load_app()
    yield worker
    await shared.app.close_app()
    del sys.modules["function_app"]


@pytest.fixture
async def worker(
    storage_connection_string: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Worker]:
    settings = settings_on(storage_connection_string, ExpiryFanOut="on", LongTurns="on")
    async with loaded(settings, monkeypatch) as worker:
        yield worker


def request(method: str, route: str, body: bytes = b"") -> Message:
    """An HTTP request as the host hands it over."""
    return Message(
        http=Message(
            method=method,
            url=f"http://localhost/api/{route}",
            headers={"content-type": "application/json"},
            params={},
            query={},
            body=Message(bytes=body),
        )
    )


async def test_all_functions_are_found_with_route_schedule_and_queue(
    worker: Worker,
) -> None:
    bindings = {
        name: [json.loads(binding) for binding in function.raw_bindings]
        for name, function in worker.functions.items()
    }
    assert bindings.keys() == {
        "messages",
        "expiry_timer",
        "expiry_queue",
        "inbox_queue",
        "expiry_status",
        "health",
        "health_live",
        "state_users",
        "state_conversations",
        "state_export",
        "state_private",
    }
    http = next(each for each in bindings["messages"] if each["type"] == "httpTrigger")
    (timer,) = bindings["expiry_timer"]
    assert http["route"] == "messages"
    assert [method.lower() for method in http["methods"]] == ["post"]
    assert http["authLevel"].lower() == "anonymous"
    assert timer["type"] == "timerTrigger"
    assert timer["schedule"] == "%ExpirySchedule%"
    for name in "expiry_queue", "inbox_queue":
        (queue,) = bindings[name]
        assert queue["type"] == "queueTrigger"


async def say_hello(worker: Worker, user: User) -> str:
    """Returns the status that the channel got."""
    body = json.dumps(user.activity(text="hello")).encode()
    answer = await worker.invoke("messages", "req", request("POST", "messages", body))
    return str(answer.http.status_code)


async def test_a_message_and_a_timer_reach_the_app(
    storage_connection_string: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        FakeChannel() as channel,
        loaded(settings_on(storage_connection_string), monkeypatch) as worker,
    ):
        user = User(None, channel)  # type: ignore[arg-type] # speaks for itself, above
        assert await say_hello(worker, user) == "200"
        (transport,) = user.heard
        assert TRANSPORT in transport
        with caplog.at_level("INFO"):
            tick = {"IsPastDue": False, "Schedule": {"AdjustForDST": True}, "ScheduleStatus": None}
            await worker.invoke("expiry_timer", "timer", Message(json=json.dumps(tick)))
        assert "sweep: nothing due" in caplog.text


async def test_a_message_that_waits_gets_its_turn_from_the_queue(worker: Worker) -> None:
    async with FakeChannel() as channel:
        user = User(None, channel)  # type: ignore[arg-type] # speaks for itself, above
        assert await say_hello(worker, user) == "202"
        assert not user.heard
        hint = hint_for(ConversationKey("test", user.conversation).hash)
        await worker.invoke("inbox_queue", "message", Message(string=hint))
        (transport,) = user.heard
        assert TRANSPORT in transport


async def test_an_app_that_cannot_start_still_answers_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_on("UseDevelopmentStorage=true", ExpireAfterSeconds="soon")
    async with loaded(settings, monkeypatch) as worker:
        assert worker.functions.keys() == {"health", "messages"}
        health = await worker.invoke("health", "req", request("GET", "health"))
        message = await worker.invoke("messages", "req", request("POST", "messages", b"{}"))
    assert [str(each.http.status_code) for each in (health, message)] == ["503", "503"]
    reason = json.loads(health.http.body.bytes)["reason"]
    assert reason.startswith("ExpireAfterSeconds is wrong; it must be")
