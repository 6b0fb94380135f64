"""Starts hosts, and their workers, as copies of a process that has imported the packages already.

Most of what a host costs to start is the import of packages that are not ours: 1.7 of 2.1 seconds
of CPU. So a template process imports them once, and each host is a fork of it. What is ours is not
imported in the template: each host and each worker loads all our modules itself, with its own
environment, folder and output. A copy is a process like any other, with signals and an exit code.
A worker is in its host's process group, and deaf to SIGINT: a kill of the group ends both at once.

Only Linux: elsewhere a fork after these imports is not safe. Tests that start the host by a command
(`tests/e2e/test_local_run.py` and others) start it cold.
"""

import array
import asyncio
import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# Packages read these when they are imported: who sets one must start cold.
READ_AT_IMPORT = ("OTEL_", "PYTHON", "REQUESTS_", "SSL_")

# What host and app import of others; what is missing here is only imported later.
PACKAGES = (
    "aiohttp.web",
    "azure.core.tracing.decorator_async",
    "azure.data.tables.aio",
    "azure.functions",
    "azure.storage.queue.aio",
    "botbuilder.core.teams",
    "botbuilder.dialogs.prompts",
    "botframework.connector.aio",
    "botframework.connector.auth",
    "cryptography.x509",
    "jwt",
    "opentelemetry.trace",
    "pydantic_settings",
    "tenacity",
)

_MOST_BYTES = 1 << 20  # of a request: a module's arguments and its environment


def is_possible(environment: Mapping[str, str]) -> bool:
    """Whether a process with these settings can be started so."""
    return sys.platform == "linux" and not any(n.startswith(READ_AT_IMPORT) for n in environment)


class Copy:
    """A process that was started so, as `subprocess.Popen` shows one.

    Attributes:
        pid: its id.
        returncode: as that of Popen; None as long as it was not seen to have ended.
    """

    def __init__(self, template: "Template", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._template = template

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        if self.returncode is None:
            self.returncode = self._template.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not, after `timeout` seconds.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if give_up is not None and time.monotonic() > give_up:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(0.01)
        return code

    def terminate(self) -> None:
        """Asks it to end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class Template:
    """The process that copies are made of, as its user sees it: the other end of its socket."""

    def __init__(self, its_socket: socket.socket) -> None:
        self._socket = its_socket
        self._lock = threading.Lock()

    def start(
        self,
        module: str,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        stdin: int,
        output: int,
        own_group: bool = True,
    ) -> Copy:
        """As `python -m module arguments`; the files by descriptor."""
        request = {
            "module": module,
            "arguments": arguments,
            "folder": str(folder),
            "environment": dict(environment),
            "own_group": own_group,
        }
        return Copy(self, self.ask(request, [stdin, output]))

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> Any:
        """One request, one answer."""
        with self._lock:
            files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            self._socket.sendmsg([json.dumps(request).encode()], files if descriptors else [])
            return json.loads(self._socket.recv(_MOST_BYTES))


@functools.cache
def template() -> Template:
    """The template of this test process."""
    ours, its_own = _socket_pair()
    environment = {"PATH": os.environ.get("PATH", "")}
    command = [sys.executable, "-u", "-m", "tests.warm_start"]
    process = subprocess.Popen(
        command, env=environment, stdin=its_own.fileno(), start_new_session=True
    )
    its_own.close()

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return Template(ours)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    # Packets: a request is read whole, and with it the files that came along.
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


# In the template


def _serve(user: socket.socket) -> dict[str, Any]:
    """Makes copies until the user is gone; returns in a copy, with what it was made for.

    Raises:
        SystemExit: the user is gone.
    """
    while True:
        text, files, _, _ = socket.recv_fds(user, _MOST_BYTES, 2)
        if not text:
            sys.exit()
        request: dict[str, Any] = json.loads(text)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if pid else None
            user.send(json.dumps(code).encode())
        elif os.fork():
            for each in files:
                os.close(each)
        else:
            _take(request, files)
            user.send(json.dumps(os.getpid()).encode())  # now signals to its group reach it
            user.close()
            return request


def _take(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Makes this process what was asked for, but for its code."""
    if request["own_group"]:
        os.setsid()
    stdin, output = files
    for number, file in enumerate((stdin, output, output)):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = ["", *request["arguments"]]


def _start_workers_so() -> None:
    """Lets the host that this process becomes make its workers of a template of its own."""
    ours, its_own = _socket_pair()
    pid = os.fork()
    if not pid:
        ours.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the host
        _become(_serve(its_own))
        sys.exit()
    its_own.close()
    its_template = Template(ours)

    def stop() -> None:
        ours.close()
        os.waitpid(pid, 0)

    atexit.register(stop)

    async def python(_: str, module: str, *arguments: object, told: Mapping[str, str]) -> _Worker:
        return _Worker(its_template, module, *map(str, arguments), told=told)

    importlib.import_module("scripts.local_host.workers")._python = python  # type: ignore[attr-defined]


class _Worker:
    """What a host needs of `asyncio.subprocess.Process`."""

    def __init__(
        self, its_template: Template, module: str, *arguments: str, told: Mapping[str, str]
    ) -> None:
        read, write = os.pipe()
        self._copy = its_template.start(
            module,
            *arguments,
            folder=Path.cwd(),
            environment=os.environ | told,
            stdin=read,
            output=1,
            own_group=False,
        )
        os.close(read)
        self.stdin = os.fdopen(write, "wb", buffering=0)

    async def wait(self) -> int:
        while (code := self._copy.poll()) is None:  # noqa: ASYNC110 - a copy has no event
            await asyncio.sleep(0.02)
        return code

    def kill(self) -> None:
        if self._copy.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._copy.pid, signal.SIGKILL)
            self._copy.wait()  # it is nobody's zombie when its host ends


def _become(request: Mapping[str, Any]) -> None:
    if request["module"] == "scripts.local_host":
        _start_workers_so()
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for package in PACKAGES:
        importlib.import_module(package)
    gc.collect()
    gc.freeze()  # copies share what nobody touches
    _become(_serve(socket.socket(fileno=os.dup(0))))
