import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts import local_app, processes

APP = """
import asyncio, json, threading, time
import azure.functions as func

app = func.FunctionApp()
started = 0
running = 0

@app.route(route="echo/{id}", methods=["POST"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    seen = {"headers": dict(req.headers), "params": dict(req.params), "body": req.get_body().hex(),
            "id": req.route_params["id"], "url": req.url}
    return func.HttpResponse(json.dumps(seen), status_code=202, mimetype="application/json",
                             headers={"X-Answer": "yes"})

@app.route(route="echo/literal")
def literal(req: func.HttpRequest) -> str:
    return threading.current_thread().name

@app.route()
async def fails(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("secret of the developer")

@app.route()
async def hangs(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(3600)

@app.timer_trigger(arg_name="timer", schedule="%Every%", run_on_startup=False)
def ticks(timer: func.TimerRequest) -> None:
    global started, running
    running += 1
    started += 1
    print("tick", started, "of", running, "past due", timer.past_due, flush=True)
    time.sleep(0.3)
    running -= 1

@app.blob_trigger(arg_name="blob", path="p", connection="c")
def stored(blob: func.InputStream) -> None: ...

async def shutdown() -> None:
    print("app closed", flush=True)
"""
QUEUE_APP = """
import azure.functions as func

app = func.FunctionApp()

@app.queue_trigger(arg_name="message", queue_name="%Name%", connection="Storage")
def queued(message: func.QueueMessage) -> None: ...

@app.route()
def web(req: func.HttpRequest) -> str: ...

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def last(timer: func.TimerRequest) -> None: ...
"""
HOST_JSON = '{"version": "2.0", "functionTimeout": "00:00:01"}'
SETTINGS = '{"Values": {"Every": "0 0 0 1 1 *", "Word": "from the file"}}'


class Host(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    head: str  # what it printed before it was ready

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest


def start_host(folder: Path, port: int = 0, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.local_host", str(folder), "--port", str(port)],
        cwd=processes.ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def running_host(folder: Path, **environment: str) -> Iterator[Host]:
    process = start_host(folder, 0, **environment)
    assert process.stdout is not None
    head = ""
    while "timerTrigger" not in head:  # the last function it lists
        line = process.stdout.readline()
        assert line, head
        head += line
    port = int(head.partition("localhost:")[2].partition("/")[0])
    try:
        yield Host(process, port, head)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "function_app.py").write_text(APP)
    (folder / "host.json").write_text(HOST_JSON)
    (folder / "local.settings.json").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    with running_host(folder) as host:
        yield host


def refusal(folder: Path, port: int = 0, **environment: str) -> str:
    process = start_host(folder, port, **environment)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    lines = [line for line in output.splitlines() if "WARNING" not in line]
    assert len(lines) == 1, output
    return lines[0]


def test_says_that_it_stands_in_and_lists_what_it_serves(host: Host) -> None:
    assert "stands in for `func start`" in host.head
    assert f"echo: [POST] http://localhost:{host.port}/api/echo/{{id}}" in host.head
    assert "ticks: timerTrigger 0 0 0 1 1 *" in host.head


def test_a_trigger_it_does_not_know_is_named_and_left_out(host: Host) -> None:
    assert "stored is left out: the local host has no blobTrigger" in host.head


def test_a_function_sees_the_request_as_on_the_real_host(host: Host) -> None:
    path = "/api/echo/a%2Fb%25c%20%F0%9F%98%80?word=one&word=two"
    headers = {"X-Mixed-Case": "yes", "Content-Encoding": "gzip"}
    status, text, answered = host.ask("POST", path, b"\x00\xff", headers)
    seen = json.loads(text)
    assert status == 202
    assert answered["content-type"] == "application/json"
    assert answered["x-answer"] == "yes"
    assert seen["id"] == "a%2Fb%c 😀"
    assert seen["params"] == {"word": "one,two"}
    assert seen["headers"]["x-mixed-case"] == "yes"
    assert seen["body"] == "00ff"
    assert seen["url"] == f"http://127.0.0.1:{host.port}{path}"


def test_an_id_may_hold_any_character_but_a_slash(host: Host) -> None:
    assert json.loads(host.ask("POST", "/api/echo/%0A%5C%3F%23")[1])["id"] == "\n\\?#"


def test_a_literal_path_goes_before_a_parameter_and_sync_code_gets_a_thread(host: Host) -> None:
    status, text, headers = host.ask("POST", "/api/echo/literal")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert text != "MainThread"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/echo/1"), ("POST", "/echo/1"), ("POST", "/api/echo/a/b"), ("GET", "/")],
)
def test_a_wrong_verb_or_path_is_not_found(host: Host, method: str, path: str) -> None:
    assert host.ask(method, path)[0] == 404


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:7071",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "0.0.0.0",
    "192.168.0.7",
    "[::ffff:10.0.0.1]:7071",
    "[broken",
    "",
]
THIS_MACHINE = ["localhost", "LOCALHOST:1", "127.0.0.1:7071", "127.1.2.3", "[::1]:7071"]


