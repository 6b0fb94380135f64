"""The world: what runs, what it waits for, and what may happen next."""

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import TokenSource
from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.expiry.fan_out import Message
from shared.storage.tables import Operation, Row
from tests.memory_queue import MemoryQueue
from tests.memory_table import MemoryTable
from tests.simulation.loop import ORIGIN, Origin, Process, Timer, VirtualLoop

EPOCH = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SHORT_SECONDS = 1
PAGE_SIZE = 2  # so that even a few due rows take several pages


class Violation(AssertionError):  # noqa: N818 - it is what the simulation looks for, not an error
    """A promise was broken; the trace says how."""


class Option(NamedTuple):
    """Something that may happen next; the weight is for choosing at random."""

    weight: float
    what: str
    do: Callable[[], object]


class Chooser(Protocol):
    """Picks what happens next."""

    def choose(self, world: "World", options: Iterator[Option]) -> Option: ...


class Watcher(Protocol):
    """Is told what takes effect, when it does."""

    def before_write(self, request: "Request") -> None: ...
    def after_write(self, request: "Request", *, succeeded: bool) -> None: ...
    def issued(self, request: "Request") -> None: ...
    def delivered(self, request: "Request") -> None: ...
    def answered(self, request: "Request", status: int | None) -> None: ...


@dataclass(eq=False, slots=True)
class Request:
    """One request of a task that waits for its answer."""

    kind: Literal["read", "write", "send"]
    table: "ScheduledTable | None"
    what: str
    perform: Callable[[], Any]
    origin: Origin
    task: str
    answer: asyncio.Future[Any]
    issued: float
    operations: Sequence[Operation]
    body: Mapping[str, Any]


@dataclass
class Arrival:
    """A turn or a sweep that may start at any time."""

    name: str
    process: str
    start: Callable[[Process], Coroutine[Any, Any, object]]


@dataclass
class Limits:
    """How much the chooser may do besides answering."""

    faults: int = 0
    refusals: int = 0  # of sends, besides the faults
    crashes: int = 0
    jumps: int = 0
    jump_seconds: tuple[float, ...] = ()
    jump_weight: float = 1.5
    edges: bool = False  # also jump to just before and just after a session's expiry
    holds: bool = False  # an answer may take longer than the effect
    late_seconds: float = math.inf  # no longer jump while a request is still on its way


