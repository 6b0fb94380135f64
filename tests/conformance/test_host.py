"""What an app can notice of its host: one list of cases, for the stand-in and for the real host.

docs/host.md has the same list in words. `FUNCTIONS_HOST` names the host: see tests/hosts.py.
"""

import http.client
import json
import os
import shutil
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient

from tests.conformance import app as conformance_app
from tests.hosts import IS_STAND_IN, RunningHost, only_stand_in, running_host, wait_until

Events = Callable[[], list[dict[str, Any]]]

NEVER = "0 0 0 1 1 *"
# The real host needs some seconds for a first call.
TIMEOUT_SECONDS = 1 if IS_STAND_IN else 5
HOST_JSON = {
    "version": "2.0",
    "extensions": {
        "http": {"customHeaders": {"X-Always": "by the host", "X-Answer": "no"}},
        "queues": {"batchSize": 2, "maxDequeueCount": 2, "visibilityTimeout": "00:00:00"},
    },
    "extensionBundle": {
        "id": "Microsoft.Azure.Functions.ExtensionBundle",
        "version": "[4.*, 5.0.0)",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    shutil.copy(str(conformance_app.__file__), folder / "function_app.py")
    (folder / "host.json").write_text(json.dumps(HOST_JSON))
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path, storage_connection_string: str) -> dict[str, str]:
    return {
        "AzureWebJobsStorage": storage_connection_string,
        "EVENTS": str(folder / "events"),
        "Every": NEVER,
        "TICK_SECONDS": "0.3",
        "AzureFunctionsJobHost__functionTimeout": f"00:00:0{TIMEOUT_SECONDS}",  # over host.json
        "AzureWebJobs.off.Disabled": "TRUE",
        "Queue": f"q{uuid4().hex}",
        "Word": "from outside",
    }


@pytest.fixture(scope="module")
def host(folder: Path, settings: dict[str, str]) -> Iterator[RunningHost]:
    with running_host(folder, **settings) as host:
        yield host


@pytest.fixture
def events(folder: Path) -> Events:
    """What the functions have noted since the test began."""
    file = folder / "events"
    file.write_text("")
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def raw(host: RunningHost, head: str, body: bytes = b"") -> tuple[int, str]:
    """A request byte by byte; returns status and body."""
    head = head.replace("\n", "\r\n") + f"\r\nHost: 127.0.0.1:{host.port}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=60) as connection:
        connection.sendall(head.encode("latin-1") + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read().decode()


def seen(host: RunningHost, path: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    """What the function `echo` saw of a request."""
    status, text, _ = host.ask(method, path, headers=headers)
    assert status == 202, text
    found: dict[str, Any] = json.loads(text)
    return found


# Routes


@pytest.mark.parametrize(
    ("path", "id_"),
    [
        ("/api/echo/a%2Fb%25c%20%F0%9F%98%80", "a%2Fb%c 😀"),
        ("/api/echo/a%2fb", "a%2fb"),
        ("/api/echo/%0A%5C%3F%23", "\n\\?#"),
        ("/api/echo/a;b@c+d", "a;b@c+d"),
        ("/API/Echo/1", "1"),
        ("/api/echo/1/", "1"),
        ("/api/other/../echo/./1", "1"),
        ("/api/other/%2e%2e/echo/1", "1"),
        ("/api/echo/" + "x" * 7_900, "x" * 7_900),
    ],
)
def test_a_path_is_decoded_once_but_for_slashes(host: RunningHost, path: str, id_: str) -> None:
    assert seen(host, path)["id"] == id_


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/api/echo/1", 404),
        ("HEAD", "/api/echo/1", 404),
        ("OPTIONS", "/api/echo/1", 404),
        ("POST", "/echo/1", 404),
        ("POST", "/api/echo/a/b", 404),
        ("POST", "/api//echo/1", 404),
        ("POST", "/api/echo/", 404),
        ("POST", "/api/echo/a%00b", 400),
        ("POST", "/api/echo/" + "x" * 17_000, 414),
        ("POST", "/api/echo/" + "x" * 70_000, 414),
        ("GET", "/", 200),
        ("GET", "/admin/host/status", 200),
        ("GET", "/api/in_error", 404),
    ],
)
def test_what_is_no_route(host: RunningHost, method: str, path: str, status: int) -> None:
    assert host.ask(method, path)[0] == status


def test_a_literal_path_goes_before_a_parameter_and_sync_code_gets_a_thread(
    host: RunningHost,
) -> None:
    status, text, headers = host.ask("POST", "/api/echo/literal", b"")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert text != "MainThread"


# Query, headers, body


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("word=one&word=two", {"word": "one,two"}),
        ("A=1&a=2", {"A": "1,2"}),
        ("a=&b&c=1", {"c": "1"}),
        ("a=1+2%2B3%26", {"a": "1 2+3&"}),
        ("code=kept", {"code": "kept"}),
    ],
)
def test_a_query_has_one_value_a_name_and_no_empty_ones(
    host: RunningHost, query: str, params: dict[str, str]
) -> None:
    assert seen(host, f"/api/echo/1?{query}")["params"] == params


