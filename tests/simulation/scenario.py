"""Who does what in one run, and the real bot that does it."""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import cache, partial
from http import HTTPStatus
from typing import Any

from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ActivityTypes

from shared.authors import end_conversation, expiry
from shared.cli.dead_letters import Selection, replay
from shared.connector import limits as sending
from shared.connector import limits_file
from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.notices import NoticeSender, say_nothing
from shared.connector.retry import Retries
from shared.connector.service_urls import ServiceUrls
from shared.domain.buttons import resume_value
from shared.domain.conversation import Conversation
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import ConversationKey
from shared.domain.policy import Override, Policy
from shared.domain.reference import ConversationType
from shared.domain.timing import QuietHours, Timing
from shared.expiry.fan_out import FanOut, shard_of
from shared.expiry.notice import Hooks, OnExpired, SendNotice, Slot
from shared.expiry.report import SweepReport
from shared.expiry.sweep import Sweep
from shared.expiry.timeout_change import sweep_with_timeout
from shared.state.erasure import Erasure
from shared.storage.table_store import CONTROL, TableStore
from shared.storage.tables import Table
from shared.turn.turn import Turns
from tests.bot_in_memory import CHANNEL, FunctionBot, activity, anonymous
from tests.simulation.invariants import SKEW, Act, Promises, TurnSpec, reply
from tests.simulation.loop import ORIGIN, Process
from tests.simulation.world import (
    SHORT_SECONDS,
    Arrival,
    Chooser,
    Limits,
    ScheduledConnector,
    ScheduledQueue,
    ScheduledTable,
    Violation,
    World,
)

EXPIRE_AFTER = timedelta(seconds=100)
BEYOND_EVERY_RETRY_SECONDS = 4000
UNLIMITED_SECONDS = 1e9
MOST_ROUNDS = 6  # of sweeps, until nothing is left
MESSAGE_HIDDEN_SECONDS = 60  # from the other readers of a queue

# What a user or a client does, as fields of its activity. The bot refuses "refused".
_FIELDS: dict[str, dict[str, Any]] = {
    "word": {},
    "click": {"type": "invoke", "name": "adaptiveCard/action"},
    "refused": {"type": "invoke", "name": "adaptiveCard/action"},
    "reaction": {"type": "messageReaction", "timestamp": "2026-11-22T12:00:00Z"},
    "join": {"type": "conversationUpdate", "timestamp": "2026-11-22T12:00:00Z"},
    "resume": {},  # its value is known when it is pressed
}


@dataclass(frozen=True)
class Scenario:
    """A run before anything is chosen.

    Attributes:
        before: turns taken at the start, in order and with no fault.
        idle_seconds: what passes after them.
        turns: turns that may start at any time, each with the process that takes it.
        sweeps: the processes that each run a sweep, at any time.
        shard_sweeps: the processes that each sweep one shard only, as a message asks, and which.
        replays: the processes that each make the dead letters due again that are there by then.
        erasures: the processes that each erase a user, and which.
        readers: the processes that each take one message of the fan-out. If there are any, sweeps
            hand over the shards that they do not finish.
        skews: the processes, and by how many seconds their clocks are off.
        limits: what else may happen.
        budget_seconds: how long a sweep may look for more.
        notices_at_most: so many, in so many seconds, from one process; None: as many as there are.
        max_notice_age_seconds: no notice is sent if an expiry is later than this; None: no limit.
        warn_before: how long before the deadline users are warned.
        notify_within: users are told only so long after its last use; None: at any time.
        max_age: how long a session lasts at most; None: for ever.
        quiet_hours: in which nobody is told anything; None: there are none.
        resume_within: how long an expired session may be resumed.
        hooked: whether the author has a hook for each expiry.
        kept_seconds: what passes after all is expired that was idle; None: no sweep has come yet.
        expire_after: the timeout.
        channels: the conversations of the type `channel`, by name; the others are personal.
        channels_expire_after: the timeout of these; None: as of the others.
        timeout_before: the timeout that the first turns are taken with, if it is changed then.
        channels_timeout_before: the same of these conversations.
        idle_seconds_before: what passes before that change.
        ask_first: whether user state is looked at before everything has expired, or after.
    """

    turns: Sequence[tuple[TurnSpec, str]]
    sweeps: Sequence[str]
    skews: dict[str, float]
    limits: Limits
    shard_sweeps: Sequence[tuple[str, int]] = ()
    replays: Sequence[str] = ()
    erasures: Sequence[tuple[str, str]] = ()
    readers: Sequence[str] = ()
    before: Sequence[TurnSpec] = ()
    idle_seconds: float = 0
    shards: int = 1
    notices_on: bool = True
    budget_seconds: float = UNLIMITED_SECONDS
    notices_at_most: tuple[int, float] | None = None
    max_notice_age_seconds: float | None = None
    warn_before: tuple[timedelta, ...] = ()
    notify_within: timedelta | None = None
    max_age: timedelta | None = None
    quiet_hours: QuietHours | None = None
    resume_within: timedelta = timedelta(0)
    hooked: bool = False
    kept_seconds: float | None = None
    expire_after: timedelta = EXPIRE_AFTER
    channels: frozenset[str] = frozenset()
    channels_expire_after: timedelta | None = None
    timeout_before: timedelta | None = None
    channels_timeout_before: timedelta | None = None
    idle_seconds_before: float = 0
    ask_first: bool = True


