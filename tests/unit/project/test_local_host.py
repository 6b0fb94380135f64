"""The stand-in: what it has beside the conformance suite (tests/conformance)."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from scripts import local_settings
from scripts.local_host import functions
from scripts.local_host.functions import FunctionError, HostedFunction, Route
from scripts.local_host.host import overlay
from scripts.local_host.timers import Timer
from tests.hosts import (
    RunningHost,
    only_stand_in,
    running_host,
    start_host,
    wait_until,
)

pytestmark = only_stand_in("it is the stand-in that is tested")

APP = """
import azure.functions as func

app = func.FunctionApp()

@app.route(route="echo/{id}", methods=["POST"], auth_level="anonymous")
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("in", status_code=202)

@app.route()
async def guarded(req: func.HttpRequest) -> str:
    return "in"

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def ticks(timer: func.TimerRequest) -> None: ...

@app.timer_trigger(arg_name="timer", schedule="sometimes")
def wrong(timer: func.TimerRequest) -> None: ...

@app.timer_trigger(arg_name="timer", schedule="%NoSuchSetting%")
def missing(timer: func.TimerRequest) -> None: ...

@app.blob_trigger(arg_name="blob", path="p", connection="c")
def stored(blob: func.InputStream) -> None: ...

@app.queue_trigger(arg_name="message", queue_name="%Name%", connection="NoStorage")
def queued(message: func.QueueMessage) -> None: ...

@app.queue_trigger(arg_name="message", queue_name="%Name%", connection="NoStorage")
def off(message: func.QueueMessage) -> None: ...
"""
SETTINGS = '{"IsEncrypted": false, "Values": {"Word": "from the file", "Empty": "not this"}}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "function_app.py").write_text(APP)
    return folder


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[RunningHost]:
    with running_host(folder, **{"AzureWebJobs.off.Disabled": "true"}) as host:
        wait_until(lambda: "Listening on" in host.log, host)
        yield host


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[RunningHost]:
    """A host that asks for keys."""
    with running_host(folder, "--keys function-key master-key") as host:
        yield host


def refusal(folder: Path, port: int = 0, **environment: str) -> str:
    """What a host says that ends by itself."""
    host = start_host(folder, environment, port)
    assert host.process.wait(30) == 1
    lines = [line for line in host.log.splitlines() if " ERROR " not in line]
    assert len(lines) == 1, host.log
    return lines[0]


def test_it_says_that_it_stands_in_and_lists_what_it_serves(host: RunningHost) -> None:
    assert "stands in for `func start`" in host.log
    assert f"echo: [POST] http://localhost:{host.port}/api/echo/{{id}}" in host.log
    assert "ticks: timerTrigger 0 0 0 1 1 *" in host.log
    assert "off: queueTrigger %Name% (disabled)" in host.log


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("stored", "the local host has no blobTrigger, func has"),
        ("wrong", "its schedule 'sometimes' is not NCRONTAB"),
        ("missing", "the setting NoSuchSetting, its schedule, is missing"),
        ("queued", "the setting NoStorage, its connection string, is missing"),
    ],
)
def test_a_function_that_it_cannot_run_is_named_and_the_others_run(
    host: RunningHost, function: str, error: str
) -> None:
    assert f"The '{function}' function is in error: {error}" in host.log
    assert f"\t{function}:" not in host.log


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
def test_a_name_that_is_not_this_machines_is_refused(host: RunningHost, name: str) -> None:
    for method, path in (("POST", "/api/echo/1"), ("POST", "/admin/functions/ticks")):
        assert host.ask(method, path, headers={"Host": name})[0] == 403


@pytest.mark.parametrize("name", THIS_MACHINE)
def test_every_name_of_this_machine_is_served(host: RunningHost, name: str) -> None:
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
    host: RunningHost, path: str, headers: dict[str, str]
) -> None:
    assert host.ask("POST", path, b"{}", headers)[0] == 403


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/guarded", {}, 401),
        ("/api/guarded", {"x-functions-key": "wrong"}, 401),
        ("/api/guarded?code=wrong", {}, 401),
        ("/api/guarded", {"x-functions-key": "function-key"}, 200),
        ("/api/guarded", {"x-functions-key": "master-key"}, 200),
        ("/api/guarded?code=function-key", {}, 200),
        ("/api/guarded?code=function-key", {"x-functions-key": "wrong"}, 401),
        ("/admin/host/status", {}, 401),
        ("/admin/host/status", {"x-functions-key": "function-key"}, 403),
        ("/admin/host/status", {"x-functions-key": "master-key"}, 200),
    ],
)
def test_it_asks_for_keys_where_it_is_told_to(
    guarded: RunningHost, path: str, headers: dict[str, str], status: int
) -> None:
    code, text, answered = guarded.ask("GET", path, headers=headers)
    assert code == status
    assert "www-authenticate" not in answered
    assert code == 200 or not text


def test_without_keys_it_asks_nobody(host: RunningHost) -> None:
    assert host.ask("GET", "/api/guarded")[:2] == (200, "in")


def test_an_app_that_cannot_be_loaded_leaves_a_host_without_routes(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text("import nowhere")
    with running_host(tmp_path) as host:
        assert host.ask("GET", "/api/echo/1")[0] == 404
        assert "function_app.py cannot be loaded, so no route" in host.log
        assert host.log.count("Traceback") == 1


def test_an_app_that_ends_its_process_ends_the_host(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text("import os; os._exit(3)")
    assert refusal(tmp_path) == "function_app.py cannot be loaded: its process ends (exit code 3)."


FAILS_AT_TIMES = """
import os
from pathlib import Path
import azure.functions as func

