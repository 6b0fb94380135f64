"""Requests and rows read by one sweep, counted: the due index beside a filter over the whole table.

A timer that runs every minute, conversations that expire after 30 idle minutes: each due row comes
up once in 30 runs. In the one that is counted 1 % of all conversations are idle, and the rest of
that 1/30 (2.3 %) belongs to people who have written since, whose rows the sweep files again.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benchmarks.report import note, progress, ratio, table
from shared.domain.conversation import Conversation
from shared.domain.identity import ConversationKey
from shared.domain.policy import Policy
from shared.domain.reference import Reference
from shared.domain.times import due_seconds
from shared.domain.timing import Timing
from shared.expiry.notice import NoticeResult, Verdict
from shared.expiry.report import SweepReport
from shared.expiry.sweep import Sweep
from shared.state.erasure import Erasure
from shared.storage.table_store import TableStore
from shared.storage.tables import Row
from tests.memory_table import MemoryTable

SIZES = (1_000, 10_000, 100_000)
SHARDS = 64
EXPIRE_AFTER = timedelta(minutes=30)
RUNS_PER_TIMEOUT = 30
IDLE_SHARE = 0.01
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RESULTS_PER_REQUEST = 1_000


async def fill(conversations: MemoryTable, size: int) -> None:
    """Store conversations as the turns would have left them."""
    store = TableStore(conversations, MemoryTable(), SHARDS)
    idle = int(size * IDLE_SHARE)
    due = size // RUNS_PER_TIMEOUT
    for number in range(size):
        # First the idle, then the touched whose due rows are overdue, then the rest.
        written = NOW - (EXPIRE_AFTER * 1.01 if number < idle else EXPIRE_AFTER / 2)
        filed = NOW - (EXPIRE_AFTER * 1.01 if number < due else EXPIRE_AFTER / 2)
        key = ConversationKey("test", f"conversation-{number}")
        await store.save(
            Conversation(
                address=store.address(key.hash),
                session=f"{number:016x}",
                last_accessed=written,
                readable_key=f"test|conversation-{number}",
                reference=Reference("test", "https://channel.example/", key.conversation_id),
                state=b"state",
            ),
            due=due_seconds(filed + EXPIRE_AFTER),
        )


async def sweep(conversations: MemoryTable) -> SweepReport:
    """One real sweep; its notices arrive at once."""

    async def deliver(_: Conversation) -> NoticeResult:
        return NoticeResult(Verdict.DELIVERED, 200)

    store = TableStore(conversations, MemoryTable(), SHARDS)
    return await Sweep(
        store,
        deliver,
        Erasure(store, lambda: NOW).finish,
        policy=Policy(Timing(EXPIRE_AFTER)),
        budget_seconds=600,
        now=lambda: NOW,
    ).run()


def without_due_rows(conversations: MemoryTable) -> MemoryTable:
    """The table as a design without a due index has it."""
    plain = MemoryTable()
    plain.rows = {at: row for at, row in conversations.rows.items() if row.key.startswith("c|")}
    return plain


def is_idle(now: datetime) -> Callable[[Row], bool]:
    return lambda row: row.columns["LastAccessed"] <= now - EXPIRE_AFTER


async def _count() -> None:
    rows: list[list[object]] = []
    for size in SIZES:
        progress(f"  {size:,} conversations")
        conversations = MemoryTable()
        await fill(conversations, size)
        plain = without_due_rows(conversations)
        idle = plain.scan(is_idle(NOW))
        # In the filter's favour: as few pages as its results need, though a page also ends after
        # five seconds and at each partition server; and one delete each, without a lease.
        finding = max(1, -(-len(idle) // RESULTS_PER_REQUEST))
        conversations.requests = conversations.rows_read = 0
        report = await sweep(conversations)
        assert report.expired == report.notified == len(idle), report
        assert report.expired + report.refiled == report.looked_at == size // RUNS_PER_TIMEOUT
        rows += [
            [f"* due index, {size:,}", conversations.rows_read, "", conversations.requests, ""],
            [
                f"  filter, {size:,}",
                plain.rows_read,
                ratio(plain.rows_read, conversations.rows_read),
                finding + len(idle),
                ratio(finding + len(idle), conversations.requests),
            ],
        ]
    table(
        f"One sweep, {IDLE_SHARE:.0%} of the conversations idle ({SHARDS} shards)",
        ("conversations", "rows read", "ratio", "requests", "ratio"),
        rows,
    )
    note("The due index's requests include those that lease, settle and file again.")
    note("The filter's are the fewest that find and delete; rows read are what limits it.")


if __name__ == "__main__":
    asyncio.run(_count())