class Mutant:
    """A change of the product; this one changes nothing."""

    def table(self, table: ScheduledTable, simulation: "Simulation") -> Table:
        """What the store gets for that table."""
        del simulation
        return table

    def sender(self, send: SendNotice, simulation: "Simulation") -> SendNotice:
        """What sweeps get for that sender of notices."""
        del simulation
        return send

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While this lasts, the product's own code is patched."""
        yield


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, chooser: Chooser, mutant: Mutant | None = None) -> None:
        self.scenario = scenario
        self._is_changed = not scenario.timeout_before
        self.world = World(chooser, replace(scenario.limits), self._edges)
        self.conversations = ScheduledTable(self.world, "conversations")
        self.users = ScheduledTable(self.world, "users")
        self.connector = ScheduledConnector(self.world)
        self.queue = ScheduledQueue(self.world)
        self.mutant = mutant or Mutant()
        self.store = self._store(self.conversations, self.users)  # for mutants: not their own
        self.before_end: Callable[[World], object] = lambda _: None
        self.bot_is_done: set[str] = set()  # turns whose bot has run, in this attempt
        turns = [*scenario.before, *(turn for turn, _ in scenario.turns)]
        users = sorted({turn.user for turn in turns if "u" in turn.bags})
        self._asking = [TurnSpec(f"ask-{user}", user, f"own-{user}", "cu") for user in users]
        # What never expires is to be over in the end, too.
        lasting = {turn.conversation: turn.user for turn in turns if math.isinf(turn.timeout)}
        self._ending = [
            TurnSpec(f"end-{talk}", user, talk, "c", timeout=20) for talk, user in lasting.items()
        ]
        turns += [*self._asking, *self._ending]
        self.promises = Promises(
            self.world,
            self._store(self.conversations.memory, self.users.memory),
            self.conversations,
            self.users,
            turns,
            expire_after=self._expire_after,
            notices_on=scenario.notices_on,
            max_notice_age_seconds=self._max_notice_age_seconds,
            max_age=scenario.max_age,
            quiet_hours=scenario.quiet_hours,
            resume_within=scenario.resume_within,
            hooked=scenario.hooked,
        )
        self.world.watcher = self.promises
        self._start_processes()
        for turn in turns:
            key = ConversationKey(CHANNEL, turn.conversation).hash
            self.world.names[key] = turn.conversation
        self._bots: dict[int, _Bot] = {}
        self._specs = {turn.name: turn for turn in turns}
        self._budget_seconds = scenario.budget_seconds

    def run(self) -> None:
        """Run to the very end.

        Raises:
            Violation: a promise was broken.
        """
        world, scenario = self.world, self.scenario
        try:
            with self.mutant.applied(), self._log_kept(), world.seeded():
                home = next(iter(world.processes))
                world.run_healthy(*(self._turn(turn, home) for turn in scenario.before))
                if scenario.timeout_before:
                    world.loop.pass_time(scenario.idle_seconds_before)
                    world.run_healthy(self._sweep("sweep-before", home))
                    self._is_changed = True
                    self._start_processes()
                world.loop.pass_time(scenario.idle_seconds)
                if scenario.kept_seconds is not None:
                    world.run_healthy(self._sweep("sweep-before", home))
                    world.loop.pass_time(scenario.kept_seconds)
                world.note("from here on, anything may happen")
                world.arrivals = [
                    *(self._turn(turn, process) for turn, process in scenario.turns),
                    *(
                        self._sweep(f"sweep{number}", process)
                        for number, process in enumerate(scenario.sweeps, 1)
                    ),
                    *(
                        self._sweep(f"shard-sweep{number}", process, shard)
                        for number, (process, shard) in enumerate(scenario.shard_sweeps, 1)
                    ),
                    *(
                        self._replay(f"replay{number}", process)
                        for number, process in enumerate(scenario.replays, 1)
                    ),
                    *(
                        self._erasure(f"erasure{number}", process, user)
                        for number, (process, user) in enumerate(scenario.erasures, 1)
                    ),
                    *(
                        self._reader(f"reader-sweep{number}", process)
                        for number, process in enumerate(scenario.readers, 1)
                    ),
                ]
                world.run()
                self.promises.check_ids()
                self.before_end(world)
                self._finish(home)
        finally:
            world.close()

    @property
    def _timeouts(self) -> tuple[timedelta, timedelta | None]:
        """The timeout of all conversations, and that of channels."""
        scenario = self.scenario
        if self._is_changed:
            return scenario.expire_after, scenario.channels_expire_after
        return scenario.timeout_before or scenario.expire_after, scenario.channels_timeout_before

    def _expire_after(self, conversation: str) -> timedelta:
        everywhere, in_channels = self._timeouts
        is_channel = conversation in self.scenario.channels
        return in_channels if is_channel and in_channels else everywhere

    @property
    def _policy(self) -> Policy:
        everywhere, in_channels = self._timeouts
        override = Override(types=frozenset({ConversationType.CHANNEL}), expire_after=in_channels)
        timing = Timing(
            everywhere,
            warn_before=self.scenario.warn_before,
            notify_within=self.scenario.notify_within,
            max_age=self.scenario.max_age,
            quiet_hours=self.scenario.quiet_hours,
            resume_within=self.scenario.resume_within,
        )
        return Policy(timing, [override] if in_channels else [])

    @property
    def _max_notice_age_seconds(self) -> float | None:
        """How late a notice may be, by either rule."""
        scenario, limits = self.scenario, []
        if scenario.max_notice_age_seconds is not None:
            limits.append(scenario.max_notice_age_seconds)
        if scenario.notify_within is not None:
            limits.append((scenario.notify_within - scenario.expire_after).total_seconds())
        return min(limits, default=None)

    def _start_processes(self) -> None:
        skews = self.scenario.skews
        self.world.processes = {name: Process(name, skew) for name, skew in skews.items()}

    def _edges(self) -> list[float]:
        return self.promises.edges()

    def _finish(self, home: str) -> None:
        world = self.world
        world.note("from here on, all is well")
        self._budget_seconds = UNLIMITED_SECONDS
        world.run_healthy(*(self._turn(turn, home) for turn in self._ending))
        asking = [self._turn(turn, home) for turn in self._asking]
        if self.scenario.ask_first:
            world.run_healthy(*asking)
        self._expire_all(home, "first")
        if not self.scenario.ask_first:
            world.run_healthy(*asking)
            self._expire_all(home, "last")
        self.promises.check_end()

    def _expire_all(self, home: str, which: str) -> None:
        for number in range(MOST_ROUNDS):
            self.world.loop.pass_time(BEYOND_EVERY_RETRY_SECONDS)
            began = self.world.seconds
            self.world.run_healthy(self._sweep(f"{which}-sweep{number}", home))
            self.promises.swept(began)
            if all(key == CONTROL for _, key in self.conversations.memory.rows):
                return

    # The real bot

    def _turn(self, turn: TurnSpec, process: str) -> Arrival:
        type_ = "channel" if turn.conversation in self.scenario.channels else "personal"
        inbound = _inbound(turn.act, turn.bags, turn.user, turn.activity, turn.conversation, type_)

        async def take(process: Process) -> None:
            self.promises.received(turn.name)
            taken = inbound
            if turn.act == "resume":
                taken = copy(inbound)
                taken.value = resume_value(self.promises.presses(turn.name))
            response = await self._bot(process).turns.take(taken, anonymous())
            self.promises.answered_request(
                turn.name, response.status if response else HTTPStatus.OK
            )

        return Arrival(turn.name, process, take)

    def _sweep(self, name: str, process: str, shard: int | None = None) -> Arrival:
        async def run(process: Process) -> None:
            shards = self._bot(process).store.shards
            await self._run_sweep(name, process, None if shard is None else shards[shard])

        return Arrival(name, process, run)

    async def _run_sweep(self, name: str, process: Process, shard: str | None) -> None:
        """As SweepRunner.run and SweepRunner.run_shard do."""
        bot = self._bot(process)
        clock = self.world.clock(process)
        pace = _Notices(self.connector, ServiceUrls(), bot.limits)
        send = pace if self.scenario.notices_on else say_nothing

        async def sweep(ahead: tuple[datetime, datetime] | None) -> SweepReport:
            return await Sweep(
                bot.store,
                self.mutant.sender(send, self),
                Erasure(bot.store, clock).finish,
                send_warning=pace.warn if self.scenario.notices_on else None,
                policy=self._policy,
                budget_seconds=self._budget_seconds,
                now=clock,
                pace=pace if self.scenario.notices_on else None,
                max_notice_age_seconds=self.scenario.max_notice_age_seconds,
                hooks=Hooks(on_expired=self._on_expired),
                shards=None if shard is None else [shard],
                ahead=ahead,
                clock=lambda: self.world.seconds,
                randomness=random.Random(name),
            ).run()

        if not self.scenario.timeout_before:
            report = await sweep(None)
        elif shard is None:
            report = await sweep_with_timeout(bot.store, self._policy, clock(), sweep)
        else:
            control = await bot.store.control()
            report = await sweep(control.range_ahead(clock()))
        if self.scenario.readers and report.unfinished and not report.stopped:
            fan_out = FanOut(self.queue, self.queue, most=self.scenario.shards)
            if shard is None:
                await fan_out.hand_over(report.unfinished)
            else:
                await fan_out.put(shard)

    def _reader(self, name: str, process: str) -> Arrival:
        """The queue function, as the host calls it: a message is deleted once it is handled."""

        async def run(process: Process) -> None:
            message = await self.queue.receive(MESSAGE_HIDDEN_SECONDS)
            if message:
                await self._run_sweep(name, process, shard_of(message.text.encode()))
                await self.queue.delete(message)

        return Arrival(name, process, run)

    def _erasure(self, name: str, process: str, user: str) -> Arrival:
        async def run(process: Process) -> None:
            self.promises.erasure_begins(name, user)
            erasure = Erasure(self._bot(process).store, self.world.clock(process))
            receipt = await erasure.erase(CHANNEL, user)
            if not receipt.left:
                self.promises.erasure_ends(name, user)

        return Arrival(name, process, run)

    def _replay(self, name: str, process: str) -> Arrival:
        async def run(process: Process) -> None:
            now = self.world.clock(process)
            selection = Selection(dead_before=now())  # as the command line has it
            await replay(self._bot(process).store, selection, now, lambda _: None)

        return Arrival(name, process, run)

    def _bot(self, process: Process) -> "_Bot":
        if id(process) not in self._bots:
            tables = (self.mutant.table(each, self) for each in (self.conversations, self.users))
            store = self._store(*tables)
            limits = sending.SendingLimits(
                _limits(self.scenario.notices_at_most or (1_000_000, 1)),
                clock=lambda: self.world.seconds,
                randomness=random.Random(process.name),
            )
            bot = FunctionBot(self._on_turn)
            turns = Turns(
                store,
                # Replies once: an invariant here counts them, and lost answers would make two.
                BufferingAdapter(
                    self.connector, _authentication(), "", Retries(seconds=0), limits=limits
                ),
                bot,
                policy=self._policy,
                on_resumed=partial(self._on_turn, bot),
                on_expired=self._on_expired,
                now=self.world.clock(process),
            )
            self._bots[id(process)] = _Bot(process, store, turns, limits)
        return self._bots[id(process)]

    @property
    def _on_expired(self) -> OnExpired | None:
        async def told(conversation: Conversation) -> None:
            self.promises.hook_runs(conversation)

        return told if self.scenario.hooked else None

    def _store(self, conversations: Table, users: Table) -> TableStore:
        return TableStore(conversations, users, self.scenario.shards)

    async def _on_turn(self, bot: FunctionBot, context: TurnContext) -> None:
        turn = ORIGIN.get().name
        spec = self._specs[turn]
        self.bot_is_done.discard(turn)
        if spec.act in ("click", "refused"):
            status = 200 if spec.act == "click" else 501
            answer = Activity(
                type=ActivityTypes.invoke_response, value=InvokeResponse(status=status)
            )
            await context.send_activity(answer)
        log = bot.conversation.create_property("log")
        before: list[str] = await log.get(context, [])
        self.promises.bot_runs(turn, before)
        try:
            if spec.counts:
                await self._count(bot, context, before, spec)
        finally:
            self.promises.bot_stops(turn)
        if spec.act == "resume":  # as its own method would
            for bag in (bot.conversation, bot.user, bot.private):
                await bag.save_changes(context)
        self.bot_is_done.add(turn)

    async def _count(
        self, bot: FunctionBot, context: TurnContext, before: Sequence[str], turn: TurnSpec
    ) -> None:
        """Count in the bags that the message names; the conversation's bag keeps it all."""
        counted = [*before, turn.activity]
        await bot.conversation.create_property("log").set(context, counted)
        seen: dict[str, list[str]] = {"user": [], "private": []}
        for name, bag in (("user", bot.user), ("private", bot.private)):
            if name[0] in turn.bags:
                count = bag.create_property("log")
                seen[name] = [*await count.get(context, []), turn.activity]
                await count.set(context, seen[name])
            await bot.conversation.create_property(name).set(context, seen[name])
        if turn.seconds:
            await asyncio.sleep(turn.seconds)
        answer = reply(turn.activity, counted, seen["user"], seen["private"])
        if turn.timeout:
            expiry.set(context, expire_after=turn.expire_after)
        if turn.kept_for:
            expiry.keep_until(context, self.world.now + timedelta(seconds=turn.kept_for + SKEW))
        if turn.ends:
            end_conversation(context)
            self.promises.bot_ends(turn.name, answer)
        sent = await context.send_activity(answer)
        if turn.keeps and sent:
            every = {"c": bot.conversation, "u": bot.user, "p": bot.private}
            for ids in (every[name].create_property("ids") for name in turn.bags):
                await ids.set(context, {**await ids.get(context, {}), turn.activity: sent.id})

    @contextmanager
    def _log_kept(self) -> Iterator[None]:
        """The product logs what it survives; but for storage's absence, nothing should need it."""
        logger = logging.getLogger("shared")
        handler = _Unforeseen()
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        if level != logging.ERROR:  # of every logger there is, that empties the cache
            logger.setLevel(logging.ERROR)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            if level != logging.ERROR:
                logger.setLevel(level)
            logger.propagate = propagate
        if handler.errors:
            raise Violation(f"unforeseen: {handler.errors[0]!r}") from handler.errors[0]


