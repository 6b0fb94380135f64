"""The server: routes, the admin API, start and stop."""

import asyncio
import errno
import ipaddress
import json
import logging
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict

from scripts import local_settings
from scripts.local_host import functions, requests
from scripts.local_host.functions import FunctionError, HostedFunction, Route
from scripts.local_host.queues import QueueListener
from scripts.local_host.requests import RefusedError
from scripts.local_host.timers import Timer
from scripts.local_host.workers import InvocationError, WorkerEndedError, WorkerGroups
from scripts.processes import on_stop_signal

logger = logging.getLogger("local_host")

GRACE_SECONDS = 10  # at the stop: for requests under way, and again for all other work
FAR_TOO_LONG_BYTES = 1024 * 1024
NOTES = ".local_host"  # in the app's folder: when timers are due
WELCOME = "The local host is running."


class Keys(NamedTuple):
    """What callers must show: of functions, and of the admin API."""

    function: str
    master: str


class HostSettings(NamedTuple):
    """What host.json says, as far as this host knows it."""

    prefix: str
    headers: Mapping[str, str]
    queues: Mapping[str, Any]
    timeout_seconds: float | None

    @classmethod
    def read(cls, folder: Path) -> "HostSettings":
        """Reads the file of a folder, or what holds without one.

        Raises:
            ValueError: the file is no host.json.
        """
        file = folder / "host.json"
        content = local_settings.parse_json(file.read_text("utf-8-sig")) if file.exists() else {}
        overlay(content, os.environ)
        extensions = content.get("extensions", {})
        http = extensions.get("http", {})
        return cls(
            http.get("routePrefix", "api"),
            http.get("customHeaders", {}),
            extensions.get("queues", {}),
            functions.to_seconds(content.get("functionTimeout", "00:30:00")),
        )


