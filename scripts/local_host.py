"""A small stand-in for `func start`, for machines where Core Tools cannot be installed.

It loads function_app.py, serves the HTTP functions, fires the timers, polls the queues and answers
`POST /admin/functions/NAME`. It does what the real host does, as far as an app can see. It is for
development only: no keys, no leases, no scale-out. As it asks for no keys, it answers programs of
this machine only, and no web page of another site.
"""

import argparse
import asyncio
import errno
import functools
import inspect
import ipaddress
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func
from aiohttp import web
from azure.functions.timer import TimerRequest
from multidict import CIMultiDict

from scripts import local_app
from scripts.local_app import HostedFunction, InvocationError
from scripts.local_queue import QueueListener
from scripts.processes import ROOT, on_stop_signal

logger = logging.getLogger("local_host")

MAX_BODY_BYTES = 100 * 1024 * 1024  # the real host's limit
GRACE_SECONDS = 10  # at the stop: for requests under way, and again for all other work


class LocalHost:
    """Runs the functions of one app until it is told to stop."""

    def __init__(self, app_module: ModuleType, host_json: Mapping[str, Any]) -> None:
        http_settings = host_json.get("extensions", {}).get("http", {})
        self.prefix: str = http_settings.get("routePrefix", "api")
        self.timeout_seconds = local_app.to_seconds(host_json.get("functionTimeout", "00:30:00"))
        self.functions = local_app.supported_functions(app_module.app)
        self.timers = {f.name: f for f in self.functions if f.is_timer}
        self.schedules = {f.name: local_app.schedule(f) for f in self.timers.values()}
        queue_settings = host_json.get("extensions", {}).get("queues", {})
        enabled_queues = [f for f in self.functions if f.is_queue and not f.disabled]
        self.queues = [QueueListener(f, queue_settings) for f in enabled_queues]
        enabled_http = [f for f in self.functions if f.is_http and not f.disabled]
        self.routes = local_app.routing_table(self.prefix, enabled_http)
        self.shut_down_app = getattr(app_module, "shutdown", None)
        self.stopping = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()  # timers, queues, and what /admin has started

    async def run(self, port: int) -> None:
        """Serves on 127.0.0.1 and fires timers until a signal to stop.

        Raises:
            SystemExit: The port is taken.
        """
        loop = asyncio.get_running_loop()
        on_stop_signal(lambda: loop.call_soon_threadsafe(self.stopping.set))
        application = web.Application(
            client_max_size=MAX_BODY_BYTES, middlewares=[refuse_other_sites]
        )
        application.router.add_get("/admin/host/status", self.serve_status)
        application.router.add_post("/admin/functions/{name}", self.serve_admin)
        application.router.add_route("*", "/{path:(?s:.*)}", self.serve_http)
        runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,  # the real host does not unpack a body
            shutdown_timeout=GRACE_SECONDS,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            await runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise
            sys.exit(f"Port {port} is taken: stop what uses it, or set PORT to another one.")
        self.print_functions(runner.addresses[0][1])
        for timer in self.timers.values():
            if not timer.disabled:
                self.start_task(self.run_timer(timer))
        for queue in self.queues:
            self.start_task(queue.run(self.invoke, self.stopping))
        await self.stopping.wait()
        logger.info("Stopping")
        await runner.cleanup()
        if self.tasks:
            _, unfinished = await asyncio.wait(self.tasks, timeout=GRACE_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        if self.shut_down_app:
            await self.shut_down_app()

    def print_functions(self, port: int) -> None:
        """Prints what is served, as func does."""
        print("\nThis is the project's local host; it stands in for `func start`.\n\nFunctions:\n")
        for function in self.functions:
            if function.is_timer:
                what = f"timerTrigger {self.schedules[function.name]}"
            elif function.is_queue:
                what = f"queueTrigger {function.trigger['queueName']}"
            else:
                methods = ",".join(function.trigger.get("methods") or ["any method"])
                route = local_app.full_route(self.prefix, function)
                what = f"[{methods}] http://localhost:{port}{route}"
            print(f"\t{function.name}: {what}{' (disabled)' if function.disabled else ''}")
        print(flush=True)

    async def invoke(self, function: HostedFunction, argument: object) -> Any:
        """Runs a function once and logs how it went.

        Raises:
            InvocationError: It raised, or ran longer than functionTimeout.
        """
        began = time.monotonic()
        call = functools.partial(function.code, **{function.trigger["name"]: argument})
        is_async = inspect.iscoroutinefunction(function.code)
        limit = asyncio.timeout(self.timeout_seconds)
        try:
            async with limit:
                result = await (call() if is_async else asyncio.to_thread(call))
        except Exception as error:
            if limit.expired():
                logger.error("%s was cancelled: functionTimeout is over", function.name)  # noqa: TRY400 - the traceback is asyncio's
            else:
                logger.exception("%s failed", function.name)
            raise InvocationError(function.name) from error
        logger.info("%s ran for %.0f ms", function.name, (time.monotonic() - began) * 1000)
        return result

    async def serve_http(self, request: web.Request) -> web.Response:
        """Serves the functions' routes; a wrong verb is 404, as on the real host."""
        # Kestrel decodes a path once but leaves %2F, so an id with a slash stays one segment.
        path = request.rel_url.path_safe.replace("%25", "%")
        for route in self.routes:
            match = route.pattern.fullmatch(path)
            if match and (not route.methods or request.method in route.methods):
                break
        else:
            return web.Response(status=404)
        function_request = func.HttpRequest(
            method=request.method,
            url=str(request.url),
            headers={
                name.lower(): ",".join(request.headers.getall(name)) for name in request.headers
            },
            params={name: ",".join(request.query.getall(name)) for name in request.query},
            route_params=match.groupdict(),
            body=await request.read(),
        )
        try:
            result = await self.invoke(route.function, function_request)
        except InvocationError:
            return web.Response(status=500)
        return to_response(route.function, result)

    async def serve_admin(self, request: web.Request) -> web.Response:
        """Starts a timer function now, disabled or not, and does not wait for it."""
        timer = self.timers.get(request.match_info["name"])
        if timer is None:
            return web.Response(status=404)
        self.start_task(self.fire(timer, past_due=False))
        return web.Response(status=202)

    async def serve_status(self, _request: web.Request) -> web.Response:
        """Says that the host is up."""
        return web.json_response({"state": "Running"})

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task and keeps a reference to it until it ends."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def fire(self, timer: HostedFunction, *, past_due: bool) -> None:
        """Runs a timer function once, after a run of it that is under way."""
        async with timer.one_at_a_time:
            with suppress(InvocationError):
                await self.invoke(timer, TimerRequest(past_due=past_due))

    async def run_timer(self, timer: HostedFunction) -> None:
        """Fires a timer by its schedule. Runs that it missed become one past-due run."""
        expression = self.schedules[timer.name]
        if timer.trigger.get("runOnStartup"):
            await self.fire(timer, past_due=False)
        due = local_app.next_occurrence(expression, datetime.now(UTC))
        while True:
            seconds_left = (due - datetime.now(UTC)).total_seconds()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), max(seconds_left, 0))
            if self.stopping.is_set():
                return
            following = local_app.next_occurrence(expression, due)
            past_due = following <= datetime.now(UTC)
            if past_due:
                following = local_app.next_occurrence(expression, datetime.now(UTC))
            await self.fire(timer, past_due=past_due)
            due = following


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


