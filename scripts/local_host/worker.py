"""The worker: a process that loads an app and runs its functions, as the host asks.

`python -m scripts.local_host.worker FOLDER PORT`, with a secret word on standard input.
"""

import asyncio
import functools
import importlib
import inspect
import json
import logging
import os
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest

from scripts.local_host import LOG_FORMAT, frames
from scripts.processes import STOP_SIGNALS


class Worker:
    """Loads the app, and answers the host's calls."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._functions: dict[str, Any] = {}
        self._calls: set[asyncio.Task[None]] = set()

    def load(self, folder: Path) -> None:
        """Imports function_app.py from a folder, and tells the host its functions."""
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        error = ""
        try:
            app = importlib.import_module("function_app").app
            self._functions = {str(f.get_function_name()): f for f in app.get_functions()}
        except Exception as failure:  # noqa: BLE001 - of any kind: it is the app's
            traceback.print_exc()
            error = f"{type(failure).__name__}: {failure}"
        described = {
            name: json.loads(str(each))["bindings"] for name, each in self._functions.items()
        }
        frames.write(self._writer, {"functions": described, "error": error})

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Runs what the host asks for until the host is gone."""
        while True:
            frame = await frames.read(reader)
            if frame is None:
                return
            call = asyncio.create_task(self._answer(*frame))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _answer(self, head: dict[str, Any], body: bytes) -> None:
        try:
            result = await self._run(head, body)
            answer, content = _http_answer(head, result)
        except Exception:
            logging.getLogger("local_host").exception("%s failed", head["function"])
            answer, content = {"failed": True}, b""
        frames.write(self._writer, {**answer, "call": head["call"]}, content)
        await self._writer.drain()

    async def _run(self, head: dict[str, Any], body: bytes) -> object:
        function = self._functions[head["function"]]
        argument = _argument(head, body)
        trigger = function.get_trigger().name
        call = functools.partial(function.get_user_function(), **{trigger: argument})
        if inspect.iscoroutinefunction(call.func):
            return await call()
        return await asyncio.to_thread(call)


def _argument(head: dict[str, Any], body: bytes) -> object:
    given = head["given"]
    match head["kind"]:
        case "http":
            return func.HttpRequest(body=body, **given)
        case "timer":
            return TimerRequest(**given)
        case _:
            times = {
                name: value and datetime.fromisoformat(value)
                for name, value in given.items()
                if "time" in name
            }
            return QueueMessage(body=body.decode(), **{**given, **times})


def _http_answer(head: dict[str, Any], result: object) -> tuple[dict[str, Any], bytes]:
    """What an HTTP function returned.

    Raises:
        TypeError: it is no answer.
    """
    if head["kind"] != "http":
        return {}, b""
    if isinstance(result, str):
        result = func.HttpResponse(result)
    if not isinstance(result, func.HttpResponse):
        raise TypeError(f"it returned {type(result).__name__}, no HttpResponse")
    headers = list(result.headers.items())
    if not any(name.lower() == "content-type" for name, _ in headers):
        charset = f"; charset={result.charset}" if result.mimetype.startswith("text/") else ""
        headers.append(("Content-Type", f"{result.mimetype}{charset}"))
    return {"status": result.status_code, "headers": headers}, result.get_body()


async def main() -> None:
    """Connects to the host and serves it."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    frames.write(writer, {"word": sys.stdin.readline().strip()})
    worker = Worker(writer)
    worker.load(folder)
    await worker.serve(reader)


if __name__ == "__main__":
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the host decides about the end
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stdout)
    logging.getLogger("azure").setLevel(logging.WARNING)  # it logs every request
    asyncio.run(main())
