"""Twenty kills of the host under load, Azurite restarted in between: nothing lost or doubled."""

import asyncio
import json
import logging
import math
import random
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientError

from scripts import azurite, processes
from shared.storage.table_account import Tables
from tests.bots import ledger_bot
from tests.e2e.running_bot import (
    EXPIRED,
    NEVER,
    RunningBot,
    StoredRows,
    User,
    running_bot,
    settings_on,
)
from tests.fake_channel import Answer, FakeChannel
from tests.ports import free_ports

logger = logging.getLogger(__name__)

KILLS = 20
AZURITE_RESTARTS = (4, 9, 14)  # before which of the kills
USERS = 30
PASSERS_BY = 12  # after each start of the host, who write once and never again
EACH_SECOND = "* * * * * *"
# Longer than a host and Azurite take to come back: what a user's row says of a turn that was killed
# between its two writes is certain only until its session would be over (docs/guarantees.md).
EXPIRE_AFTER_SECONDS = 20
IDLE_SECONDS = EXPIRE_AFTER_SECONDS + 4  # and the sweep's two for clocks, and its second
LONG_ENOUGH = 700  # seconds: longer than the timeout, and than the lease of a claim


@dataclass
class Writer:
    """A user who writes 1, 2, 3 ..., each until it is known to be noted."""

    user: User
    chance: random.Random
    written: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self) -> None:
        while not self.stopping.is_set():
            await self._note(self.written + 1)
            self.written += 1
            pause = IDLE_SECONDS if self.chance.random() < 0.4 else self.chance.uniform(0, 0.5)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause)

    async def numbers(self) -> list[int]:
        """What the bot says that it has noted."""
        while True:
            for text in await self._hear("?"):
                with suppress(ValueError):
                    numbers: list[int] = json.loads(text)
                    return numbers

    async def _note(self, number: int) -> None:
        while True:
            heard = await self._hear(str(number))
            if f"noted {number}" in heard:
                return
            # It was the first of a session, or whoever took it was killed before answering.
            if ledger_bot.WELCOME not in heard and number in await self.numbers():
                return

    async def _hear(self, text: str) -> list[str]:
        """Write, as a channel does: again and again until somebody says that it was taken."""
        activity = {"text": text, "id": uuid4().hex}
        before = len(self.user.heard)
        while True:
            # Whose process is killed meanwhile, and whose connections are closed then.
            with suppress(ClientError, RuntimeError, TimeoutError, OSError):
                if await self.user.send(**activity) == 200:
                    return self.user.heard[before:]
            await asyncio.sleep(0.05)


# Each host says when its sweeps end, by the clock that the fake channel's record has. It runs one
# sweep at a time, and a sweep ends only when all its notices are settled.
SAYS_WHEN_SWEEPS_END = """
import time
from shared.expiry.sweep import Sweep
run = Sweep.run
async def run_and_say_when(self):
    report = await run(self)
    print(f"sweep ended at {time.monotonic()}", flush=True)
    return report
Sweep.run = run_and_say_when
"""


@dataclass
class Faults:
    """When something was killed or away, in seconds of the monotonic clock."""

    times: list[tuple[float, float]] = field(default_factory=list)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        # On a busy machine the channel takes what was sent before only now.
        for _ in range(20):
            await asyncio.sleep(0.01)
        self.times.append((began, time.monotonic()))

    def next_after(self, moment: float) -> float:
        """When the fault began that comes first after the moment, or lasts then."""
        return next((began for began, ended in self.times if ended >= moment), math.inf)


def sweep_ends(folder: Path) -> list[float]:
    """When sweeps ended, of all hosts whose log is in the folder."""
    logs = [log.read_text(errors="replace") for log in folder.glob("*.log")]
    return [float(at) for log in logs for at in re.findall(r"sweep ended at ([\d.]+)", log)]


Times = dict[tuple[str, str], list[float]]


def told(channel: FakeChannel) -> Times:
    """When each expired session was told so."""
    times: Times = defaultdict(list)
    for request in channel.requests:
        data: Any = request.body and request.body.get("channelData")
        if data:
            times[data["expiredSession"], ""].append(request.at)
    return times


def answered(channel: FakeChannel) -> Times:
    """When each activity was answered with each text."""
    times: Times = defaultdict(list)
    for request in channel.requests:
        if request.body and request.body.get("replyToId"):
            times[request.body["replyToId"], request.body["text"]].append(request.at)
    return times


def repeated(times: Times) -> list[tuple[float, float]]:
    return [pair for each in times.values() for pair in pairwise(each)]


class Emulator:
    """An Azurite of this test's own, to be stopped and started."""

    def __init__(self, data: Path) -> None:
        data.mkdir()
        self._data = data
        self._first_port = free_ports(3)
        self._process = azurite.start(data, self._first_port)
        self.connection_string = azurite.connection_string(self._first_port)

    async def stop(self) -> None:
        """With SIGTERM, which loses nothing."""
        await asyncio.to_thread(processes.stop, self._process)

    async def restart(self) -> None:
        await self.stop()
        self._process = azurite.start(self._data, self._first_port)