class World:
    """One run. Everything that happens in it was chosen.

    Args:
        chooser: chooses.
        limits: what there is to choose.
        edges: the times, in seconds, around which most is at stake.
    """

    def __init__(
        self, chooser: Chooser, limits: Limits, edges: Callable[[], Sequence[float]] = tuple
    ) -> None:
        self.loop = VirtualLoop()
        self.limits = limits
        self.trace: list[str] = []
        self.watcher: Watcher | None = None
        self.arrivals: list[Arrival] = []
        self.processes: dict[str, Process] = {}
        self.roots: dict[str, tuple[Origin, asyncio.Task[object]]] = {}
        self.broken: Violation | None = None  # set by the watcher; the product may swallow it
        self.faulted: set[str] = set()  # tasks that a storage fault hit
        self.names: dict[str, str] = {}  # what to call keys in the trace
        self._running: dict[str, asyncio.Task[object]] = {}  # those of the roots
        self._chooser = chooser
        self._edges = edges
        self._parked: list[Request] = []
        self._held: list[tuple[Request, Callable[[], object]]] = []
        self._late: list[Request] = []
        self._closed = False
        self._effects: dict[str, int] = {}  # of each row, and of each task's sends
        self._observed: dict[str, int] = {}
        self._randoms: dict[str, int] = {}
        self._woken_late: dict[str, float] = {}  # by how many seconds, at worst, by turn

    # Time

    @property
    def seconds(self) -> float:
        """True time."""
        return self.loop.seconds

    @property
    def now(self) -> datetime:
        """True time, as a moment."""
        return EPOCH + timedelta(seconds=self.loop.seconds)

    def clock(self, process: Process) -> Callable[[], datetime]:
        """The process's own clock."""
        loop, started = self.loop, EPOCH + timedelta(seconds=process.skew_seconds)
        return lambda: started + timedelta(seconds=loop.seconds)

    # Running

    def start(self, arrival: Arrival) -> None:
        """Start a turn or a sweep in its process; a process that crashed was started anew."""
        process = self.processes[arrival.process]
        if not process.alive:
            process = Process(f"{process.name}'", process.skew_seconds)
            self.processes[arrival.process] = process
        origin = Origin(arrival.name, process)
        context = copy_context()
        context.run(ORIGIN.set, origin)
        work = arrival.start(process)
        task = self.loop.create_task(work, name=arrival.name, context=context)
        self.roots[arrival.name] = (origin, task)
        self._running[arrival.name] = task
        self._observe(process, arrival.name)

    def run(self) -> None:
        """Let everything happen, until nothing is left to wait for."""
        with self.seeded():
            self._settle_down()
            while self._parked or self._held or self._late or self.arrivals or self.loop.sleepers():
                self._chooser.choose(self, self._options()).do()
                self._settle_down()

    def run_healthy(self, *arrivals: Arrival) -> None:
        """Let these happen, one after the other and with no fault."""
        chooser, limits, waiting = self._chooser, self.limits, self.arrivals
        self._chooser, self.limits, self.arrivals = First(), Limits(), []
        for arrival in arrivals:
            self.note(f"{arrival.name} starts")
            self.start(arrival)
            self.run()
        self._chooser, self.limits, self.arrivals = chooser, limits, waiting

    def interrupted(self, name: str) -> bool:
        """Whether that turn or sweep was stopped half way by a crash, or ended in an error."""
        origin, task = self.roots[name]
        return not origin.process.alive or (task.done() and task.exception() is not None)

    def longest_wait(self, name: str) -> float:
        """For how many seconds that turn has waited for an answer, or a timer to go off at last."""
        requests = [*self._parked, *(request for request, _ in self._held)]
        waits = [self.seconds - each.issued for each in requests if each.origin.name == name]
        waits += [self.seconds - t.when for t in self.loop.sleepers() if t.origin.name == name]
        return max([*waits, self._woken_late.get(name, 0)], default=0)

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.seconds:9.2f}  {what}")

    def fingerprint(self) -> int:
        """Equal if the world is: all that tasks and invariants have seen, and what is left."""
        return hash(
            (
                self.seconds,
                tuple(sorted(self._effects.items())),
                tuple(sorted(self._observed.items())),
                tuple(arrival.name for arrival in self.arrivals),
                tuple(process.alive for process in self.processes.values()),
                frozenset(timer.origin.name for timer in self.loop.sleepers()),
                frozenset((r.task, r.what) for r in self._late),
                frozenset((r.task, r.what) for r, _ in self._held),
                (self.limits.faults, self.limits.refusals, self.limits.crashes, self.limits.jumps),
            )
        )

    def close(self) -> None:
        """Stop what still waits, such as the tasks of crashed processes, without a sound."""
        self._closed = True
        with self.seeded():
            for task in self.loop.tasks:
                task.cancel()
            self.loop.run_ready()

    def _settle_down(self) -> None:
        self.loop.run_ready()
        if self.broken:
            raise self.broken
        abandoned = [request for request in self._parked if request.answer.cancelled()]
        if abandoned:  # a task group cancels its tasks when one fails
            self._parked = [request for request in self._parked if request not in abandoned]
            self._late += [request for request in abandoned if request.kind != "read"]
        if self._held:
            self._held = [held for held in self._held if not held[0].answer.cancelled()]
        for name in [name for name, task in self._running.items() if task.done()]:
            error = self._running.pop(name).exception()
            if error and not isinstance(error, StorageUnavailableError):
                raise Violation(f"{name} ended in {error!r}") from error

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Ids and back-off times that depend on nothing but who asks for the how-manieth time."""
        if os.urandom == self._urandom:  # the state is kept by whoever began
            random.seed(0)
            yield
            return
        urandom, state = os.urandom, random.getstate()
        os.urandom = self._urandom
        random.seed(0)
        try:
            yield
        finally:
            os.urandom = urandom
            random.setstate(state)

    def _urandom(self, size: int, /) -> bytes:
        origin = ORIGIN.get(None)
        name = origin.name if origin else "world"
        number = self._randoms[name] = self._randoms.get(name, 0) + 1
        return sha256(f"{name} {number}".encode()).digest()[:size]

    # What may happen

    def _options(self) -> Iterator[Option]:
        """All that may happen next, in an order that depends on nothing but what happened."""
        has_some = False
        for option in chain(self._answers(), self._arrivals(), self._ends_of_sleep()):
            has_some = True
            yield option
        sleepers = [] if has_some else self.loop.sleepers()
        if sleepers:
            seconds = min(timer.when for timer in sleepers) - self.seconds
            yield Option(1, f"{seconds:g} s pass", partial(self.loop.pass_time, seconds))
            return
        if self.limits.jumps:
            yield from self._jumps()
        if self.limits.crashes:
            yield from self._crashes()

    def _ends_of_sleep(self) -> Iterator[Option]:
        for timer in self.loop.sleepers():
            # How long a back-off takes is nobody's business; a timeout comes when it is due.
            if timer.when - self.seconds < SHORT_SECONDS:
                what = f"{timer.origin.name} has backed off"
                yield Option(6, what, partial(self._wake, timer))

    def _answers(self) -> Iterator[Option]:
        for request in self._parked:
            label = f"{request.task}: {request.what}"
            yield Option(30, label, partial(self._go, request))
            if self.limits.holds:
                yield Option(1, f"{label} (answer held up)", partial(self._hold, request))
            if self.limits.faults:
                yield from self._faults(request, label)
            if self.limits.refusals and request.kind == "send":
                yield from self._refusals(request, label)
        for held in self._held:
            request, _ = held
            what = f"{request.task}: the answer to {request.what} arrives"
            yield Option(10, what, partial(self._release, held))
        for request in self._late:
            what = f"late: {request.what} of {request.task}"
            yield Option(3, what, partial(self._land, request))
            yield Option(1, f"{what} never arrives", partial(self._late.remove, request))

    def _arrivals(self) -> Iterator[Option]:
        for arrival in self.arrivals:
            what = f"{arrival.name} starts in {arrival.process}"
            yield Option(6, what, partial(self._arrive, arrival))

    def _jumps(self) -> Iterator[Option]:
        wanted = set(self.limits.jump_seconds)
        if self._late:
            wanted = {seconds for seconds in wanted if seconds <= self.limits.late_seconds}
        if self.limits.edges:
            wanted |= {round(at - self.seconds, 3) for at in self._edges() if at > self.seconds}
        for seconds in sorted(wanted):
            yield Option(
                self.limits.jump_weight, f"{seconds:g} s pass", partial(self._jump, seconds)
            )

    def _crashes(self) -> Iterator[Option]:
        busy = {r.origin.process.name for r in self._parked}
        busy |= {r.origin.process.name for r, _ in self._held}
        for process in self.processes.values():
            if process.alive and process.name in busy:
                yield Option(1.5, f"{process.name} CRASHES", partial(self._crash, process))

    def _faults(self, request: Request, label: str) -> Iterator[Option]:
        def option(what: str, do: Callable[[], object]) -> Option:
            return Option(0.6, f"{label} -- {what}", partial(self._fault, request, do))

        no_answer = partial(self._fail, request, StorageUnavailableError("no answer"))
        if request.kind == "read":
            yield option("NO ANSWER", no_answer)
        elif request.kind == "write":
            yield option("NO ANSWER, not done", no_answer)
            yield option("NO ANSWER, done", partial(self._go, request, lost=True))
            yield option("NO ANSWER, done LATER", partial(self._go_late, request))
            # The SDK's second try of a write that was done finds its own row; of a delete it
            # takes the 404 for success.
            if any(each.kind == "insert" or each.row.etag for each in request.operations) and not (
                len(request.operations) == 1 and request.operations[0].kind == "delete"
            ):
                yield option("done, ANSWERED 412", partial(self._go, request, own_conflict=True))
        else:
            for _, what, how in self._send_failures(request):
                yield option(what, how)

    def _refusals(self, request: Request, label: str) -> Iterator[Option]:
        def refuse(how: Callable[[], object]) -> None:
            self.limits.refusals -= 1
            how()

        for status, what, how in self._send_failures(request):
            weight = 12 if status == 500 else 4  # the only one that makes a dead letter at once
            yield Option(weight, f"{label} -- {what}", partial(refuse, how))

    def _send_failures(
        self, request: Request
    ) -> Iterator[tuple[int | None, str, Callable[[], object]]]:
        for status, is_delivered in _SEND_FAILURES:
            words = "delivered" if is_delivered else "not delivered"
            how = partial(self._refuse, request, status, is_delivered=is_delivered)
            yield status, f"{status or 'NO ANSWER'}, {words}", how

    # What happens

    def _go(self, request: Request, *, lost: bool = False, own_conflict: bool = False) -> None:
        self._parked.remove(request)
        answer = self._perform(request)
        if lost:
            answer = partial(_raise, request, StorageUnavailableError("answer lost"))
        elif own_conflict:
            answer = partial(_raise, request, ConflictError("412 own write"))
        self._answer(request, answer)

    def _hold(self, request: Request) -> None:
        self._parked.remove(request)
        self._held.append((request, self._perform(request)))

    def _release(self, held: tuple[Request, Callable[[], object]]) -> None:
        self._held.remove(held)
        self._answer(*held)

    def _go_late(self, request: Request) -> None:
        self._late.append(request)
        self._fail(request, StorageUnavailableError("timed out"))

    def _land(self, request: Request) -> None:
        self._late.remove(request)
        self._perform(request)

    def _fail(self, request: Request, error: Exception) -> None:
        self._parked.remove(request)
        self._answer(request, partial(_raise, request, error))

    def _refuse(self, request: Request, status: int | None, *, is_delivered: bool) -> None:
        self._parked.remove(request)
        self._send(request, status, is_delivered=is_delivered)
        # As the channel signs it: without a code, a refusal is not the user's.
        code = "ConversationBlockedByUser" if status == 403 else None
        error = ConnectorError("refused", status=status, code=code)
        self._answer(request, partial(_raise, request, error))

    def _fault(self, request: Request, do: Callable[[], object]) -> None:
        self.limits.faults -= 1
        if request.kind != "send":
            self.faulted.add(request.task)
        do()

    def _crash(self, process: Process) -> None:
        self.limits.crashes -= 1
        process.alive = False
        mine = [r for r in self._parked if r.origin.process is process]
        self._parked = [r for r in self._parked if r not in mine]
        self._held = [each for each in self._held if each[0].origin.process is not process]
        # What was on its way may arrive yet.
        self._late += [r for r in mine if r.kind != "read"]

    def _arrive(self, arrival: Arrival) -> None:
        self.arrivals.remove(arrival)
        self.start(arrival)

    def _wake(self, timer: Timer) -> None:
        name, late = timer.origin.name, self.seconds - timer.when
        self._woken_late[name] = max(late, self._woken_late.get(name, 0))
        self._observe(timer.origin.process, (name, "wakes"))
        self.loop.wake(timer)

    def _jump(self, seconds: float) -> None:
        self.limits.jumps -= 1
        self.loop.pass_time(seconds)

    def _perform(self, request: Request) -> Callable[[], object]:
        """Let the request take effect; what it gives back will deliver the answer."""
        if request.kind == "send":
            self._send(request, 200, is_delivered=True)
            return partial(_give, request, {"id": "1"})
        if request.kind == "write" and self.watcher:
            self.watcher.before_write(request)
        try:
            result = request.perform()
        except ConflictError as error:
            self.note(f"    {error}")
            answer: Callable[[], object] = partial(_raise, request, error)
        else:
            answer = partial(_give, request, result)
            if request.kind == "read":
                self._observe(request.origin.process, (request.task, _key(result)))
                return answer
        succeeded = answer.func is not _raise  # type: ignore[attr-defined] # a partial each
        for operation in request.operations:
            at = operation.row.partition + operation.row.key
            self._took_effect(at, (request.task, request.what, succeeded))
        if self.watcher:
            self.watcher.after_write(request, succeeded=succeeded)
        return answer

    def _send(self, request: Request, status: int | None, *, is_delivered: bool) -> None:
        if is_delivered and self.watcher:
            self.watcher.delivered(request)
        if self.watcher and request.origin.process.alive and not request.answer.cancelled():
            self.watcher.answered(request, status)
        self._took_effect(request.task, (status, is_delivered))

    def _took_effect(self, where: str, what: object) -> None:
        self._effects[where] = hash((self._effects.get(where), what, self.seconds))

    def _answer(self, request: Request, answer: Callable[[], object]) -> None:
        outcome = str(answer.args[1]) if answer.func is _raise else ""  # type: ignore[attr-defined] # a partial each
        entry = (request.task, request.what, outcome, self.seconds)
        self._observe(request.origin.process, entry)
        if not request.answer.cancelled():
            answer()

    def _observe(self, process: Process, what: object) -> None:
        before = self._observed.get(process.name, 0)
        self._observed[process.name] = hash((before, what, self.seconds))

    # What tasks ask for

    async def request(
        self,
        kind: Literal["read", "write", "send"],
        what: str,
        *,
        perform: Callable[[], Any] | None = None,
        table: "ScheduledTable | None" = None,
        operations: Sequence[Operation] = (),
        body: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """Wait until the world has chosen what becomes of this request."""
        if self._closed:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        request = Request(
            kind=kind,
            table=table,
            what=what,
            perform=perform or _nothing,
            origin=ORIGIN.get(),
            task=task.get_name(),
            answer=self.loop.create_future(),
            issued=self.seconds,
            operations=operations,
            body=body,
        )
        if self.watcher:
            self.watcher.issued(request)
        self._parked.append(request)
        return await request.answer


_SEND_FAILURES = (
    (429, False),
    (503, False),
    (503, True),
    (403, False),
    (500, False),
    (None, False),
    (None, True),
)


def _nothing() -> None:
    return


def _give(request: Request, result: object) -> None:
    request.answer.set_result(result)


def _raise(request: Request, error: Exception) -> None:
    request.answer.set_exception(error)


def _key(result: Any) -> object:
    """What tells one answer of a read from another."""
    if isinstance(result, list):
        return tuple((row.key, row.etag) for row in result)
    return result and (result.key, result.etag)


class First:
    """Takes whatever is first: requests in the order they were made."""

    def choose(self, world: World, options: Iterator[Option]) -> Option:
        option = next(options)
        world.note(option.what)
        return option


class ScheduledTable:
    """A `Table` in memory, each of whose requests waits to be chosen."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.memory = MemoryTable()
        self._world = world
        self._names: dict[str, str] = {}  # of keys, in the trace

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        row: Row | None = await self._world.request(
            "read",
            f"get {self._called(key)}",
            table=self,
            perform=lambda: at_once(self.memory.get(partition, key, select)),
        )
        return row

    async def write(self, operations: Sequence[Operation]) -> list[str]:
        steps = [f"{each.kind} {self._called(each.row.key)}" for each in operations]
        etags: list[str] = await self._world.request(
            "write",
            " + ".join(steps),
            table=self,
            operations=operations,
            perform=lambda: at_once(self.memory.write(operations)),
        )
        return etags

    async def query(
        self,
        partition: str,
        first: str,
        last: str,
        select: Sequence[str] = (),
        page_size: int = 500,
    ) -> AsyncIterator[list[Row]]:
        page_size = min(page_size, PAGE_SIZE)
        while True:
            page: list[Row] = await self._world.request(
                "read",
                f"query {self._called(first)} in {partition}",
                table=self,
                perform=partial(self._page, partition, first, last, select, page_size),
            )
            yield page
            if len(page) < page_size:
                return
            first = page[-1].key + "\0"

    def _page(self, partition: str, first: str, last: str, select: Any, size: int) -> list[Row]:
        page: list[Row] = at_once(anext(self.memory.query(partition, first, last, select, size)))
        return page

    def _called(self, key: str) -> str:
        called = self._names.get(key)
        if called is None:
            names = self._world.names
            parts = key.rstrip("\0").split("|")
            called = "|".join([names.get(part, part[:10]) for part in parts])
            self._names[key] = called
        return called


