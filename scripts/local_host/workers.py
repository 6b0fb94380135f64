"""The worker process as the host sees it: started, called, ended, and started again."""

import asyncio
import logging
import os
import secrets
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from scripts.local_host import frames
from scripts.processes import ROOT

logger = logging.getLogger("local_host")

# As often as this in a row a worker may end before it has loaded the app.
MOST_FAILED_STARTS = 3


class InvocationError(Exception):
    """A function failed, took too long, or lost its process; it has been logged."""


class WorkerEndedError(Exception):
    """The worker ended before it answered."""


class Worker:
    """One worker process, from its start to its end.

    Args:
        process: it.
        reader: from it.
        writer: to it.
        app: the functions it has found, each with its bindings; the error, if it found none.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        app: dict[str, Any],
    ) -> None:
        self.functions: dict[str, list[dict[str, Any]]] = app["functions"]
        self.error: str = app["error"]
        self._process = process
        self._reader = reader
        self._writer = writer
        self._numbers = count()
        self._calls: dict[int, asyncio.Future[frames.Frame]] = {}
        self.ended = asyncio.create_task(self._receive())

    @classmethod
    async def start(cls, folder: Path, group: str = "") -> "Worker":
        """Starts a worker and waits until it has loaded the app.

        Args:
            folder: of the app.
            group: of functions that it runs; empty: all.

        Raises:
            WorkerEndedError: it ended first.
        """
        word = secrets.token_hex()
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        connected = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            frame = await frames.read(reader)
            is_worker = frame and secrets.compare_digest(str(frame[0].get("word")), word)
            if is_worker and not connected.done():
                connected.set_result((reader, writer))
            else:
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        told = {"FUNCTIONS_TARGET_GROUP": group} if group else {}  # as on Flex Consumption
        process = await _python("-m", "scripts.local_host.worker", folder, port, told=told)
        assert process.stdin  # noqa: S101 - for the types
        process.stdin.write(f"{word}\n".encode())
        ended = asyncio.create_task(process.wait())
        try:
            first: set[asyncio.Future[Any]] = {connected, ended}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if connected.done():
                reader, writer = connected.result()
                if app := await frames.read(reader):
                    return cls(process, reader, writer, app[0])
            raise WorkerEndedError(f"exit code {await ended}")  # noqa: TRY301
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        finally:
            server.close()

    async def call(self, head: dict[str, Any], body: bytes) -> frames.Frame:
        """Runs a function; returns its answer.

        Raises:
            WorkerEndedError: the process ended meanwhile.
        """
        if self.ended.done():
            raise WorkerEndedError
        answer: asyncio.Future[frames.Frame]
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            frames.write(self._writer, {**head, "call": number}, body)
            await self._writer.drain()
            return await answer
        except ConnectionError as error:
            raise WorkerEndedError from error
        finally:
            del self._calls[number]

    async def _receive(self) -> None:
        while frame := await frames.read(self._reader):
            answer = self._calls.get(frame[0]["call"])
            if answer and not answer.done():
                answer.set_result(frame)
        self.kill()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(WorkerEndedError())

    def kill(self) -> None:
        """Ends the process without a word, as the real host does."""
        self._writer.close()
        with suppress(ProcessLookupError):
            self._process.kill()


class Workers:
    """The one worker that runs, and the next one whenever it ends.

    Args:
        folder: of the app.
        timeout_seconds: functionTimeout; None: no limit.
        group: of functions that it runs; empty: all.
    """

    def __init__(self, folder: Path, timeout_seconds: float | None, group: str = "") -> None:
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._group = group
        self._starting: asyncio.Task[Worker] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def current(self) -> Worker:
        """The worker that runs; starts one if there is none, also after earlier ones failed to.

        Raises:
            WorkerEndedError: workers end before they have loaded the app.
        """
        starting = self._starting
        if starting is None or (starting.done() and starting.exception()):
            starting = self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(starting)

    async def _start(self) -> Worker:
        for attempt in range(1, MOST_FAILED_STARTS + 1):
            try:
                worker = await Worker.start(self._folder, self._group)
                break
            except WorkerEndedError as error:
                if attempt == MOST_FAILED_STARTS:
                    raise
                logger.error("The worker ended before it had loaded the app: %s", error)  # noqa: TRY400 - it has said why
        self._watching = asyncio.create_task(self._watch(worker))
        return worker

    async def _watch(self, worker: Worker) -> None:
        await worker.ended
        if not self._is_stopped:
            logger.error("The worker ended; the next one starts")
            self._starting = None
            with suppress(WorkerEndedError):
                await self.current()

    async def invoke(
        self, function: str, kind: str, given: dict[str, Any], body: bytes = b""
    ) -> frames.Frame:
        """Runs a function once.

        Raises:
            InvocationError: it raised, ran longer than functionTimeout, or its process ended.
        """
        try:
            worker = await self.current()
            async with asyncio.timeout(self._timeout_seconds):
                answer = await worker.call(
                    {"function": function, "kind": kind, "given": given}, body
                )
        except TimeoutError as error:
            logger.error(  # noqa: TRY400 - no code of ours is wrong
                "%s reached functionTimeout: its process is ended, with all that it does", function
            )
            worker.kill()
            raise InvocationError(function) from error
        except WorkerEndedError as error:
            logger.error("%s: its process has ended", function)  # noqa: TRY400 - as above
            raise InvocationError(function) from error
        if answer[0].get("failed"):
            raise InvocationError(function)
        return answer

    async def stop(self) -> None:
        """Ends the worker for good."""
        self._is_stopped = True
        starting, watching = self._starting, self._watching
        if starting and starting.done() and not starting.exception():
            starting.result().kill()
        for task in (starting, watching):
            if task:
                task.cancel()
        await asyncio.gather(
            *(each for each in (starting, watching) if each), return_exceptions=True
        )


class WorkerGroups:
    """The workers of all functions: one for all of them, or one for each group.

    A group has a worker of its own on Flex Consumption: all HTTP functions are one group, each
    other function is one by itself. As there, a worker starts when its group has something to do.

    Args:
        folder: of the app.
        timeout_seconds: functionTimeout; None: no limit.
        apart: whether each group has one.
    """

    def __init__(self, folder: Path, timeout_seconds: float | None, *, apart: bool) -> None:
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._apart = apart
        self._groups: dict[str, Workers] = {}

    def of(self, group: str) -> Workers:
        """The workers of a group."""
        name = group if self._apart else ""
        if name not in self._groups:
            self._groups[name] = Workers(self._folder, self._timeout_seconds, name)
        return self._groups[name]

    async def stop(self) -> None:
        """Ends all workers for good."""
        await asyncio.gather(*(workers.stop() for workers in self._groups.values()))


async def _python(*arguments: object, told: dict[str, str]) -> asyncio.subprocess.Process:
    # In a session of its own: Ctrl-C in a terminal is for the host only, which ends its worker.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | told,
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
