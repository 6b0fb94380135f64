"""Peak memory of a sweep above what the process held before it, each in a process of its own.

100,000 due conversations in an in-memory table; the same at Teams' pace in four tenants, for as
long as a sweep may take; and 5,000 on Azurite. Linux only: it reads /proc.
"""

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.report import note, progress, table
from scripts import azurite, processes
from shared.connector.client import Connector
from shared.connector.credentials import TokenSource
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import read_limits
from shared.connector.notices import NoticeSender
from shared.connector.service_urls import ServiceUrls
from shared.domain.conversation import Conversation
from shared.domain.identity import ConversationKey
from shared.domain.policy import Policy
from shared.domain.reference import Account, Reference
from shared.domain.timing import Timing
from shared.expiry.notice import NoticeResult, Pace, Verdict
from shared.expiry.sweep import Sweep
from shared.settings.sending import SendingSettings
from shared.state.erasure import Erasure
from shared.storage.table_account import Tables
from shared.storage.table_store import TableStore
from shared.storage.tables import Table
from tests.memory_table import MemoryTable
from tests.ports import free_ports

SHARDS = 64
EXPIRE_AFTER = timedelta(minutes=30)
LONG_AGO = datetime(2026, 11, 20, tzinfo=UTC)
NOW = LONG_AGO + timedelta(days=2)
STATE = os.urandom(1500)
REFERENCE = Reference(
    channel="msteams",
    service_url="https://smba.trafficmanager.net/emea/",
    conversation_id="a:1",
    user=Account("29:1" + "u" * 80),
    bot=Account("28:" + "b" * 36),
)
TENANTS = 4
SIZES = {"memory": 100_000, "paced": 100_000, "azurite": 5_000}
PACED_BUDGET_SECONDS = 45


def kib(name: str) -> int:
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
            session = Conversation.begun(key, store.address(key.hash), LONG_AGO)
            await store.save(
                Conversation(
                    address=session.address,
                    session=session.session,
                    last_accessed=session.last_accessed + timedelta(seconds=number),
                    readable_key=session.readable_key,
                    reference=replace(
                        REFERENCE,
                        conversation_id=f"a:1{number:0120}",
                        tenant=f"{number % TENANTS:036}",
                    ),
                    state=STATE,
                ),
                due=session.due(Timing(EXPIRE_AFTER)) + number,
            )

    for start in range(0, size, 1000):
        await asyncio.gather(*(add(number) for number in range(start, start + 1000)))


async def _deliver(_: Conversation) -> NoticeResult:
    return NoticeResult(Verdict.DELIVERED, 200)


def begin_peak() -> int:
    """What the process holds now, in KiB; its peak counts from here on."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return kib("VmRSS")


def _teams_pace() -> Pace:
    limits = read_limits(SendingSettings())
    return NoticeSender(Connector(TokenSource(app_id="")), ServiceUrls(), SendingLimits(limits))


async def _sweep(conversations: Table, users: Table, kind: str) -> None:
    store, is_paced = TableStore(conversations, users, SHARDS), kind == "paced"
    await _fill(store, SIZES[kind])
    idle = begin_peak()
    report = await Sweep(
        store,
        _deliver,
        Erasure(store, lambda: NOW).finish,
        policy=Policy(Timing(EXPIRE_AFTER)),
        budget_seconds=PACED_BUDGET_SECONDS if is_paced else 3600,
        pace=_teams_pace() if is_paced else None,
        now=lambda: NOW,
    ).run()
    assert report.expired == report.notified + report.told_later, report
    assert is_paced or report.notified == SIZES[kind], report
    print(idle, kib("VmHWM"), report.seconds, report.expired, report.notified)


async def _child(kind: str, storage: str) -> None:
    if kind == "azurite":
        async with Tables(connection_string=storage) as tables:
            await tables.create("conversations", "users")
            await _sweep(tables.table("conversations"), tables.table("users"), kind)
    else:
        await _sweep(MemoryTable(), MemoryTable(), kind)


def _measured(kind: str, storage: str = "") -> list[object]:
    progress(f"  {SIZES[kind]:,} on {kind}")
    command = [sys.executable, "-m", "benchmarks.expiry.sweep_memory", kind, storage]
    done = subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=True)
    idle, peak, seconds, *counts = (float(figure) for figure in done.stdout.split())
    size = f"* {SIZES[kind]:,} due, {kind}"
    return [size, idle / 1024, peak / 1024, (peak - idle) / 1024, seconds, *map(int, counts)]


def _measure() -> None:
    rows = [_measured("memory"), _measured("paced")]
    with tempfile.TemporaryDirectory() as folder:
        first_port = free_ports(3)
        emulator = azurite.start(Path(folder), first_port)
        try:
            rows.append(_measured("azurite", azurite.connection_string(first_port)))
        finally:
            processes.stop(emulator)
    table(
        "Memory of one sweep (MiB)",
        ("", "before", "peak", "difference", "seconds", "expired", "notified"),
        rows,
    )
    note(
        "Before: with the tables in it, where they are in memory. Paced: by Teams' limits, in four"
    )
    note(f"tenants, until {PACED_BUDGET_SECONDS} s are over; the rest is for later sweeps.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_child(*sys.argv[1:]))
    else:
        _measure()
