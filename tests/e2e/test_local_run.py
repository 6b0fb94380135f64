import json
import os
import signal
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from scripts import cosmos, processes, run
from tests.e2e.running_bot import in_cosmos
from tests.ports import free_port

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups and signals are POSIX")


def start_run(**environment: str) -> subprocess.Popen[str]:
    """As `make run` does, with its own process group and no terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.run"],
        cwd=processes.ROOT,
        env={
            **os.environ,
            "ExpirySchedule": "0 0 0 1 1 *",
            "ExpiryPolicy": "warn_before = []",  # a timer that comes so seldom cannot warn
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    output = ""
    while text not in output:
        line = process.stdout.readline()
        assert line, output
        output += line
    return output


def test_with_state_in_cosmos_it_starts_one_and_stops_it(storage_connection_string: str) -> None:
    port, cosmos_port = free_port(), free_port()
    process = start_run(
        AzureWebJobsStorage=storage_connection_string,
        PORT=str(port),
        ConversationsTable=f"c{uuid4().hex}",
        **in_cosmos(cosmos.endpoint(cosmos_port)),
    )
    try:
        output = read_until(process, "and chat")
        assert "Cosmos DB: starting one" in output
        assert cosmos.answers(cosmos_port)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert not cosmos.answers(cosmos_port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_chats_beside_a_taken_playground_port_and_one_signal_stops_everything(
    storage_connection_string: str, number: signal.Signals
) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_port = taken.getsockname()[1]
        ports = {"PORT": str(port), "PLAYGROUND_PORT": str(taken_port)}
        process = start_run(AzureWebJobsStorage=storage_connection_string, **ports)
        try:
            output = read_until(process, "and chat")
            playground_port = int(output.rpartition("http://localhost:")[2].split()[0])
            assert playground_port != taken_port
            assert run.answers(playground_port, "/_debug/ping")
            for served in (port, playground_port):
                with pytest.raises(OSError):  # noqa: PT011 - each system has its own refusal
                    # Loopback too, but not the address that is listened on.
                    socket.create_connection(("127.0.0.2", served), timeout=5).close()
            answer = processes.get(port, "/api/messages")
            assert answer is not None
            assert answer.status == HTTPStatus.NOT_FOUND  # it takes POST
        finally:
            os.killpg(process.pid, number)
            rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in output + rest
    assert run.is_free(port)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left in the group
    until = time.monotonic() + 60
    while not run.is_free(playground_port) and time.monotonic() < until:
        time.sleep(0.5)  # it is none of this test's own: meanwhile another test may have it
    assert run.is_free(playground_port)


def test_a_taken_functions_port_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_run(PORT=str(port))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith(f"Port {port} is taken")
    assert "Azurite" not in output


def test_functions_that_cannot_start_end_the_run(storage_connection_string: str) -> None:
    process = start_run(
        AzureWebJobsStorage=storage_connection_string,
        PORT=str(free_port()),
        ExpireAfterSeconds="soon",
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "The app cannot start: ExpireAfterSeconds is 'soon'; it must be" in output
    last = output.splitlines()[-1]
    assert last.startswith("The app has not started: ExpireAfterSeconds is wrong; it must be")
    assert "and chat" not in output


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (404, "", "The app has no functions: the lines above say why."),
        (503, '{"reason": "A is wrong; it must be 1"}', "not started: A is wrong; it must be 1."),
    ],
)
def test_a_host_without_the_apps_functions_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str, line: str
) -> None:
    monkeypatch.setattr(processes, "ask", lambda *_: (status, body))
    with subprocess.Popen(["sleep", "60"]) as host:
        with pytest.raises(SystemExit, match=line):
            run.end_without_functions(7071, host)
        host.kill()


@pytest.mark.parametrize("body", ['{"status": "not ok", "failed": ["sweep"]}', "", "no JSON"])
def test_an_app_that_serves_is_chatted_with(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(processes, "ask", lambda *_: (503, body))
    with subprocess.Popen(["sleep", "60"]) as host:
        run.end_without_functions(7071, host)
        host.kill()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"IsEncrypted": true, "Values": {}}', "is encrypted"),
        ('{"IsEncrypted": false, "Values": {}}', '"FUNCTIONS_WORKER_RUNTIME": "python"'),
    ],
)
def test_local_settings_that_func_could_not_use_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.delenv("FUNCTIONS_WORKER_RUNTIME", raising=False)
    (tmp_path / "local.settings.json").write_text(text)
    with pytest.raises(SystemExit, match=r"^local.settings.json .*" + reason):
        run.read_settings()


def test_local_settings_that_are_there_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "ROOT", tmp_path)
    for name in ("ExpireAfterSeconds", "ExpiryPolicy"):
        monkeypatch.delenv(name, raising=False)
    older = {"FUNCTIONS_WORKER_RUNTIME": "python", "ExpireAfterSeconds": "30"}
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": older}))
    before = file.read_bytes()
    settings = run.read_settings()
    assert (settings["ExpireAfterSeconds"], settings.get("ExpiryPolicy")) == ("30", None)
    assert file.read_bytes() == before
    assert capsys.readouterr().out == ""


def test_a_policy_of_ones_own_that_the_local_settings_hide_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "local.settings.example.json").write_bytes(
        (processes.ROOT / "local.settings.example.json").read_bytes()
    )
    (tmp_path / "expiry_policy.toml").touch()
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.delenv("ExpiryPolicy", raising=False)
    run.read_settings()
    assert capsys.readouterr().out == (
        "expiry_policy.toml is not used: ExpiryPolicy in local.settings.json says otherwise.\n"
    )
    monkeypatch.setenv("ExpiryPolicy", "expiry_policy.toml")
    run.read_settings()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("folder", ["node_modules/.bin", "elsewhere"])
def test_core_tools_are_used_only_where_they_really_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    func = tmp_path / folder / "func"
    func.parent.mkdir(parents=True)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    local_host = ["python", "-m", "scripts.local_host", "--port", "7071"]
    assert run.functions_command(Path("python"), 7071) == local_host
    func.write_text("#!/bin/sh\nexit 1\n")
    func.chmod(0o755)
    assert run.functions_command(Path("python"), 7071) == local_host
    for version in ("4.13.2", "4.14.0", "5.0.0-preview.3", "no version"):
        func.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {version}\n')
        assert run.functions_command(Path("python"), 7071) == local_host
    func.write_text('#!/bin/sh\n[ "$1" = --version ] && echo There is news. && echo 4.15.1\n')
    assert run.functions_command(Path("python"), 7071) == [str(func), "start", "--port", "7071"]
    monkeypatch.setitem(sys.modules, "debugpy", ModuleType("debugpy"))
    assert run.functions_command(Path("python"), 7071) == local_host  # which it can follow into
