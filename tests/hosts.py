"""The Functions host that tests run on: the one place that starts it.

By default that is the project's stand-in. `FUNCTIONS_HOST` names another one: the command that
serves the folder it is started in at `{port}`, for example `func start --port {port}`.
"""

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scripts import processes
from tests import warm_start
from tests.ports import free_port
from tests.settings_of_app import variables_of_settings

COMMAND = os.environ.get("FUNCTIONS_HOST", "")
IS_STAND_IN = not COMMAND
# The real one takes longer to start; and without storage it waits half a minute before it listens.
START_SECONDS = 30 if IS_STAND_IN else 120

# Whether each group of functions has a process of its own: see tests/on_flex.py.
LIKE_FLEX = IS_STAND_IN and bool(os.environ.get("LIKE_FLEX"))

_STAND_IN = f"{shlex.quote(sys.executable)} -m scripts.local_host {{folder}} --port {{port}}"
_MORE_AUTHORITIES = {"CURL_CA_BUNDLE", "SSL_CERT_DIR"}  # libraries of the app read these
_LOCAL_SETTINGS = {"IsEncrypted": False, "Values": {"FUNCTIONS_WORKER_RUNTIME": "python"}}


def only_stand_in(reason: str) -> pytest.MarkDecorator:
    """Marks a test that cannot hold under another host."""
    return pytest.mark.skipif(not IS_STAND_IN, reason=reason)


def only_others(reason: str) -> pytest.MarkDecorator:
    """Marks a test that cannot hold under the stand-in."""
    return pytest.mark.skipif(IS_STAND_IN, reason=reason)


@dataclass
class RunningHost:
    """A host with its processes.

    Attributes:
        port: that it serves on 127.0.0.1.
    """

    port: int
    process: subprocess.Popen[bytes] | warm_start.Copy
    _log: Path

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def is_ready(self) -> bool:
        """Whether it serves functions, or says that it will not."""
        answer = processes.get(self.port, "/admin/host/status")
        return answer is not None and answer.status in {200, 401, 503}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str, dict[str, str]]:
        """One request; returns status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}

    def run_now(self, function: str, **changed: Any) -> int:
        """Ask for a run by hand; returns the status."""
        request = {"body": b"{}", "headers": {"Content-Type": "application/json"}, **changed}
        return self.ask("POST", f"/admin/functions/{function}", **request)[0]

    def kill(self) -> None:
        """As `kill -9` of all its processes, or a machine that goes down."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        self._signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def _signal(self, number: int) -> None:
        if os.name == "nt":
            self.process.terminate()
        else:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def start_host(
    folder: Path, environment: Mapping[str, str], port: int = 0, options: str = ""
) -> RunningHost:
    """Starts the host on an app's folder, in a session of its own; does not wait for it.

    Args:
        folder: of function_app.py.
        environment: the app's settings.
        port: that it serves; 0 is a free one.
        options: of the stand-in.
    """
    port = port or free_port()
    settings = folder / "local.settings.json"
    if not IS_STAND_IN and not settings.exists():
        settings.write_text(json.dumps(_LOCAL_SETTINGS))
    if LIKE_FLEX:
        options = f"{options} --like-flex"
    command = (COMMAND or _STAND_IN).format(port=port, folder=shlex.quote(str(folder)))
    log = folder / f"{uuid4().hex}.log"
    # A setting of this machine must not reach the tests. Another host may need more than a path.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "SYSTEMROOT"}
        or (not IS_STAND_IN and name not in variables_of_settings() | _MORE_AUTHORITIES)
    }
    python = Path(sys.executable).parent
    inherited["PATH"] = f"{python}{os.pathsep}{inherited.get('PATH', '')}"
    inherited["VIRTUAL_ENV"] = str(python.parent)  # func looks there
    start = _start_warm if IS_STAND_IN and warm_start.is_possible(environment) else _start
    with log.open("wb") as output:
        process = start(
            [*shlex.split(command), *shlex.split(options)],
            processes.ROOT if IS_STAND_IN else folder,
            {**inherited, **environment},
            output.fileno(),
        )
    return RunningHost(port, process, log)


def _start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _start_warm(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int
) -> warm_start.Copy:
    _python, _m, module, *arguments = command
    with Path(os.devnull).open("rb") as nothing:
        return warm_start.template().start(
            module,
            *arguments,
            folder=folder,
            environment=environment,
            stdin=nothing.fileno(),
            output=output,
        )


@contextmanager
def running_host(folder: Path, options: str = "", **environment: str) -> Iterator[RunningHost]:
    """A host that is ready; it is killed in the end."""
    host = start_host(folder, environment, options=options)
    try:
        wait_until(lambda: host.is_ready or host.process.poll() is not None, host)
        assert host.process.poll() is None, host.log
        yield host
    finally:
        host.kill()


def wait_until(happened: Callable[[], bool], host: RunningHost) -> None:
    """Waits for something that a host does."""
    give_up = time.monotonic() + START_SECONDS
    while not happened():
        assert time.monotonic() < give_up, host.log
        time.sleep(0.02)
