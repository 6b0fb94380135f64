"""Twenty kills of the host under load, Azurite restarted in between: nothing lost or doubled."""

import asyncio
import json
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import ClientError

from scripts import azurite, processes
from shared.storage.tables import Tables
from tests.e2e import ledger_bot
from tests.e2e.running_bot import NEVER, RunningBot, StoredRows, User, running_bot, settings_on
from tests.fake_channel import Answer, FakeChannel

logger = logging.getLogger(__name__)

KILLS = 20
AZURITE_RESTARTS = (4, 9, 14)  # before which of the kills
USERS = 30
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


@dataclass
class Faults:
    """When something was killed or away, in seconds of the monotonic clock."""

    times: list[tuple[float, float]] = field(default_factory=list)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self.times.append((began, time.monotonic()))

    def between(self, first: float, second: float) -> bool:
        return any(began <= second and first <= ended for began, ended in self.times)


def notices(channel: FakeChannel) -> dict[str, list[float]]:
    """When each expired session was told so."""
    told = defaultdict(list)
    for request in channel.requests:
        data: Any = request.body and request.body.get("channelData")
        if data:
            told[data["expiredSession"]].append(request.at)
    return told


class Emulator:
    """An Azurite of this test's own, to be stopped and started."""

    def __init__(self, data: Path) -> None:
        data.mkdir()
        self._data = data
        self._first_port = azurite.free_ports()
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
        self._folder = folder

    @asynccontextmanager
    async def host(self, *, schedule: str) -> AsyncIterator[RunningBot]:
        async with running_bot(
            self.settings | {"ExpirySchedule": schedule},
            self._folder,
            changes=ledger_bot.INSTEAD_OF_THE_SAMPLE,
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
                    await asyncio.sleep(chance.uniform(0.1, 1))
                    if kill in AZURITE_RESTARTS:
                        async with self.faults.one():
                            await self.emulator.restart()
                        await asyncio.sleep(chance.uniform(0.1, 1))
                    async with self.faults.one():
                        bot.kill()
            async with self.host(schedule=EACH_SECOND):
                for writer in self.writers:
                    writer.stopping.set()
                await asyncio.wait(writing)

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
            told = notices(channel)
    finally:
        await emulator.stop()
    repeated = [pair for times in told.values() for pair in pairwise(times)]
    logger.info("%d sessions told, %d times again", len(told), len(repeated))
    assert len(live) == USERS
    assert live <= told.keys()
    assert len(told) > USERS
    assert all(trial.faults.between(*pair) for pair in repeated), f"seed {seed}"