class _Notices(NoticeSender):
    def confirm(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """Timers of less than a second go off at any time here, so that is as good as now."""
        slot = super().confirm(conversation, slot, within_seconds)
        return _as_now(slot)

    def begin(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
        """The same."""
        return _as_now(super().begin(conversation, slot, within_seconds))


def _as_now(slot: Slot) -> Slot:
    is_now = slot.granted and slot.seconds < SHORT_SECONDS
    return replace(slot, seconds=0) if is_now else slot


@dataclass(frozen=True)
class _Bot:
    """What a process has of its own; the process itself, so that no other gets its id."""

    process: Process
    store: TableStore
    turns: Turns
    limits: sending.SendingLimits


class _Unforeseen(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BaseExceptionGroup):
            error = error.split(StorageUnavailableError)[1]
        if error and not isinstance(error, StorageUnavailableError):
            self.errors.append(error)


@cache
def _limits(at_most: tuple[int, float]) -> limits_file.Limits:
    given = {"msteams": {"tenant": at_most, "thread": []}, "other": {"service_url": at_most}}
    return limits_file.Limits(given)


@cache
def _inbound(  # noqa: PLR0917 - what it is remembered by
    act: str, text: str, user: str, activity_id: str, conversation: str, type_: str
) -> Activity:
    """The activity of a turn: each attempt gets a copy of it, so all runs can share it."""
    where = {"id": conversation, "conversationType": type_}
    return activity(text, user, id=activity_id, conversation=where, **_FIELDS[act])


@cache
def _authentication() -> Any:
    return InboundAuthentication(app_id="").sdk


Kind = Callable[[random.Random], Scenario]


def random_scenario(
    chance: random.Random, kind: Kind | None = None, kinds: Sequence[Kind] | None = None
) -> Scenario:
    """A scenario as the seed says: of any kind, or one of those where much is at stake."""
    kinds = kinds or (*KINDS, *ONLY_IN_TABLES)
    scenario = (kind or chance.choice((anything, anything, *kinds)))(chance)
    shards = chance.choice((1, 1, 2))
    messages = chance.choice((0, 0, 0, 1, 2)) if scenario.sweeps else 0
    paced = replace(
        scenario,
        notices_at_most=scenario.notices_at_most or chance.choice((None, None, None, (1, 20))),
        budget_seconds=chance.choice((0, 5) if scenario.readers else (UNLIMITED_SECONDS, 10, 45)),
    )
    return replace(
        paced if scenario.notices_on else scenario,
        skews={process: round(chance.uniform(-1, 1), 2) for process in PROCESSES},
        shards=shards,
        shard_sweeps=[
            (chance.choice(PROCESSES), chance.randrange(shards)) for _ in range(messages)
        ],
        ask_first=chance.random() < 0.5,
    )


def anything(chance: random.Random) -> Scenario:
    users = ["ann", "bob"][: chance.choice((1, 1, 2))]
    talks = ["talk0", "talk1"][: chance.choice((1, 1, 2))]
    before = [_turn(chance, n, users, talks) for n in range(chance.choice((0, 1, 1, 2)))]
    later = range(len(before), len(before) + chance.choice((1, 2, 2, 3, 4)))
    turns = [_turn(chance, n, users, talks) for n in later]
    turns += _copies(chance, [*before, *turns], chance.choice((0, 0, 0, 1)))
    jumps = (0.3, 3, 12, 18, 26, 33, 45, 61, 99, 103, 250)
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 74, 98.5, 99.9, 103.5, 103.5, 150)) if before else 0,
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns],
        sweeps=_sweeps(chance, (0, 1, 1, 2, 2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1, 1, 2, 3)),
            crashes=chance.choice((0, 0, 0, 1, 2)),
            jumps=chance.choice((0, 1, 2, 4, 6)),
            jump_seconds=(*chance.sample(jumps, 3), *_a_day(chance)),
            edges=chance.random() < 0.6,
            holds=chance.random() < 0.4,
        ),
        notices_on=chance.random() < 0.95,
    )


