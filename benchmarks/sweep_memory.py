"""Peak memory of a sweep above what the process held before it, each in a process of its own.

100,000 due conversations in an in-memory table, and 5,000 on Azurite. Linux only: it reads /proc.
"""

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.report import note, progress, table
from scripts import azurite, processes
from shared.conversations import Conversation, ConversationKey
from shared.erasure import Erasure
from shared.storage.store import TableStore
from shared.storage.tables import Table, Tables
from shared.sweep import NoticeResult, Sweep, Verdict
from tests.memory_table import MemoryTable

SHARDS = 64
EXPIRE_AFTER = timedelta(minutes=30)
LONG_AGO = datetime(2026, 11, 20, tzinfo=UTC)
NOW = LONG_AGO + timedelta(days=2)
STATE = os.urandom(1500)
REFERENCE = {
    "channelId": "msteams",
    "serviceUrl": "https://smba.trafficmanager.net/emea/",
    "user": {"id": "29:1" + "u" * 80},
    "bot": {"id": "28:" + "b" * 36},
    "conversation": {"id": "a:1" + "c" * 120, "tenantId": "t" * 36},
}
SIZES = {"memory": 100_000, "azurite": 5_000}


def _kib(name: str) -> int:
    """A figure of this process, as the kernel has it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise KeyError(name)


async def _fill(store: TableStore, size: int) -> None:
    at_once = asyncio.Semaphore(16)

    async def add(number: int) -> None:
        key = ConversationKey("msteams", f"a:1{number}")
        async with at_once:
            session = Conversation.begun(key, key.address(SHARDS), LONG_AGO)
            await store.save(
                Conversation(
                    address=session.address,
                    session=session.session,
                    last_accessed=session.last_accessed + timedelta(seconds=number),
                    readable_key=session.readable_key,
                    reference=REFERENCE,
                    state=STATE,
                ),
                due=session.due(EXPIRE_AFTER) + number,
            )

    for start in range(0, size, 1000):
        await asyncio.gather(*(add(number) for number in range(start, start + 1000)))


async def _deliver(_: Conversation) -> NoticeResult:
    return NoticeResult(Verdict.DELIVERED, 200)


def _begin() -> int:
    """What the process holds now, in KiB; its peak counts from here on."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _kib("VmRSS")


async def _sweep(conversations: Table, users: Table, size: int) -> None:
    store = TableStore(conversations, users, SHARDS)
    await _fill(store, size)
    idle = _begin()
    report = await Sweep(
        store,
        _deliver,
        Erasure(store, SHARDS, lambda: NOW).finish,
        expire_after=EXPIRE_AFTER,
        budget_seconds=3600,
        now=lambda: NOW,
    ).run()
    assert report.expired == report.notified == size, report
    print(idle, _kib("VmHWM"), report.seconds)


async def _child(kind: str, storage: str) -> None:
    if kind == "memory":
        await _sweep(MemoryTable(), MemoryTable(), SIZES[kind])
        return
    async with Tables(connection_string=storage) as tables:
        await tables.create("conversations", "users")
        await _sweep(tables.table("conversations"), tables.table("users"), SIZES[kind])


def _measured(kind: str, storage: str = "") -> list[object]:
    progress(f"  {SIZES[kind]:,} on {kind}")
    command = [sys.executable, "-m", "benchmarks.sweep_memory", kind, storage]
    done = subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=True)
    idle, peak, seconds = (float(figure) for figure in done.stdout.split())
    size = f"* {SIZES[kind]:,} due, {kind}"
    return [size, idle / 1024, peak / 1024, (peak - idle) / 1024, seconds]


def _measure() -> None:
    rows = [_measured("memory")]
    with tempfile.TemporaryDirectory() as folder:
        first_port = azurite.free_ports()
        emulator = azurite.start(Path(folder), first_port)
        try:
            rows.append(_measured("azurite", azurite.connection_string(first_port)))
        finally:
            processes.stop(emulator)
    table(
        "Memory of one sweep (MiB)",
        ("", "before", "peak", "difference", "seconds"),
        rows,
    )
    note("Before: with the tables in it, where they are in memory.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_child(*sys.argv[1:]))
    else:
        _measure()