def overlay(host_json: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Puts variables such as AzureFunctionsJobHost__functionTimeout in the place of host.json's.

    Source: learn.microsoft.com, "host.json reference", "Override host.json values".
    """
    for name, value in variables.items():
        prefix, *path = name.split("__")
        if prefix.lower() != "azurefunctionsjobhost" or not path:
            continue
        place = host_json
        for part in path[:-1]:
            place = place.setdefault(_spelled(place, part), {})
        place[_spelled(place, path[-1])] = value


def _spelled(settings: Mapping[str, Any], name: str) -> str:
    """A name as it is spelled there: names hold in any case."""
    return next((each for each in settings if each.lower() == name.lower()), name)


class LocalHost:
    """Runs the functions of one app until it is told to stop.

    Args:
        folder: of function_app.py and host.json.
        keys: what callers must show; None: nothing.
        like_flex: whether each group of functions has a process of its own.
        has_debugger: a function that waits at a breakpoint is not too slow.
    """

    def __init__(
        self, folder: Path, keys: Keys | None = None, *, like_flex: bool, has_debugger: bool
    ) -> None:
        self.folder = folder
        self.keys = keys
        self.is_broken = False
        settings = HostSettings("api", {}, {}, None)
        try:
            settings = HostSettings.read(folder)
        except ValueError as error:
            self.is_broken = True
            logger.error("host.json is wrong: %s. The host answers 503 to everything.", error)  # noqa: TRY400 - no code of ours is wrong
        self.prefix, self.queue_settings = settings.prefix, settings.queues
        self.headers = settings.headers
        timeout_seconds = None if has_debugger else settings.timeout_seconds
        self.workers = WorkerGroups(folder, timeout_seconds, apart=like_flex)
        self.functions: dict[str, HostedFunction] = {}
        self.timers: list[Timer] = []
        self.queues: list[QueueListener] = []
        self.routes: list[Route] = []
        self.loaded = asyncio.Event()  # a request that comes earlier waits
        self.stopping = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()  # timers, queues, and what /admin has started

    async def run(self, port: int) -> None:
        """Serves on 127.0.0.1 and fires timers until a signal to stop.

        Raises:
            SystemExit: the port is taken, or the app ends its process whenever it is loaded.
        """
        loop = asyncio.get_running_loop()
        on_stop_signal(lambda: loop.call_soon_threadsafe(self.stopping.set))
        runner = await self._listen(port)
        try:
            await self._load()
            self.loaded.set()
            self._print_functions(runner.addresses[0][1])
            for timer in self.timers:
                if not timer.function.disabled:
                    self.start_task(timer.run(self.fire, self.stopping))
            for queue in self.queues:
                self.start_task(queue.run(self.run_message, self.stopping))
            await self.stopping.wait()
            logger.info("Stopping")
        finally:
            await runner.cleanup()
            if self.tasks:
                _, unfinished = await asyncio.wait(self.tasks, timeout=GRACE_SECONDS)
                for task in unfinished:
                    task.cancel()
                await asyncio.gather(*unfinished, return_exceptions=True)
            await self.workers.stop()

    async def _add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Adds the headers of host.json that an answer does not have."""
        for name, value in self.headers.items():
            response.headers.setdefault(name, value)

    async def _listen(self, port: int) -> web.AppRunner:
        application = web.Application(
            client_max_size=requests.MAX_BODY_BYTES, middlewares=[refuse_other_sites]
        )
        application.on_response_prepare.append(self._add_headers)
        application.router.add_route(
            "*", "/{path:(?s:.*)}", self.serve, expect_handler=requests.expect
        )
        runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,  # the real host does not unpack a body
            shutdown_timeout=GRACE_SECONDS,
            # Above our own limits, so that what breaks them gets Kestrel's answer.
            max_field_size=FAR_TOO_LONG_BYTES,
            max_line_size=FAR_TOO_LONG_BYTES,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            await runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise
            sys.exit(f"Port {port} is taken: stop what uses it, or set PORT to another one.")
        return runner

    async def _load(self) -> None:
        """Starts the worker, and sorts what it has found. What cannot run is named and left out."""
        if self.is_broken:
            return
        try:
            worker = await self.workers.of(functions.HTTP_GROUP).current()
        except WorkerEndedError as error:
            sys.exit(f"function_app.py cannot be loaded: its process ends ({error}).")
        if worker.error:
            logger.error(
                "function_app.py cannot be loaded, so no route is served: %s", worker.error
            )
        for name, bindings in worker.functions.items():
            try:
                self._add(HostedFunction.of(name, bindings))
            except FunctionError as error:
                logger.error("The '%s' function is in error: %s", name, error)  # noqa: TRY400 - it is the app's
        self.routes.sort(key=lambda route: route.pattern.groups)

    def _add(self, function: HostedFunction) -> None:
        if function.is_timer:
            self.timers.append(Timer(function, self.folder / NOTES))
        elif function.is_queue and not function.disabled:
            self.queues.append(QueueListener(function, self.queue_settings))
        elif function.is_http and not function.disabled:
            self.routes.append(Route.of(self.prefix, function))
        self.functions[function.name.lower()] = function

    def _print_functions(self, port: int) -> None:
        """Prints what is served, as func does."""
        print("\nThis is the project's local host; it stands in for `func start`.\n\nFunctions:\n")
        for function in self.functions.values():
            if function.is_timer:
                what = f"timerTrigger {function.trigger['schedule']}"
            elif function.is_queue:
                what = f"queueTrigger {function.trigger['queueName']}"
            else:
                methods = ",".join(function.trigger.get("methods") or ["any method"])
                route = functions.full_route(self.prefix, function)
                what = f"[{methods}] http://localhost:{port}{route}"
            print(f"\t{function.name}: {what}{' (disabled)' if function.disabled else ''}")
        print(f"\nListening on http://localhost:{port}", flush=True)

    async def serve(self, request: web.Request) -> web.Response:
        """Serves one request; a wrong verb is 404, as on the real host."""
        await self.loaded.wait()
        if self.is_broken:
            return web.Response(status=503, text="Function host is not running.")
        try:
            requests.check(request)
            path = requests.path_of(request)
            if path == "/":
                return web.Response(text=WELCOME)
            if path.lower().startswith("/admin/"):
                return await self._serve_admin(request, path)
            return await self._serve_function(request, path)
        except RefusedError as refused:
            answer = web.Response(status=refused.status)
            if refused.status == 500:  # noqa: PLR2004 - the body is not read
                answer.force_close()
            return answer

    async def _serve_function(self, request: web.Request, path: str) -> web.Response:
        for route in self.routes:
            match = route.pattern.fullmatch(path)
            if match and (not route.methods or request.method in route.methods):
                break
        else:
            return web.Response(status=404)
        query = requests.query_of(request)
        if self.keys and route.function.asks_for_key:
            # A wrong header wins over a right parameter.
            shown = request.headers.get("x-functions-key") or query.get("code")
            if shown not in self.keys:
                return web.Response(status=401)
        given = {
            "method": request.method,
            "url": str(request.url),
            "headers": requests.headers_of(request),
            "params": query,
            "route_params": match.groupdict(),
        }
        body = await requests.body_of(request)
        try:
            head, content = await self._invoke(route.function, "http", given, body)
        except InvocationError:
            return web.Response(status=500)
        headers = CIMultiDict((str(name), str(value)) for name, value in head["headers"])
        if not requests.can_be_answered(headers, len(content)):
            logger.error("%s: its answer has a header that cannot be sent", route.function.name)
            return web.Response(status=500)
        return web.Response(status=head["status"], headers=headers, body=content)

    async def _serve_admin(self, request: web.Request, path: str) -> web.Response:
        shown = request.headers.get("x-functions-key") or request.query.get("code")
        if self.keys and shown != self.keys.master:
            return web.Response(status=403 if shown == self.keys.function else 401)
        if path.lower() == "/admin/host/status" and request.method == "GET":
            return web.json_response({"state": "Running"})
        named = re.fullmatch("/admin/functions/([^/]+)", path, re.IGNORECASE)
        if named is None or request.method != "POST":
            return web.Response(status=404)
        return web.Response(status=await self._start_by_hand(request, named[1]))

    async def _start_by_hand(self, request: web.Request, name: str) -> int:
        """Starts a timer function now, disabled or not, beside a run of it that is under way."""
        content_type, _, _ = request.headers.get("Content-Type", "").partition(";")
        if content_type.strip().lower() != "application/json":
            return 415
        try:
            is_object = isinstance(json.loads(await requests.body_of(request)), dict)
        except ValueError:
            is_object = False
        if not is_object:
            return 400
        function = self.functions.get(name.lower())
        if function is None or not function.is_timer:
            return 404
        self.start_task(self.fire(function, past_due=False))
        return 202

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task and keeps a reference to it until it ends."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def fire(self, function: HostedFunction, past_due: bool) -> None:
        """Runs a timer function once."""
        with suppress(InvocationError):
            await self._invoke(function, "timer", {"past_due": past_due})

    async def run_message(
        self, function: HostedFunction, given: dict[str, Any], text: bytes
    ) -> None:
        """Runs a queue function once.

        Raises:
            InvocationError: it failed.
        """
        await self._invoke(function, "queue", given, text)

    async def _invoke(
        self, function: HostedFunction, kind: str, given: dict[str, Any], body: bytes = b""
    ) -> tuple[dict[str, Any], bytes]:
        began = time.monotonic()
        answer = await self.workers.of(function.group).invoke(function.name, kind, given, body)
        logger.info("%s ran for %.0f ms", function.name, (time.monotonic() - began) * 1000)
        return answer


@web.middleware
async def refuse_other_sites(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers 403 to what a web page of another site makes a browser send to this machine.

    Such a page may reach a server on loopback under a name of its own (DNS rebinding), which the
    Host header shows, or post a form to it, which Origin and Sec-Fetch-Site show.
    """
    if not is_loopback(f"//{request.headers.get('Host', '')}"):
        return web.Response(status=403, text="The local host answers as localhost only.\n")
    writes = request.method not in {"GET", "HEAD"}
    origin = request.headers.get("Origin")
    is_cross_site = request.headers.get("Sec-Fetch-Site") == "cross-site"
    if (origin is not None and not is_loopback(origin)) or (writes and is_cross_site):
        return web.Response(status=403, text="The local host takes nothing from other sites.\n")
    return await handler(request)


def is_loopback(url: str) -> bool:
    """Says whether a URL's host is this machine by name or by address."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