class Trial:
    """A channel, an emulator and users who write, while hosts come and go."""

    def __init__(self, channel: FakeChannel, emulator: Emulator, folder: Path) -> None:
        self.channel = channel
        self.emulator = emulator
        self.settings = settings_on(
            emulator.connection_string, ExpireAfterSeconds=str(EXPIRE_AFTER_SECONDS)
        )
        self.faults = Faults()
        self.writers: list[Writer] = []
        self.passers_by: list[User] = []
        self._folder = folder

    @asynccontextmanager
    async def host(self, *, schedule: str) -> AsyncIterator[RunningBot]:
        async with running_bot(
            self.settings | {"ExpirySchedule": schedule},
            self._folder,
            bot=ledger_bot,
            changes=SAYS_WHEN_SWEEPS_END,
            may_fail=True,
        ) as bot:
            for writer in self.writers:
                writer.user.bot = bot
            yield bot

    async def run(self, chance: random.Random) -> None:
        """Kill the host twenty times while everybody writes; then let them finish."""
        async with asyncio.TaskGroup() as load:
            writing: list[asyncio.Task[None]] = []
            for kill in range(KILLS):
                async with self.host(schedule=EACH_SECOND) as bot:
                    if not self.writers:
                        self.writers = [
                            Writer(User(bot, self.channel), chance) for _ in range(USERS)
                        ]
                        writing = [load.create_task(each.write()) for each in self.writers]
                    await self._pass_by(bot)
                    await asyncio.sleep(chance.uniform(0.1, 1))
                    if kill in AZURITE_RESTARTS:
                        async with self.faults.one():
                            await self.emulator.restart()
                        await asyncio.sleep(chance.uniform(0.1, 1))
                    async with self.faults.one():
                        bot.kill()
            async with AsyncExitStack() as last:
                await last.enter_async_context(self.host(schedule=EACH_SECOND))
                for writer in self.writers:
                    writer.stopping.set()
                await asyncio.wait(writing)
                # A sweep that takes longer than the host waits at its end is interrupted, too.
                async with self.faults.one():
                    await last.aclose()

    async def _pass_by(self, bot: RunningBot) -> None:
        """Conversations that expire while hosts come and go; their notices take long."""
        users = [User(bot, self.channel) for _ in range(PASSERS_BY)]
        assert set(await asyncio.gather(*(user.send("hello") for user in users))) == {200}
        slow = [Answer(201, {"id": "1"}, delay_seconds=0.5)]
        self.channel.answers.update((user.conversation, slow) for user in users)
        self.passers_by += users

    async def come_to_rest(self) -> set[str]:
        """Ask what was noted, and let everything expire; returns the sessions that were live."""
        async with (
            self.host(schedule=NEVER) as bot,
            Tables(connection_string=self.emulator.connection_string) as tables,
        ):
            for writer in self.writers:
                numbers = await writer.numbers()
                assert numbers == [*range(1, writer.written + 1)], str(numbers)
            rows = StoredRows(tables, self.settings)
            live = await rows.sessions()
            await rows.let_time_pass(seconds=LONG_ENOUGH)
            await bot.sweep()
            assert await rows.keys() == []
            return live


@pytest.mark.timeout(600)  # a busy machine takes twice as long as another
async def test_under_load_twenty_kills_lose_nothing_and_repeat_only_what_they_interrupted(
    tmp_path: Path,
) -> None:
    seed = random.randrange(1_000_000)
    logger.info("seed %d", seed)
    emulator = Emulator(tmp_path / "azurite")
    try:
        async with FakeChannel() as channel:
            # Slow enough for a kill to fall between a reply or a notice and its acknowledgement.
            channel.default_answers = [Answer(201, {"id": "1"}, delay_seconds=0.1)]
            trial = Trial(channel, emulator, tmp_path)
            await trial.run(random.Random(seed))
            live = await trial.come_to_rest()
            notices, answers = told(channel), answered(channel)
    finally:
        await emulator.stop()
    logger.info("%d sessions told, %d times again", len(notices), len(repeated(notices)))
    logger.info("%d answers, %d times again", len(answers), len(repeated(answers)))
    assert len(live) >= USERS
    assert live <= {session for session, _ in notices}
    assert all(EXPIRED in user.heard[-1] for user in trial.passers_by)
    assert len(notices) >= len(trial.passers_by) + USERS
    assert len(answers) > sum(writer.written for writer in trial.writers)
    for first, second in (*repeated(notices), *repeated(answers)):
        assert trial.faults.next_after(first) < second, f"seed {seed}: twice, for no fault"
    ends = sweep_ends(tmp_path)
    assert ends
    for first, _ in repeated(notices):
        # The fault came before it was settled: the sweep that sent it had not ended.
        fault = trial.faults.next_after(first)
        assert not any(first <= end < fault for end in ends), f"seed {seed}: twice, though settled"