@pytest.mark.parametrize("size", [9_000, 20_000])
def test_a_long_header_arrives_whole(host: RunningHost, size: int) -> None:
    assert seen(host, "/api/echo/1", Authorization="x" * size)["headers"]["authorization"] == (
        "x" * size
    )


def test_headers_have_lower_case_names_and_one_value_each(host: RunningHost) -> None:
    status, text = raw(host, "GET /api/echo/1 HTTP/1.1\nX-Mixed: one\nX-MIXED: two")
    assert status == 202
    assert json.loads(text)["headers"]["x-mixed"].replace(" ", "") == "one,two"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /api/echo/\xe9 HTTP/1.1", 400),
        ("GET /api/echo/1?a=\xe9 HTTP/1.1", 400),
        ("GET /api/echo/1 HTTP/1.1\nX-Name: \xe9", 400),
        ("GET /api/echo/1 HTTP/1.1\nExpect: banana", 202),
        ("GET /api/echo/1 HTTP/1.1\n" + "\n".join(f"X-{n}: 1" for n in range(120)), 431),
        (f"GET /api/echo/1 HTTP/1.1\nX-Long: {'x' * 33_000}", 431),
        (f"GET /api/echo/1 HTTP/1.1\nX-Long: {'x' * 200_000}", 431),
    ],
)
def test_unusual_heads(host: RunningHost, head: str, status: int) -> None:
    assert raw(host, head)[0] == status


def test_a_body_arrives_as_it_was_sent(host: RunningHost) -> None:
    _, text, _ = host.ask("POST", "/api/echo/1", b"\x00\xff", {"Content-Encoding": "gzip"})
    assert json.loads(text)["body"] == "00ff"


def test_a_chunked_body_arrives_empty(host: RunningHost) -> None:
    head = "POST /api/echo/1 HTTP/1.1\nTransfer-Encoding: chunked"
    status, text = raw(host, head, b"2\r\n{}\r\n0\r\n\r\n")
    assert (status, json.loads(text)["body"]) == (202, "")
    assert "content-length" not in json.loads(text)["headers"]


def test_a_body_above_the_hosts_limit_is_500(host: RunningHost) -> None:
    head = f"POST /api/echo/1 HTTP/1.1\nContent-Length: {100 * 1024 * 1024 + 1}"
    assert raw(host, head)[0] == 500


@pytest.mark.parametrize("path", ["/api/echo/1", "/api/nowhere"])
def test_every_answer_has_the_headers_of_host_json(host: RunningHost, path: str) -> None:
    assert host.ask("GET", path)[2]["x-always"] == "by the host"


def test_an_answer_has_its_status_type_and_headers(host: RunningHost) -> None:
    status, _, headers = host.ask("POST", "/api/echo/1", b"")
    assert (status, headers["content-type"]) == (202, "application/json")
    assert headers["x-answer"] == "yes"


@pytest.mark.parametrize(
    ("answer", "status", "headers"),
    [
        ({"status_code": 404}, 404, {"content-type": "text/plain; charset=utf-8"}),
        ({"status_code": 503, "headers": {"Retry-After": "5"}}, 503, {"retry-after": "5"}),
        ({"headers": {"ETag": '"1"', "Cache-Control": "no-cache"}}, 200, {"etag": '"1"'}),
        ({"status_code": 401, "headers": {"WWW-Authenticate": "Bearer"}}, 401, {}),
        ({"headers": {"Content-Length": "4"}}, 200, {}),
        ({"headers": {"Content-Length": "3"}}, 500, {}),
        ({"headers": {"Content-Length": "5"}}, 500, {}),
        ({"headers": {"X-Two": "lines\r\nX-Three: 3"}}, 500, {}),
        ({"headers": {"X Space": "1"}}, 500, {}),
    ],
)
def test_the_statuses_and_headers_of_an_app_are_answered_unless_they_are_wrong(
    host: RunningHost, answer: dict[str, Any], status: int, headers: dict[str, str]
) -> None:
    found, text, answered = host.ask("POST", "/api/answers", json.dumps(answer).encode())
    assert found == status
    assert headers.items() <= answered.items()
    assert status == 500 or text == "body"