class ScheduledQueue:
    """A `Queue` in memory, each of whose requests waits to be chosen."""

    def __init__(self, world: World) -> None:
        self._memory = MemoryQueue()
        self._world = world
        self._slept = 0.0

    async def put(self, text: str, *, after_seconds: int = 0) -> None:
        await self._request(
            "write", "put", lambda: self._memory.put(text, after_seconds=after_seconds)
        )

    async def receive(self, hidden_seconds: int) -> Message | None:
        message: Message | None = await self._request(
            "write", "receive", lambda: self._memory.receive(hidden_seconds)
        )
        return message

    async def hide(self, message: Message, seconds: int) -> None:
        await self._request("write", "hide", lambda: self._memory.hide(message, seconds))

    async def delete(self, message: Message) -> None:
        await self._request("write", "delete", lambda: self._memory.delete(message))

    async def peek(self) -> Sequence[Message]:
        messages: Sequence[Message] = await self._request("write", "peek", self._memory.peek)
        return messages

    async def count(self) -> int:
        count: int = await self._request("write", "count", self._memory.count)
        return count

    async def _request(
        self, kind: Literal["write"], what: str, do: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        def perform() -> Any:
            self._memory.sleep(self._world.seconds - self._slept)
            self._slept = self._world.seconds
            return at_once(do())

        return await self._world.request(kind, f"{what} message", perform=perform)


class ScheduledConnector(Connector):
    """The real operations and bodies, but each request waits to be chosen."""

    def __init__(self, world: World) -> None:
        super().__init__(TokenSource(app_id=""))
        self._world = world

    async def request(
        self,
        method: str,
        service_url: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        is_anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        del method, service_url, path, is_anonymous
        body = body or {}
        await self._world.request("send", f"send {body.get('text')!r:.40}", body=body)
        return {"id": id_given_to(str(body.get("text")))}


def id_given_to(text: str) -> str:
    """The channel's id of a message."""
    return f"id of {text}"


def at_once(work: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("this was to wait for nothing")