def messages_at_expiry(chance: random.Random) -> Scenario:
    """Messages arrive just before a session expires, or just after, and sweeps run."""
    before = [_turn(chance, 0, ["ann"], ["talk0"])]
    later = range(1, chance.choice((2, 3)))
    return Scenario(
        before=before,
        idle_seconds=chance.choice((76, 98.5, 99.9, 101, 103.5)),
        turns=[(_turn(chance, n, ["ann"], ["talk0"]), chance.choice(PROCESSES)) for n in later],
        sweeps=_sweeps(chance, (1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 0, 1)), jumps=4, jump_seconds=(2.2, 3), edges=True
        ),
    )


def slow_sweeps(chance: random.Random) -> Scenario:
    """Several sweeps find the same conversations, and are slower than they should be."""
    talks = ["talk0", "talk1", "talk2", "talk3"]
    idle = talks[: chance.choice((1, 1, 4))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(idle)]
    after = range(len(before), len(before) + chance.choice((0, 0, 1)))
    return Scenario(
        before=before,
        idle_seconds=103.5,
        turns=[(_turn(chance, n, ["ann"], talks), chance.choice(PROCESSES)) for n in after],
        sweeps=_sweeps(chance, (2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1, 2)),
            crashes=chance.choice((0, 0, 1)),
            jumps=5,
            jump_seconds=(12, 18, 33, *_a_day(chance)),
            jump_weight=chance.choice((1.5, 6)),
            edges=chance.random() < 0.4,
            holds=chance.random() < 0.5,
        ),
        notices_on=chance.random() < 0.95,
    )


def user_returns(chance: random.Random) -> Scenario:
    """A user writes while a sweep expires the conversation."""
    turns = [replace(_turn(chance, n, ["ann"], ["talk0"]), bags="cp") for n in (1, 2, 3)]
    return Scenario(
        before=[TurnSpec("turn0", "ann", "talk0", "cp")],
        idle_seconds=103.5,
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns],
        sweeps=_sweeps(chance, (1, 1, 2)),
        skews={},
        limits=Limits(faults=chance.choice((0, 0, 0, 1)), crashes=chance.choice((0, 0, 0, 1))),
    )


def writes_in_doubt(chance: random.Random) -> Scenario:
    """One user in two conversations; answers are lost and processes crash between two writes."""
    turns = [_turn(chance, n, ["ann"], ["talk0", "talk1"]) for n in range(5)]
    turns += _copies(chance, turns, chance.choice((0, 0, 1, 2)))
    return Scenario(
        before=[replace(turns[0], bags="cu")],
        turns=[(replace(turn, bags="cu"), chance.choice(PROCESSES)) for turn in turns[1:]],
        sweeps=[],
        skews={},
        limits=Limits(faults=chance.choice((1, 2, 3)), crashes=chance.choice((0, 1, 1))),
    )