def test_requests_run_at_once_in_one_worker(host: RunningHost) -> None:
    askers = [Asker(host, "/api/meeting/50") for _ in range(50)]
    assert {each.status() for each in askers} == {200}


def test_a_caller_that_hangs_up_does_not_cancel_what_runs(
    host: RunningHost, events: Events
) -> None:
    with socket.create_connection(("127.0.0.1", host.port), timeout=60) as connection:
        head = f"GET /api/takes_a_moment HTTP/1.1\r\nHost: 127.0.0.1:{host.port}\r\n\r\n"
        connection.sendall(head.encode())
        wait_until(lambda: bool(events()), host)
    wait_until(lambda: len(events()) == 2, host)


# Failures and deaths


@pytest.mark.parametrize("function", ["fails", "nothing"])
def test_a_function_that_fails_answers_500_and_nothing_else(
    host: RunningHost, function: str
) -> None:
    assert host.ask("GET", f"/api/{function}")[:2] == (500, "")


def test_a_worker_that_dies_answers_500_to_all_and_the_next_request_works(
    host: RunningHost, events: Events
) -> None:
    before = seen(host, "/api/echo/1")["process"]
    bystander = Asker(host, "/api/hangs")
    wait_until(lambda: bool(events()), host)
    assert host.ask("GET", "/api/dies")[:2] == (500, "")
    assert bystander.status() == 500
    assert seen(host, "/api/echo/1")["process"] != before


def test_a_function_over_its_timeout_takes_all_along_and_the_next_request_works(
    host: RunningHost, events: Events
) -> None:
    before = seen(host, "/api/echo/1")["process"]
    assert host.run_now("ticks") == 202
    wait_until(lambda: len(events()) == 2, host)  # it runs in the same process
    culprits = [Asker(host, "/api/hangs") for _ in range(2)]
    assert [each.status() for each in culprits] == [500, 500]
    assert seen(host, "/api/echo/1")["process"] != before


def test_an_app_that_cannot_be_loaded_leaves_a_host_that_answers_404(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "host.json").write_text(json.dumps(HOST_JSON))
    (tmp_path / "function_app.py").write_text("import nowhere")
    with running_host(tmp_path, **settings) as host:
        assert host.ask("GET", "/api/echo/1")[:2] == (404, "")
        assert host.ask("GET", "/")[0] == 200
        assert host.run_now("ticks") == 404


class Asker(threading.Thread):
    """Asks beside the test."""

    def __init__(self, host: RunningHost, path: str) -> None:
        super().__init__(daemon=True)
        self._host, self._path, self._status = host, path, 0
        self.start()

    def run(self) -> None:
        self._status = self._host.ask("GET", self._path)[0]

    def status(self) -> int:
        self.join(60)
        return self._status


