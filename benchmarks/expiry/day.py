"""A day of a million conversations in virtual time: requests per message and expiry, and lateness.

Shards do not know of each other, so one of 256 is run in full, 3,906 conversations with the real
turn and the real sweep, and stands for the others. `python -m benchmarks.expiry.day 100000` takes
another number of conversations.
"""

import asyncio
import heapq
import math
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benchmarks.report import note, progress, table
from benchmarks.turn.requests import CHANNEL, EXPIRE_AFTER, OurBot
from shared.domain.conversation import Conversation
from shared.domain.identity import ConversationKey, address_of
from shared.domain.policy import Policy
from shared.domain.timing import Timing
from shared.expiry.notice import NoticeResult, Verdict
from shared.expiry.report import SweepReport
from shared.expiry.sweep import Sweep
from shared.state.erasure import Erasure
from shared.storage.observed_table import ObservedTable
from shared.storage.table_store import TableStore
from tests.memory_table import MemoryTable

SHARDS = 256
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
DAY_SECONDS = 86_400
SWEEP_EVERY_SECONDS = 60
SESSIONS = 2  # of a conversation in that day
MESSAGES = 5  # of a session, on average
GAP_SECONDS = 90  # between two messages of a session, on average


def _messages(conversation: int, chance: random.Random) -> Iterator[tuple[float, int]]:
    """When one conversation's user writes: seconds of the day, most of them in the afternoon."""
    for _ in range(SESSIONS):
        while True:  # rejection: the rate at noon is three times that at midnight
            at = chance.uniform(0, DAY_SECONDS)
            if chance.random() < (2 - math.cos(2 * math.pi * at / DAY_SECONDS)) / 3:
                break
        while at < DAY_SECONDS:
            yield at, conversation
            if chance.random() < 1 / MESSAGES:
                break
            at += chance.expovariate(1 / GAP_SECONDS)


class _Day:
    """One shard's day; counts as it goes."""

    def __init__(self, conversations: int) -> None:
        self._rows, self._users = MemoryTable(), MemoryTable()
        self._bot = OurBot(self._rows, self._users, SHARDS)
        self.names = _names_in_first_shard(conversations)
        self.messages = self.turn_requests = 0
        self.sweeps = self.sweep_requests = self.looked_at = self.expired = self.refiled = 0
        self.lateness: list[float] = []

    async def run(self) -> None:
        chance = random.Random(1)
        # A user's sessions may overlap: then they are one.
        users = [sorted(_messages(number, chance)) for number in range(len(self.names))]
        next_sweep = SWEEP_EVERY_SECONDS
        for at, conversation in heapq.merge(*users):
            while next_sweep <= at:
                await self._sweep(next_sweep)
                next_sweep += SWEEP_EVERY_SECONDS
            self._bot.clock.time = MIDNIGHT + timedelta(seconds=at)
            self.turn_requests += await self._bot.take("hi", self.names[conversation], 0)
            self.messages += 1
        while self._rows.rows:
            await self._sweep(next_sweep)
            next_sweep += SWEEP_EVERY_SECONDS

    async def _sweep(self, at_seconds: int) -> None:
        if at_seconds % 7200 == 0:
            progress(f"  {at_seconds // 3600}:00")
        now = MIDNIGHT + timedelta(seconds=at_seconds)
        conversations, users = ObservedTable(self._rows), ObservedTable(self._users)
        store = TableStore(conversations, users, SHARDS)
        report = await Sweep(
            store,
            _deliver,
            Erasure(store, lambda: now).finish,
            policy=Policy(Timing(EXPIRE_AFTER)),
            budget_seconds=600,
            now=lambda: now,
            shards=["s000"],
        ).run()
        assert not report.failed, report
        self.sweeps += 1
        self.sweep_requests += conversations.requests + users.requests
        self.looked_at += report.looked_at
        self.expired += report.expired
        self.refiled += report.refiled
        self.lateness += report.lateness_seconds


def _names_in_first_shard(conversations: int) -> list[str]:
    names = (str(number) for number in range(conversations))
    hashes = ((name, ConversationKey(CHANNEL, name).hash) for name in names)
    return [name for name, key in hashes if address_of(key, SHARDS).shard == "s000"]


async def _deliver(_: Conversation) -> NoticeResult:
    return NoticeResult(Verdict.DELIVERED, 200)


async def _measure(conversations: int) -> None:
    day = _Day(conversations)
    await day.run()
    lateness = SweepReport(lateness_seconds=day.lateness)
    queries = day.sweeps  # one range query each, which finds most minutes empty
    work = day.sweep_requests - queries
    table(
        f"A day of {conversations:,} conversations (virtual time; {len(day.names):,} of them run,"
        f" one shard of {SHARDS})",
        ("", "in all", "for each"),
        [
            ["* messages", day.messages * SHARDS, ""],
            ["    storage requests", day.turn_requests * SHARDS, day.turn_requests / day.messages],
            ["* expiries", day.expired * SHARDS, ""],
            ["    storage requests", work * SHARDS, work / day.expired],
            ["    rows looked at and filed again", day.refiled * SHARDS, day.refiled / day.expired],
            ["* sweeps", day.sweeps, ""],
            [f"    range queries, {SHARDS} shards", queries * SHARDS, float(SHARDS)],
            ["* lateness p50, seconds", lateness.lateness(50), ""],
            ["  lateness p99, seconds", lateness.lateness(99), ""],
        ],
    )
    note("An expiry's requests: read, claim, settle, its user's list, and a part for its due row.")


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