@pytest.mark.parametrize("name", FOREIGN_HOSTS)
def test_a_name_that_is_not_this_machines_is_refused(host: Host, name: str) -> None:
    for method, path in (("POST", "/api/echo/1"), ("POST", "/admin/functions/ticks")):
        assert host.ask(method, path, headers={"Host": name})[0] == 403


@pytest.mark.parametrize("name", THIS_MACHINE)
def test_every_name_of_this_machine_is_served(host: Host, name: str) -> None:
    assert host.ask("POST", "/api/echo/1", headers={"Host": name})[0] == 202
    assert host.ask("POST", "/api/echo/1", headers={"Origin": f"http://{name}"})[0] == 202


@pytest.mark.parametrize("path", ["/api/echo/1", "/admin/functions/ticks", "/nowhere"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost.evil.example:7071"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_post_from_another_site_is_refused(
    host: Host, path: str, headers: dict[str, str]
) -> None:
    assert host.ask("POST", path, b"{}", headers)[0] == 403


def test_a_failing_function_answers_500_and_tells_the_log_only(folder: Path) -> None:
    with running_host(folder) as host:
        assert host.ask("GET", "/api/fails")[:2] == (500, "")
        assert "ValueError: secret of the developer" in host.stop()[1]


def test_a_function_that_outlives_function_timeout_is_cancelled(folder: Path) -> None:
    with running_host(folder) as host:
        assert host.ask("GET", "/api/hangs")[:2] == (500, "")
        assert "hangs was cancelled: functionTimeout is over" in host.stop()[1]


def test_admin_runs_a_timer_now_and_never_twice_at_once(folder: Path) -> None:
    disabled = {"AzureWebJobs.ticks.Disabled": "True"}
    with running_host(folder, **disabled, Every="* * * * * *") as host:
        assert "ticks: timerTrigger * * * * * * (disabled)" in host.head
        for _ in range(2):
            assert host.ask("POST", "/admin/functions/ticks", b'{"input": ""}')[0] == 202
        code, output = host.stop()
    assert code == 0
    assert [line for line in output.splitlines() if "tick " in line] == [
        "tick 1 of 1 past due False",
        "tick 2 of 1 past due False",
    ]


@pytest.mark.parametrize("name", ["nobody", "echo"])
def test_admin_does_not_know_other_functions(host: Host, name: str) -> None:
    assert host.ask("POST", f"/admin/functions/{name}")[0] == 404


def test_a_timer_fires_by_its_schedule_and_a_stop_lets_it_end_and_closes_the_app(
    folder: Path,
) -> None:
    with running_host(folder, Every="* * * * * *") as host:
        assert host.process.stdout is not None
        while "tick 1" not in (line := host.process.stdout.readline()):
            assert line, "it ended"
        code, output = host.stop()
    assert code == 0
    assert output.index("ticks ran for") < output.index("app closed")
    assert "Traceback" not in output


def test_a_missing_schedule_setting_is_named(folder: Path) -> None:
    assert refusal(folder, Every="") == "ticks: the setting Every, its schedule, is missing."


def test_a_schedule_that_is_not_ncrontab_is_named(folder: Path) -> None:
    assert "ticks: its schedule 'sometimes' is not NCRONTAB" in refusal(folder, Every="sometimes")


@pytest.mark.parametrize("setting", ["Storage", "Name"])
def test_a_missing_setting_of_a_queue_is_named(tmp_path: Path, setting: str) -> None:
    (tmp_path / "function_app.py").write_text(QUEUE_APP)
    settings = {"Storage": "a connection string", "Name": "a-queue", setting: ""}
    assert f"queued: the setting {setting}, its " in refusal(tmp_path, 0, **settings)


def test_a_disabled_queue_is_not_polled(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(QUEUE_APP)
    disabled = {"AzureWebJobs.queued.Disabled": "true"}
    with running_host(tmp_path, **disabled) as host:  # which has neither setting
        assert "queued: queueTrigger %Name% (disabled)" in host.head


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"Port {port} is taken" in refusal(folder, port)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("raise SystemExit('Word must be a number')", "Word must be a number"),
        ("import nowhere", "function_app.py cannot be loaded: ModuleNotFoundError: No module"),
    ],
)
def test_an_app_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, code: str, line: str
) -> None:
    (tmp_path / "function_app.py").write_text(code)
    assert line in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "environment", "value"),
    [
        ("Word", {}, "from the file"),
        ("Word", {"Word": "from outside"}, "from outside"),
        ("AZURE_FUNCTIONS_ENVIRONMENT", {}, "Development"),
    ],
)
def test_an_app_sees_local_settings_where_no_variable_is_set(
    tmp_path: Path, name: str, environment: dict[str, str], value: str
) -> None:
    (tmp_path / "function_app.py").write_text(f"import os; raise SystemExit(os.environ['{name}'])")
    (tmp_path / "local.settings.json").write_text(SETTINGS)
    assert refusal(tmp_path, 0, **environment) == value