# Timers, and runs by hand


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (None, None, 415),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 202),
        (b'{"input": ""}', "Application/JSON; charset=utf-8", 202),
    ],
)
def test_a_run_by_hand_needs_json(
    host: RunningHost,
    events: Events,
    body: bytes | None,
    content_type: str | None,
    status: int,
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert host.run_now("ticks", body=body, headers=headers) == status
    wait_until(lambda: len(events()) == (2 if status == 202 else 0), host)


def test_runs_by_hand_run_beside_each_other_and_in_any_case(
    host: RunningHost, events: Events
) -> None:
    assert host.run_now("ticks") == host.run_now("TICKS") == 202
    wait_until(lambda: len(events()) == 4, host)
    assert [each["tick"] for each in events()] == ["begun", "begun", "ended", "ended"]
    assert not any(each.get("past_due") for each in events())


def test_a_disabled_timer_runs_by_hand_and_only_so(host: RunningHost, events: Events) -> None:
    assert host.run_now("off") == 202
    wait_until(lambda: bool(events()), host)
    assert len(events()) == 1  # no other test sees an event of its schedule either


def test_nobody_is_not_found(host: RunningHost) -> None:
    assert host.run_now("nobody") == 404


@only_stand_in("the real host notes it in its storage, and for schedules of a minute or more only")
def test_a_timer_that_was_missed_runs_once_at_the_next_start_and_is_past_due(
    folder: Path, settings: dict[str, str], events: Events
) -> None:
    note = folder / ".local_host" / "ticks.json"
    note.write_text(json.dumps({"schedule": NEVER, "next": "2026-01-01T00:00:00+00:00"}))
    with running_host(folder, **settings) as host:
        wait_until(lambda: len(events()) == 2, host)
        assert events()[0]["past_due"] is True
        wait_until(lambda: "2026" not in note.read_text(), host)


def test_a_timer_fires_by_its_schedule_one_run_at_a_time_and_not_past_due(
    folder: Path, settings: dict[str, str], events: Events
) -> None:
    # A run takes longer than the schedule's interval: the next one begins at once.
    changed = {
        "Every": "* * * * * *",
        "TICK_SECONDS": "1.1",
        "AzureFunctionsJobHost__functionTimeout": "00:01:00",
    }
    with running_host(folder, **{**settings, **changed}) as host:
        wait_until(lambda: len(events()) >= 3, host)
        assert [each["tick"] for each in events()[:3]] == ["begun", "ended", "begun"]
        assert not any(each.get("past_due") for each in events())


# Queues


@pytest.fixture
def queue(settings: dict[str, str]) -> Iterator[Callable[[str], QueueClient]]:
    """The client of the queue, or of its poison queue; both are there."""
    with (
        client(settings, settings["Queue"]) as queue,
        client(settings, settings["Queue"] + "-poison") as poison,
    ):
        for each in (queue, poison):
            with suppress(ResourceExistsError):  # of an earlier test
                each.create_queue()
            each.clear_messages()
        yield lambda which: {"": queue, "poison": poison}[which]


def client(settings: dict[str, str], name: str) -> QueueClient:
    return QueueClient.from_connection_string(
        settings["AzureWebJobsStorage"], name, api_version="2023-11-03"
    )


def poisoned(queue: Callable[[str], QueueClient]) -> list[str]:
    return [message.content for message in queue("poison").peek_messages(max_messages=10)]


def test_a_message_comes_with_its_times_and_is_deleted(
    host: RunningHost,
    events: Events,
    queue: Callable[[str], QueueClient],
) -> None:
    sent = queue("").send_message(b64encode(b"good").decode())
    wait_until(lambda: bool(events()), host)
    (event,) = events()
    assert (event["message"], event["id"], event["dequeue_count"]) == ("good", sent.id, 1)
    assert all(event["times"])
    assert event["receipt"]
    wait_until(lambda: not queue("").get_queue_properties().approximate_message_count, host)
    assert poisoned(queue) == []


def test_messages_that_fail_too_often_or_are_no_text_become_poison(
    host: RunningHost,
    events: Events,
    queue: Callable[[str], QueueClient],
) -> None:
    bad, no_text, no_base64 = (
        b64encode(b"bad").decode(),
        b64encode(b"\xff").decode(),
        "no base64!",
    )
    for content in (bad, no_text, no_base64):
        queue("").send_message(content)
    wait_until(lambda: len(poisoned(queue)) == 3, host)
    assert sorted(poisoned(queue)) == sorted([bad, no_text, no_base64])
    assert [each["dequeue_count"] for each in events()] == [1, 2]  # maxDequeueCount


def test_a_message_that_ends_the_worker_comes_again_and_then_is_poison(
    host: RunningHost,
    events: Events,
    queue: Callable[[str], QueueClient],
) -> None:
    deadly = b64encode(b"deadly").decode()
    queue("").send_message(deadly)
    wait_until(lambda: poisoned(queue) == [deadly], host)
    assert [each["dequeue_count"] for each in events()] == [1, 2]
    assert seen(host, "/api/echo/1")["process"] != events()[0]["process"]


# The end


def test_a_stop_is_clean_and_the_worker_is_gone(
    folder: Path, settings: dict[str, str], events: Events
) -> None:
    with running_host(folder, **settings) as host:
        assert host.run_now("ticks") == 202
        asker = Asker(host, "/api/takes_a_moment")
        wait_until(lambda: len(events()) == 2, host)
        assert host.stop() == 0
        assert asker.status() == 200  # it may finish
        assert {"ended"} == {next(iter(each.values())) for each in events()[2:]}
        assert len(events()) == 4
    with pytest.raises(ProcessLookupError):
        os.kill(events()[0]["process"], 0)
