"""An event loop on virtual time: it runs what is ready, and moves its clock when it is told to."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Process:
    """One instance of the app: what dies together, and whose clock it is."""

    name: str
    skew_seconds: float = 0.0
    alive: bool = True


@dataclass
class Origin:
    """Which turn or sweep runs; tasks that it starts inherit this and are numbered."""

    name: str
    process: Process
    children: int = 0


ORIGIN: ContextVar[Origin] = ContextVar("origin")


@dataclass(eq=False)
class Timer:
    """A call at a time to come."""

    when: float
    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: Context
    origin: Origin
    cancelled: bool = field(default=False)

    def cancel(self) -> None:
        self.cancelled = True


class VirtualLoop:
    """What tasks, futures and locks need of a loop, and no more: no sockets, threads or signals."""

    def __init__(self) -> None:
        self.as_loop: Any = self  # asyncio wants an AbstractEventLoop, and uses these methods
        self.tasks: list[asyncio.Task[Any]] = []
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...], Context]] = deque()
        self._timers: list[Timer] = []
        self.seconds = 0.0

    def run_ready(self) -> None:
        """Run until every task waits for something that only the world can give."""
        ready = self._ready
        asyncio._set_running_loop(self.as_loop)
        try:
            while ready:
                callback, args, context = ready.popleft()
                context.run(callback, *args)
        finally:
            asyncio._set_running_loop(None)

    def pass_time(self, seconds: float) -> None:
        """Move the clock; what sleeps goes on sleeping until it is woken."""
        self.seconds += seconds

    def sleepers(self) -> list[Timer]:
        """The timers of living processes that were not cancelled."""
        if not self._timers:
            return []
        self._timers = [
            timer for timer in self._timers if not timer.cancelled and timer.origin.process.alive
        ]
        return list(self._timers)

    def wake(self, timer: Timer) -> None:
        """Let a timer go off, however long it was meant to take."""
        self._timers.remove(timer)
        self._ready.append((timer.callback, timer.args, timer.context))

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.seconds

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        self._ready.append((callback, args, context or copy_context()))

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Any:
        return self.call_at(self.seconds + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Any:
        timer = Timer(when, callback, args, context or copy_context(), ORIGIN.get())
        self._timers.append(timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.as_loop)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> asyncio.Task[Any]:
        if name is None:
            origin = ORIGIN.get()
            origin.children += 1
            name = f"{origin.name}.{origin.children}"
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self.as_loop, name=name, context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Results of tasks are looked at by the world; a crashed process has nobody to tell."""