def copies(chance: random.Random) -> Scenario:
    """A channel sends activities again, at once or after a while, to whichever process."""
    turns = [_turn(chance, n, ["ann"], ["talk0"]) for n in range(3)]
    before = turns[: chance.choice((0, 1))]
    later = turns[len(before) :][: chance.choice((1, 1, 2))]
    again = _copies(chance, [*before, *later], chance.choice((1, 2, 2)))
    return Scenario(
        before=before,
        turns=[(turn, chance.choice(PROCESSES)) for turn in (*later, *again)],
        sweeps=_sweeps(chance, (0, 0, 1)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 0, 1, 2)),
            crashes=chance.choice((0, 1, 1)),
            jumps=chance.choice((0, 2, 4)),
            jump_seconds=(3, *chance.choice(((), (12.1,), (103.5,)))),
            jump_weight=chance.choice((1.5, 6)),
            edges=chance.random() < 0.6,
            holds=chance.random() < 0.2,
        ),
    )


def long_turns(chance: random.Random) -> Scenario:
    """The bot thinks for minutes; sweeps run meanwhile."""
    turn = replace(_turn(chance, 1, ["ann"], ["talk0"]), seconds=chance.choice((30, 150, 200)))
    return Scenario(
        before=[_turn(chance, 0, ["ann"], ["talk0"])],
        idle_seconds=chance.choice((0, 60, 73, 80, 99)),
        turns=[(turn, "P1")],
        sweeps=_sweeps(chance, (1, 2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=20,
            jump_seconds=(4, 12),
            jump_weight=6,
        ),
    )


def changed_timeout(chance: random.Random) -> Scenario:
    """Conversations are there from when the timeout was another."""
    talks = ["talk0", "talk1", "talk2"][: chance.choice((1, 1, 3))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(talks)]
    after = [_turn(chance, n, ["ann", "bob"], talks) for n in range(3, chance.choice((4, 5)))]
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 50, 99, 103.5, 103.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 1, 2)),
            crashes=chance.choice((0, 0, 1)),
            jumps=2,
            jump_seconds=(4, 33, 103.5),
        ),
        timeout_before=timedelta(seconds=chance.choice((30, 20_000, 20_000))),
    )


def paced_notices(chance: random.Random) -> Scenario:
    """More conversations are idle than the channel takes notices of; users come back meanwhile."""
    talks = ["talk0", "talk1", "talk2"][: chance.choice((2, 3))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(talks)]
    after = [_turn(chance, n, ["ann"], talks) for n in range(3, chance.choice((3, 4, 5)))]
    return Scenario(
        before=before,
        idle_seconds=103.5,
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=4,
            jump_seconds=(4, 12, 33, 61),
            holds=chance.random() < 0.3,
        ),
        notices_at_most=chance.choice(((1, 20), (1, 100))),
    )


def dead_letters(chance: random.Random) -> Scenario:
    """Notices fail, some for good; users come back, and dead letters are made due again."""
    talks = ["talk0", "talk1"][: chance.choice((1, 1, 2))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(talks)]
    after = [_turn(chance, n, ["ann"], talks) for n in range(2, chance.choice((2, 3, 4)))]
    return Scenario(
        before=before,
        idle_seconds=103.5,
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (1, 2, 3)),
        replays=_sweeps(chance, (1, 1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((1, 2, 3)),
            crashes=chance.choice((0, 0, 1)),
            jumps=3,
            jump_seconds=(12, 61, 103.5, *_a_day(chance)),
            holds=chance.random() < 0.3,
        ),
    )


def no_words(chance: random.Random) -> Scenario:
    """Users react and click, clients send what nobody sees, and now and then the bot keeps it."""

    def turn_of(number: int) -> TurnSpec:
        turn = _turn(chance, number, ["ann"], ["talk0"])
        acts: Sequence[Act] = ("word", "click", "refused", "refused", "reaction", "join", "join")
        act = chance.choice(acts)
        return replace(turn, act=act, counts=act == "word" or chance.random() < 0.4)

    before = [turn_of(n) for n in range(chance.choice((0, 1, 1, 2)))]
    later = range(len(before), len(before) + chance.choice((1, 2, 3)))
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 76, 90, 98.5, 103.5)) if before else 0,
        turns=[(turn_of(n), chance.choice(PROCESSES)) for n in later],
        sweeps=_sweeps(chance, (0, 1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 2, 4)),
            jump_seconds=(3, 12, 26, 103.5),
            edges=chance.random() < 0.6,
        ),
    )


def ended(chance: random.Random) -> Scenario:
    """The bot ends the conversation, while others write in it and sweeps run."""
    talks = ["talk0", "talk1"][: chance.choice((1, 1, 2))]
    turns = [_turn(chance, n, ["ann", "bob"], talks) for n in range(chance.choice((2, 3, 4)))]
    turns = [replace(turn, ends=chance.random() < 0.5) for turn in turns]
    before = turns[: chance.choice((0, 1, 1))]
    later = turns[len(before) :]
    later += _copies(chance, later, chance.choice((0, 0, 1)))
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 90, 98.5, 103.5)) if before else 0,
        turns=[(turn, chance.choice(PROCESSES)) for turn in later],
        sweeps=_sweeps(chance, (0, 1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1, 2)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 2)),
            jump_seconds=(3, 33, 103.5),
            edges=chance.random() < 0.4,
        ),
    )


def erasures(chance: random.Random) -> Scenario:
    """A user is erased, at any moment, while turns and sweeps run and processes crash."""
    users, talks = ["ann", "bob"][: chance.choice((1, 2))], ["talk0", "talk1"]
    before = [_turn(chance, n, users, talks) for n in range(chance.choice((0, 1, 2)))]
    later = range(len(before), len(before) + chance.choice((1, 1, 2, 3)))
    erased = [chance.choice(users) for _ in range(chance.choice((1, 1, 2)))]
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 0, 98.5, 103.5)) if before else 0,
        turns=[(_turn(chance, n, users, talks), chance.choice(PROCESSES)) for n in later],
        sweeps=_sweeps(chance, (0, 1, 2)),
        erasures=[(chance.choice(PROCESSES), user) for user in erased],
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1, 2)),
            refusals=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 2)),
            jump_seconds=(3, 33, 103.5),
        ),
    )


def changed_timeout_of_users(chance: random.Random) -> Scenario:
    """The timeout is raised or lowered, and one user goes on in another conversation."""
    before = [replace(_turn(chance, n, ["ann"], ["talk0"]), bags="cu") for n in range(2)]
    before = before[: chance.choice((1, 2))]
    later = range(2, chance.choice((3, 4, 5)))
    after = [replace(_turn(chance, n, ["ann"], ["talk0", "talk1"]), bags="cu") for n in later]
    timeout = chance.choice((20, 30, 60, 20_000))
    return Scenario(
        before=before,
        idle_seconds_before=chance.choice((0, timeout - 5, timeout + 3.5, timeout + 3.5)),
        idle_seconds=chance.choice((0, 5, 50, 103.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (0, 1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 2)),
            jump_seconds=(4, 33, 103.5),
        ),
        timeout_before=timedelta(seconds=timeout),
    )