@pytest.mark.parametrize(
    ("expression", "occurrence"),
    [
        ("*/10 * * * * *", "2026-03-01T12:00:10+00:00"),
        ("0 */5 * * * *", "2026-03-01T12:05:00+00:00"),
        ("0 30 9 * * 1-5", "2026-03-02T09:30:00+00:00"),
        ("0 0 0 13 * 5", "2026-03-13T00:00:00+00:00"),  # a Friday the 13th: both must fit
        ("*/5 * * * *", "2026-03-01T12:05:00+00:00"),  # five fields: without seconds
        ("0 0 5-1 * * *", "2026-03-02T01:00:00+00:00"),  # put in order, 1 to 5
    ],
)
def test_schedules_are_read_as_ncrontab_in_utc(expression: str, occurrence: str) -> None:
    after = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    assert local_app.next_occurrence(expression, after).isoformat() == occurrence


@pytest.mark.parametrize("expression", ["0 0 0 ? * *", "0 0 0 31 2 *", "00:05:00"])
def test_a_schedule_that_the_real_host_would_not_run_stops_the_local_one(expression: str) -> None:
    trigger = {"type": "timerTrigger", "schedule": expression}
    function = local_app.HostedFunction("tidy", print, trigger, disabled=False)
    with pytest.raises(SystemExit, match="tidy: its schedule"):
        local_app.schedule(function)


@pytest.mark.parametrize(
    ("time_span", "seconds"), [("00:05:00", 300), ("1:00:01", 3601), ("-1", None)]
)
def test_function_timeout_is_read_as_a_time_span(time_span: str, seconds: float | None) -> None:
    assert local_app.to_seconds(time_span) == seconds


def test_a_route_it_would_not_serve_right_is_refused() -> None:
    trigger = {"type": "httpTrigger", "route": "item/{id:int}"}
    function = local_app.HostedFunction("item", print, trigger, disabled=False)
    with pytest.raises(SystemExit, match="item: only"):
        local_app.routing_table("api", [function])