def to_response(function: HostedFunction, result: object) -> web.Response:
    """Turns what an HTTP function returned into an answer."""
    if isinstance(result, str):
        result = func.HttpResponse(result)
    if not isinstance(result, func.HttpResponse):
        logger.error("%s returned %s, no HttpResponse", function.name, type(result).__name__)
        return web.Response(status=500)
    headers = CIMultiDict(result.headers.items())
    charset = f"; charset={result.charset}" if result.mimetype.startswith("text/") else ""
    headers.setdefault("Content-Type", f"{result.mimetype}{charset}")
    return web.Response(status=result.status_code, headers=headers, body=result.get_body())


def main() -> None:
    """Reads the command line and runs the app of a folder."""
    parser = argparse.ArgumentParser(prog="python -m scripts.local_host", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="of function_app.py")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 7071))
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    on_stop_signal(lambda: sys.exit(0))  # until the host runs, and stops in order
    log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=log_format, stream=sys.stdout)
    logging.getLogger("azure").setLevel(logging.WARNING)  # it logs every request
    local_app.load_settings(folder)
    host_json = local_app.read_json(folder / "host.json")
    host = LocalHost(local_app.load_app(folder), host_json)
    asyncio.run(host.run(arguments.port))


if __name__ == "__main__":
    main()