def two_types(chance: random.Random) -> Scenario:
    """A channel and a personal chat, each with a timeout of its own; now and then they change."""
    talks = ["talk0", "talk1"]
    before = [_turn(chance, n, ["ann"], talks) for n in range(chance.choice((1, 2, 3)))]
    after = [_turn(chance, n, ["ann", "ann", "bob"], talks) for n in range(3, 6)]
    after = after[: chance.choice((1, 2, 3))]
    short, long = timedelta(seconds=20), timedelta(seconds=20_000)
    # Of all conversations, and of channels. In the last one the shortest and the longest stay.
    everywhere_before, in_channels_before, in_channels = chance.choice(
        (
            (None, None, short),
            (None, None, long),
            (EXPIRE_AFTER, short, long),
            (EXPIRE_AFTER, long, short),
            (long, EXPIRE_AFTER, long),
        )
    )
    return Scenario(
        before=[replace(turn, bags="cu") for turn in before],
        idle_seconds_before=chance.choice((0, 15, 23.5, 103.5)),
        idle_seconds=chance.choice((0, 15, 23.5, 99, 103.5)),
        turns=[(replace(turn, bags="cu"), chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (0, 1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 2)),
            jump_seconds=(4, 23.5, 103.5),
        ),
        channels=frozenset({"talk1"}),
        channels_expire_after=in_channels,
        timeout_before=everywhere_before,
        channels_timeout_before=in_channels_before,
    )


def warnings(chance: random.Random) -> Scenario:
    """Users are warned, and come back, or send what is no word; sweeps overlap."""
    talks = ["talk0", "talk1"][: chance.choice((1, 1, 2))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(talks)]
    after = [_turn(chance, n, ["ann"], talks) for n in range(2, chance.choice((2, 3, 4)))]
    after = [
        replace(turn, act=chance.choice(("word", "word", "reaction", "join")), counts=True)
        for turn in after
    ]
    after = [replace(turn, counts=turn.act == "word") for turn in after]
    stages = chance.choice(((75,), (75, 40), (60, 30)))
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 28, 43.5, 73.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (2, 3, 4)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=3,
            jump_seconds=(4, 12, 33),
            holds=chance.random() < 0.3,
        ),
        warn_before=tuple(timedelta(seconds=each) for each in stages),
    )


def quiet_hours(chance: random.Random) -> Scenario:
    """As `warnings`, and in some minutes nobody is told anything."""
    begins = chance.choice((0, 1, 2))
    hours = QuietHours(time(12, begins), time(12, begins + chance.choice((1, 2))), UTC)
    return replace(warnings(chance), quiet_hours=hours)


def own_timing(chance: random.Random) -> Scenario:
    """The bot gives conversations times of their own; sessions have an age, now and then."""
    talks = ["talk0", "talk1"]
    turns = [_turn(chance, n, ["ann", "ann", "bob"], talks) for n in range(6)]
    turns = [
        replace(
            turn,
            bags=chance.choice(("c", "cu", "cu", turn.bags)),
            timeout=chance.choice((0, 0, 20, 40, 400, math.inf)),
            kept_for=chance.choice((0, 0, 0, 0, 60, 300)),
        )
        for turn in turns
    ]
    count = chance.choice((1, 2, 3))
    before, after = turns[:count], turns[3 : 3 + chance.choice((1, 2, 3))]
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 15, 23.5, 43.5, 99, 103.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (1, 2, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((0, 0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 1, 2)),
            jump_seconds=(4, 23.5, 43.5),
        ),
        max_age=chance.choice((None, None, timedelta(seconds=50), timedelta(seconds=150))),
    )


def old_sessions(chance: random.Random) -> Scenario:
    """Sessions reach their greatest age while users write."""
    turns = [_turn(chance, n, ["ann"], ["talk0"]) for n in range(1 + chance.choice((1, 2, 3)))]
    turns = [replace(turn, bags=chance.choice(("c", "c", "cu"))) for turn in turns]
    return Scenario(
        before=turns[:1],
        idle_seconds=chance.choice((43.5, 51, 63.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns[1:]],
        sweeps=_sweeps(chance, (1, 2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((1, 2)),
            jump_seconds=(4, 12, 23.5),
        ),
        max_age=timedelta(seconds=60),
    )


def short_timeout(chance: random.Random) -> Scenario:
    """A session is over before a crashed turn would be given up; its activity comes again."""
    turns = [_turn(chance, n, ["ann"], ["talk0", "talk1"]) for n in range(chance.choice((1, 3)))]
    turns = [replace(turn, bags="cu") for turn in turns]
    before = turns[1:2]
    later = [turn for turn in turns if turn not in before]
    later += _copies(chance, later, chance.choice((1, 2)))
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 18, 23.5)) if before else 0,
        turns=[(turn, chance.choice(PROCESSES)) for turn in later],
        sweeps=_sweeps(chance, (0, 1, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 1, 1)),
            jumps=chance.choice((1, 3)),
            jump_seconds=(3, 12, 23.5),
            # One that outlives a session would begin it again.
            late_seconds=3,
        ),
        expire_after=timedelta(seconds=20),
    )