if Path("fail").exists():
    os._exit(3)
app = func.FunctionApp()

@app.route()
async def dies(req: func.HttpRequest) -> str:
    os._exit(3)

@app.route()
async def lives(req: func.HttpRequest) -> str:
    return "yes"
"""


def test_workers_that_failed_to_start_are_tried_again_by_the_next_request(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(FAILS_AT_TIMES)
    with running_host(tmp_path) as host:
        (tmp_path / "fail").touch()
        assert host.ask("GET", "/api/dies")[0] == 500
        assert host.ask("GET", "/api/lives")[0] == 500
        (tmp_path / "fail").unlink()
        assert host.ask("GET", "/api/lives")[:2] == (200, "yes")


@pytest.mark.parametrize("host_json", ["{", '{"functionTimeout": "soon"}', "[]"])
def test_a_wrong_host_json_is_named_and_every_answer_is_503(folder: Path, host_json: str) -> None:
    try:
        (folder / "host.json").write_text(host_json)
        with running_host(folder) as host:
            assert host.ask("GET", "/api/guarded")[:2] == (503, "Function host is not running.")
            assert "host.json is wrong" in host.log
    finally:
        (folder / "host.json").unlink()


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"Port {port} is taken" in refusal(folder, port)


def written(folder: Path, text: str) -> Path:
    (folder / "local.settings.json").write_text(text)
    return folder


def test_local_settings_fill_in_what_the_environment_leaves_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Word", "from outside")
    monkeypatch.setenv("Empty", "")
    monkeypatch.delenv("New", raising=False)
    text = """\ufeff{
        // comments and trailing commas, as func takes them
        "IsEncrypted": false, /* or true */
        "Values": {"Word": "file", "Empty": "file", "New": "a // b, }", "None": null, "N": 1,},
    }"""
    values = local_settings.read_values(written(tmp_path, text))
    assert values == {"Word": "file", "Empty": "file", "New": "a // b, }", "N": "1"}
    environment = local_settings.environment_with(values)
    assert [environment[name] for name in ("Word", "Empty", "New")] == [
        "from outside",
        "file",
        "a // b, }",
    ]


def test_without_local_settings_there_are_no_values(tmp_path: Path) -> None:
    assert local_settings.read_values(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"IsEncrypted": true, "Values": {"A": "b"}}', "is encrypted"),
        ('{"Values": {"A": "b"}}', "is encrypted"),
        ('{"IsEncrypted": false}', 'must have an object "Values"'),
        ('{"IsEncrypted": false, "Values": []}', 'must have an object "Values"'),
        ("[]", "it must hold an object"),
        ("{", "is not JSON"),
    ],
)
def test_local_settings_that_cannot_be_used_are_named(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(SystemExit, match=r"^local.settings.json ") as refused:
        local_settings.read_values(written(tmp_path, text))
    assert reason in str(refused.value)


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
    assert functions.next_occurrence(expression, after).isoformat() == occurrence


def timer(schedule: str, **trigger: object) -> HostedFunction:
    return HostedFunction("tidy", {"type": "timerTrigger", "schedule": schedule, **trigger})


@pytest.mark.parametrize("expression", ["0 0 0 ? * *", "0 0 0 31 2 *", "00:05:00"])
def test_a_schedule_that_the_real_host_would_not_run_is_an_error(expression: str) -> None:
    with pytest.raises(FunctionError, match="its schedule"):
        functions.schedule_of(timer(expression))


@pytest.mark.parametrize(
    ("schedule", "use_monitor", "next_", "missed"),
    [
        ("0 * * * * *", None, "11:59:00", True),
        ("0 * * * * *", True, "12:00:00", False),  # it is due now
        ("0 * * * * *", False, "11:59:00", False),
        ("*/10 * * * * *", True, "11:59:00", False),  # twice in a minute
        ("0 0 * * * *", None, "11:59:00", True),
    ],
)
def test_a_run_that_was_due_while_no_host_ran_is_missed(
    tmp_path: Path, schedule: str, use_monitor: bool | None, next_: str, *, missed: bool
) -> None:
    its_timer = Timer(timer(schedule, useMonitor=use_monitor), tmp_path)
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert not its_timer.missed(now)
    note = {"schedule": schedule, "next": f"2026-03-01T{next_}+00:00"}
    (tmp_path / "tidy.json").write_text(json.dumps(note))
    assert its_timer.missed(now) is missed
    (tmp_path / "tidy.json").write_text(json.dumps({**note, "schedule": "0 1 * * * *"}))
    assert not its_timer.missed(now)  # another schedule since


@pytest.mark.parametrize(
    ("time_span", "seconds"),
    [("00:05:00", 300), ("1:00:01", 3601), ("0:10", 600), ("1.00:00:00", 86_400), ("-1", None)],
)
def test_function_timeout_is_read_as_a_time_span(time_span: str, seconds: float | None) -> None:
    assert functions.to_seconds(time_span) == seconds


def test_variables_go_before_host_json_in_any_case() -> None:
    host_json = {"functionTimeout": "00:05:00", "extensions": {"queues": {"batchSize": 2}}}
    overlay(
        host_json,
        {
            "AzureFunctionsJobHost__FunctionTimeout": "00:01:00",
            "AZUREFUNCTIONSJOBHOST__extensions__Queues__maxDequeueCount": "3",
            "AzureFunctionsJobHost__extensions__http__routePrefix": "bot",
            "AzureFunctionsJobHost": "no path",
            "Other__functionTimeout": "no",
        },
    )
    assert host_json == {
        "functionTimeout": "00:01:00",
        "extensions": {
            "queues": {"batchSize": 2, "maxDequeueCount": "3"},
            "http": {"routePrefix": "bot"},
        },
    }


def test_a_route_it_would_not_serve_right_is_an_error() -> None:
    function = HostedFunction("item", {"type": "httpTrigger", "route": "item/{id:int}"})
    with pytest.raises(FunctionError, match=r"only \{name\}"):
        Route.of("api", function)


GROUPS = """
import os
from pathlib import Path
import azure.functions as func