def hooked(chance: random.Random) -> Scenario:
    """The author's code is told of each expiry, by a sweep or by a turn, and some are resumed."""
    acts: Sequence[Act] = ("word", "word", "click", "join", "reaction", "resume")
    turns = [_turn(chance, n, ["ann"], ["talk0"]) for n in range(1 + chance.choice((0, 1, 2, 3)))]
    turns[1:] = [replace(each, act=chance.choice(acts)) for each in turns[1:]]
    turns[1:] = [replace(each, counts=each.act != "reaction") for each in turns[1:]]
    return Scenario(
        before=turns[:1],
        idle_seconds=chance.choice((98.5, 103.5, 103.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns[1:]],
        sweeps=_sweeps(chance, (1, 2, 2)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((0, 0, 1)),
            crashes=chance.choice((0, 0, 1, 1)),
            jumps=chance.choice((0, 2)),
            jump_seconds=(12, 33, 61),
        ),
        hooked=True,
        resume_within=timedelta(seconds=chance.choice((0, 0, 40))),
    )


def resumed(chance: random.Random) -> Scenario:
    """Users resume what has expired, or write, while sweeps expire it and take it away."""
    bags = chance.choice(("c", "cp", "cp", "cup", "cup"))
    acts: Sequence[Act] = ("resume", "resume", "word", "word", "reaction", "join")
    turns = [replace(_turn(chance, n, ["ann"], ["talk0"]), bags=bags) for n in range(6)]
    turns = [
        replace(each, act=chance.choice(acts)) for each in turns[: chance.choice((2, 3, 4, 5))]
    ]
    turns = [replace(each, counts=each.act in ("resume", "word", "join")) for each in turns]
    turns[0] = replace(turns[0], act="word", counts=True)
    turns[1] = replace(turns[1], act="resume", counts=True)
    turns[1:] = [
        replace(each, ends=each.act == "word" and chance.random() < 0.1) for each in turns[1:]
    ]
    within = chance.choice((40, 40, 150, 400))
    return Scenario(
        before=turns[:1],
        idle_seconds=chance.choice((90, 98.5, 103.5, 103.5, 103.5)),
        kept_seconds=chance.choice((None, None, 0, within - 6, within + 1, within + 57)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns[1:]],
        sweeps=_sweeps(chance, (1, 2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((0, 0, 0, 1)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 2, 4)),
            jump_seconds=(4, chance.choice((12, 33)), chance.choice((61, 103.5))),
            edges=chance.random() < 0.5,
            holds=chance.random() < 0.2,
        ),
        resume_within=timedelta(seconds=within),
        max_age=chance.choice((None, None, None, timedelta(seconds=150))),
    )


def resumed_as_it_is_given_up(chance: random.Random) -> Scenario:
    """A notice fails for good at the moment when its user resumes the session."""
    turn = replace(_turn(chance, 1, ["ann"], ["talk0"]), act="resume")
    return Scenario(
        before=[_turn(chance, 0, ["ann"], ["talk0"])],
        idle_seconds=103.5,
        turns=[(turn, chance.choice(PROCESSES))],
        sweeps=_sweeps(chance, (1,)),
        skews={},
        limits=Limits(refusals=1),
        resume_within=timedelta(seconds=400),
    )


def resumed_for_long(chance: random.Random) -> Scenario:
    """A turn that resumes a session from beside another takes longer than that is kept."""
    turns = [replace(_turn(chance, n, ["ann"], ["talk0"]), bags="cp") for n in range(4)]
    turns[2] = replace(turns[2], act="resume")
    return Scenario(
        before=turns[:1],
        idle_seconds=103.5,
        kept_seconds=20,
        turns=list(zip(turns[1:], ("P0", "P1", "P0"), strict=True)),
        sweeps=PROCESSES[2:],
        skews={},
        # Once that has passed, the kept session is over, and the one beside it is not.
        limits=Limits(jumps=1, jump_seconds=(85,), jump_weight=8),
        resume_within=timedelta(seconds=40),
    )


def old_notices(chance: random.Random) -> Scenario:
    """Sweeps come late, or notices fail: some are too old by then, by one of two rules."""
    age, within = chance.choice(((60, None), (None, EXPIRE_AFTER + timedelta(seconds=60))))
    talks = ["talk0", "talk1"][: chance.choice((1, 2))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(talks)]
    after = [_turn(chance, n, ["ann"], talks) for n in range(2, chance.choice((2, 3)))]
    return Scenario(
        before=before,
        idle_seconds=chance.choice((103.5, 155, 165, 400)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (1, 2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1)),
            refusals=chance.choice((0, 1, 2)),
            crashes=chance.choice((0, 0, 1)),
            jumps=3,
            jump_seconds=(12, 33, 61),
            holds=chance.random() < 0.3,
        ),
        max_notice_age_seconds=age,
        notify_within=within,
    )


def fanned_out(chance: random.Random) -> Scenario:
    """Sweeps have no time to finish, and hand over; messages are lost, late and doubled."""
    talks = ["talk0", "talk1", "talk2"][: chance.choice((1, 2, 3))]
    before = [_turn(chance, n, ["ann"], [talk]) for n, talk in enumerate(talks)]
    after = [_turn(chance, n, ["ann"], talks) for n in range(3, chance.choice((3, 4)))]
    return Scenario(
        before=before,
        idle_seconds=103.5,
        turns=[(turn, chance.choice(PROCESSES)) for turn in after],
        sweeps=_sweeps(chance, (1, 2)),
        readers=_sweeps(chance, (1, 2, 3)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 1, 2)),
            crashes=chance.choice((0, 1, 1)),
            jumps=3,
            jump_seconds=(12, 33, 61),
        ),
    )


def bots_own_turns(chance: random.Random) -> Scenario:
    """Turns that no user began change user state as their session ends."""
    acts: Sequence[Act] = ("join", "join", "word", "click", "reaction")
    turns = [replace(_turn(chance, n, ["ann"], ["talk0"]), bags="cu") for n in range(4)]
    turns = [replace(turn, act=chance.choice(acts)) for turn in turns]
    later = turns[1 : chance.choice((2, 3, 4))]
    return Scenario(
        before=turns[:1],
        idle_seconds=chance.choice((90, 98.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in later],
        sweeps=_sweeps(chance, (0, 1, 1)),
        skews={},
        limits=Limits(
            crashes=chance.choice((0, 1)),
            jumps=2,
            jump_seconds=(3, 12),
            edges=True,
        ),
    )


def erased_and_back(chance: random.Random) -> Scenario:
    """Sweeps help with an erasure, or write a dead letter of it; its user goes on."""
    turns = [replace(_turn(chance, n, ["ann"], ["talk0"]), bags="cu") for n in range(2)]
    before = turns[: chance.choice((0, 1))]
    return Scenario(
        before=before,
        idle_seconds=chance.choice((0, 103.5)) if before else 0,
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns[len(before) :]],
        sweeps=_sweeps(chance, (1, 2)),
        erasures=[(chance.choice(PROCESSES), "ann")],
        skews={},
        limits=Limits(refusals=chance.choice((0, 1)), jumps=2, jump_seconds=(3,), jump_weight=4),
    )


def replayed_as_the_user_returns(chance: random.Random) -> Scenario:
    """A dead letter is made due again at the moment when its user writes."""
    return Scenario(
        before=[_turn(chance, 0, ["ann"], ["talk0"])],
        idle_seconds=103.5,
        turns=[(_turn(chance, 1, ["ann"], ["talk0"]), chance.choice(PROCESSES))],
        sweeps=_sweeps(chance, (1,)),
        replays=_sweeps(chance, (1, 2)),
        skews={},
        limits=Limits(refusals=1),
    )


def kept_ids(chance: random.Random) -> Scenario:
    """The bot keeps the ids of its answers; processes meet, die, and lose what they ask for."""
    talks = ["talk0", "talk1"][: chance.choice((1, 1, 2))]
    turns = [replace(_turn(chance, n, ["ann"], talks), keeps=True) for n in range(4)]
    turns += _copies(chance, turns, chance.choice((0, 0, 1)))
    return Scenario(
        before=turns[:1],
        idle_seconds=chance.choice((0, 0, 99, 103.5)),
        turns=[(turn, chance.choice(PROCESSES)) for turn in turns[1:]],
        sweeps=_sweeps(chance, (0, 1)),
        skews={},
        limits=Limits(
            faults=chance.choice((0, 0, 1, 2)),
            crashes=chance.choice((0, 0, 1)),
            jumps=chance.choice((0, 0, 2)),
            jump_seconds=(12.1, 103.5),
            edges=chance.random() < 0.5,
        ),
    )


KINDS: Sequence[Kind] = (
    anything,
    messages_at_expiry,
    slow_sweeps,
    user_returns,
    writes_in_doubt,
    copies,
    long_turns,
    changed_timeout,
    paced_notices,
    dead_letters,
    no_words,
    ended,
    changed_timeout_of_users,
    short_timeout,
    two_types,
    warnings,
    quiet_hours,
    own_timing,
    old_sessions,
    resumed,
    old_notices,
    fanned_out,
    kept_ids,
)
# State in Cosmos DB is erased by documents, of which the container here has no index. And a hook is
# not asked about a document that has outlived its time.
ONLY_IN_TABLES: Sequence[Kind] = (erasures, hooked)
# What `anything` and the others show once in some hundred thousand seeds.
RARE: Sequence[Kind] = (
    bots_own_turns,
    erased_and_back,
    replayed_as_the_user_returns,
    resumed_as_it_is_given_up,
    resumed_for_long,
)
PROCESSES = ("P0", "P1", "P2")


def _turn(
    chance: random.Random, number: int, users: Sequence[str], talks: Sequence[str]
) -> TurnSpec:
    bags = chance.choice(("c", "cu", "cp", "cup", "cup"))
    return TurnSpec(f"turn{number}", chance.choice(users), chance.choice(talks), bags)


def _copies(chance: random.Random, turns: Sequence[TurnSpec], count: int) -> list[TurnSpec]:
    """The activities of some of these turns, sent again."""
    copied = [chance.choice(turns) for _ in range(count)]
    return [
        replace(turn, name=f"{turn.name}-again{number}", copy_of=turn.name)
        for number, turn in enumerate(copied, 1)
    ]


def _sweeps(chance: random.Random, counts: Sequence[int]) -> list[str]:
    return [chance.choice(PROCESSES) for _ in range(chance.choice(counts))]


def _a_day(chance: random.Random) -> tuple[float, ...]:
    """Now and then, long enough for a notice to become a dead letter."""
    return (90_000,) if chance.random() < 0.05 else ()


def _small(
    turns: int, sweeps: int, *, idle_seconds: float = 103.5, bags: str = "c", **limits: Any
) -> Scenario:
    """Turns and sweeps of one conversation, each in a process of its own."""
    return Scenario(
        before=[TurnSpec("turn0", "ann", "talk0", bags)],
        idle_seconds=idle_seconds,
        turns=[(TurnSpec(f"turn{n}", "ann", "talk0", bags), f"T{n}") for n in range(1, turns + 1)],
        sweeps=[f"S{n}" for n in range(1, sweeps + 1)],
        skews=dict.fromkeys(
            [
                "P0",
                *(f"T{n}" for n in range(1, turns + 1)),
                *(f"S{n}" for n in range(1, sweeps + 1)),
            ],
            0.0,
        ),
        limits=Limits(**limits),
    )


def _with_copy(small: Scenario) -> Scenario:
    """With the activity of its one turn delivered once more, to another process."""
    ((turn, _),) = small.turns
    again = replace(turn, name="turn1-again", copy_of=turn.name)
    return replace(small, turns=[*small.turns, (again, "T2")], skews={**small.skews, "T2": 0.0})


def _two_and_room_for_one(turns: int, **limits: Any) -> Scenario:
    """Two conversations are due, and in this sweep the channel takes one notice only."""
    other = TurnSpec("turn0b", "ann", "talk1", "c")
    one = _small(turns, 1, **limits)
    return replace(one, before=[*one.before, other], notices_at_most=(1, 100), budget_seconds=50)


def _with_resume(small: Scenario, **changes: Any) -> Scenario:
    """The same, but its first turn resumes what has expired."""
    (first, process), *others = small.turns
    turns = [(replace(first, act="resume"), process), *others]
    within = timedelta(seconds=40)
    return replace(small, turns=turns, resume_within=within, **changes)


# Small enough to take every choice within seconds.
SMALL = {
    "a late message and a sweep": _small(1, 1),
    "a late message, a sweep, a crash": _small(1, 1, crashes=1),
    "a message in time, a sweep, 3.5 s": _small(
        1, 1, idle_seconds=99, jumps=1, jump_seconds=(3.5,)
    ),
    "a sweep with room for one notice of two": _two_and_room_for_one(0),
    "a resume and a sweep": _with_resume(_small(1, 1, bags="cp")),
    "a resume and the end of its time": _with_resume(
        _small(1, 1, bags="cp", jumps=1, jump_seconds=(65,)), kept_seconds=38
    ),
    "two sweeps": _small(0, 2),
    "two sweeps, a crash": _small(0, 2, crashes=1),
    "a message twice": _with_copy(_small(1, 0, idle_seconds=10)),
    "a message twice, a crash, 13 s": _with_copy(
        _small(1, 0, idle_seconds=10, crashes=1, jumps=1, jump_seconds=(13,))
    ),
}
# These take minutes to hours.
LARGER = {
    "a late message, a sweep with room for one notice of two": _two_and_room_for_one(1),
    "a sweep with room for one notice of two, a crash": _two_and_room_for_one(0, crashes=1),
    "a late message twice and a sweep": _with_copy(_small(1, 1)),
    "a message twice, a crash, 13 s, user state": _with_copy(
        _small(1, 0, idle_seconds=10, bags="cu", crashes=1, jumps=1, jump_seconds=(13,))
    ),
    "two sweeps, the lease over": _small(0, 2, jumps=1, jump_seconds=(61,)),
    "a late message, a sweep, a fault": _small(1, 1, faults=1),
    "a resume, a message, a sweep": _with_resume(_small(2, 1)),
    "a resume, a message, two sweeps, a crash": _with_resume(_small(2, 2, crashes=1)),
    "two messages, user state": _small(2, 0, idle_seconds=10, bags="cu"),
    "a late message and two sweeps": _small(1, 2),
    "two late messages and a sweep": _small(2, 1),
}