app = func.FunctionApp()

@app.route()
async def one(req: func.HttpRequest) -> str:
    return str(os.getpid())

@app.route()
async def other(req: func.HttpRequest) -> str:
    return str(os.getpid())

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def ticks(timer: func.TimerRequest) -> None:
    Path("ticks").write_text(str(os.getpid()))

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def tocks(timer: func.TimerRequest) -> None:
    Path("tocks").write_text(str(os.getpid()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("like_flex", [False, True])
def test_like_flex_each_group_of_functions_has_a_process(tmp_path: Path, like_flex: bool) -> None:
    (tmp_path / "function_app.py").write_text(GROUPS)
    with running_host(tmp_path, "--like-flex" if like_flex else "") as host:
        processes = [host.ask("GET", f"/api/{name}")[1] for name in ("one", "other")]
        for name in ("ticks", "tocks"):
            assert host.run_now(name) == 202
            written = tmp_path / name
            wait_until(partial(written_by, written), host)
            processes.append(written.read_text())
        http, http_too, ticks, tocks = processes
        assert http == http_too
        assert len({http, ticks, tocks}) == (3 if like_flex else 1)
        assert host.stop() == 0
        wait_until(lambda: not any(Path("/proc", each).exists() for each in processes), host)


def written_by(file: Path) -> bool:
    return file.exists() and bool(file.read_text())
