"""Many notices at once, at the pace that the channel permits, while somebody chats.

Due conversations of four Teams tenants in an in-memory table, one real sweep, over TLS to the fake
channel in a process of its own, which takes 50 requests a second from each tenant and answers 429
above that. Then the same with a channel that never answers a tenth of the requests. Linux only: it
reads /proc.

`python -m benchmarks.connector.sending_at_limit 2000` sends another number of notices than 20,000.
"""

import asyncio
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from botbuilder.schema import Activity

from benchmarks.connector.channel import Channel, running_channel
from benchmarks.connector.proactive_sends import worst_stall
from benchmarks.expiry.sweep_memory import begin_peak, kib
from benchmarks.report import note, progress, table
from benchmarks.turn.cpu import our_connector
from shared.connector.client import Connector, ConnectorError
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import read_limits
from shared.connector.notices import NoticeSender
from shared.connector.operations import ConnectorClient
from shared.connector.service_urls import ServiceUrls
from shared.domain.conversation import Conversation
from shared.domain.identity import ConversationKey
from shared.domain.policy import Policy
from shared.domain.reference import Account, Reference
from shared.domain.times import utc_now
from shared.domain.timing import Timing
from shared.expiry.budget import Budget
from shared.expiry.garbage import full_collections_put_off, keep_what_is_there
from shared.expiry.report import SweepReport
from shared.expiry.sweep import Sweep
from shared.settings.sending import SendingSettings
from shared.state.erasure import Erasure
from shared.storage.table_budget import TableBudget
from shared.storage.table_store import TableStore
from tests.fake_channel import Answer
from tests.memory_table import MemoryTable
from tests.rate_limits import RateLimits

NOTICES = 20_000
TENANTS = 4
PERMITTED = 50  # a second, of each tenant
SHARDS = 64
EXPIRE_AFTER = timedelta(minutes=30)
REPLY_EVERY_SECONDS = 0.25


@dataclass
class Outcome:
    """What came of one sweep.

    Attributes:
        report: the sweep's own.
        seconds: from the first notice that arrived to the last.
        breaches: requests, replies among them, that the channel answered 429.
        replies_ms: how long each reply took.
        stall_ms: the event loop's longest absence.
        peak_mib: memory above what the process held before.
    """

    report: SweepReport
    seconds: float
    breaches: int
    replies_ms: list[float]
    stall_ms: float
    peak_mib: float

    @property
    def rate(self) -> float:
        """Notices delivered in a second."""
        return self.report.notified / self.seconds


async def _fill(store: TableStore, channel: Channel, notices: int) -> None:
    long_ago = utc_now() - timedelta(days=1)
    for number in range(notices):
        key = ConversationKey("msteams", f"talk {number}")
        session = Conversation.begun(key, store.address(key.hash), long_ago)
        await store.save(
            Conversation(
                address=session.address,
                session=session.session,
                last_accessed=long_ago + timedelta(seconds=number),
                readable_key=session.readable_key,
                reference=_reference(channel, key.conversation_id, number % TENANTS),
                state=b"state",
            ),
            due=session.due(Timing(EXPIRE_AFTER)) + number,
        )


def _reference(channel: Channel, conversation: str, tenant: int) -> Reference:
    return Reference(
        channel="msteams",
        service_url=channel.service_url,
        conversation_id=conversation,
        tenant=f"tenant {tenant}",
        user=Account(f"user of {conversation}"),
        bot=Account("bot"),
    )


async def _chat(channel: Channel, connector: Connector, limits: SendingLimits) -> list[float]:
    """Reply to somebody now and then until cancelled; returns how long each took, in ms."""
    took: list[float] = []
    with suppress(asyncio.CancelledError):
        for number in range(sys.maxsize):
            reference = _reference(channel, f"chat {number}", number % TENANTS)
            reply = Activity().deserialize(
                {"type": "message", "text": "hi", "channelId": "msteams", "from": {"id": "bot"}}
                | {"conversation": {"id": f"chat {number}", "tenantId": reference.tenant}}
            )
            before = time.perf_counter()
            await limits.before_reply(reference)
            with suppress(ConnectorError):  # the channel counts what it refuses
                await ConnectorClient(connector, channel.service_url).send(reply)
            took.append(1000 * (time.perf_counter() - before))
            await asyncio.sleep(REPLY_EVERY_SECONDS)
    return took


async def _run(channel: Channel, notices: int) -> Outcome:
    store = TableStore(MemoryTable(), MemoryTable(), SHARDS)
    await _fill(store, channel, notices)
    budget = Budget(TableBudget(MemoryTable()))  # as the app has, with nobody else in it
    limits = SendingLimits(read_limits(SendingSettings()), budget=budget)
    connector = our_connector(channel.cloud)
    sender = NoticeSender(connector, ServiceUrls(), limits)
    held = begin_peak()
    keep_what_is_there()  # as the app does; the table would not even be in this process
    watch = asyncio.create_task(worst_stall())
    chat = asyncio.create_task(_chat(channel, connector, limits))
    with full_collections_put_off():  # as the app does
        report = await Sweep(
            store,
            sender,
            Erasure(store, utc_now).finish,
            policy=Policy(Timing(EXPIRE_AFTER)),
            budget_seconds=3600,
            now=utc_now,
            pace=sender,
        ).run()
    watch.cancel()
    chat.cancel()
    stall, replies = await asyncio.gather(watch, chat)
    await budget.close()
    await connector.close()
    record = channel.fake.record()
    times = [each.at for each in record.requests if each.conversation_id.startswith("talk")]
    return Outcome(
        report,
        seconds=max(times) - min(times),
        breaches=sum(record.breaches.values()),
        replies_ms=replies,
        stall_ms=1000 * stall,
        peak_mib=(kib("VmHWM") - held) / 1024,
    )


def _measure(notices: int) -> None:
    permitted = TENANTS * PERMITTED
    rows: list[list[object]] = []
    hanging = [Answer(hang=True, chance=0.1)]
    usual_rate = 0.0
    for name, answers in (("a channel that answers", {}), ("a tenth hangs", {"talk .*": hanging})):
        progress(f"  {notices:,} notices, {name}")
        limits = RateLimits(per_second=PERMITTED, burst=PERMITTED)
        with running_channel(delay_seconds=0.05, limits=limits, pattern_answers=answers) as channel:
            outcome = asyncio.run(_run(channel, notices))
        replies = sorted(outcome.replies_ms)
        usual_rate = usual_rate or outcome.rate
        rows.append(
            [
                f"* {name}",
                outcome.report.notified,
                outcome.rate,
                f"{outcome.rate / permitted:.1%}",
                f"{outcome.rate / (usual_rate * outcome.report.notified / notices):.1%}",
                outcome.breaches,
                statistics.median(replies),
                replies[int(len(replies) * 0.99) - 1],
                outcome.stall_ms,
                outcome.peak_mib,
            ]
        )
    table(
        f"{notices:,} notices to {TENANTS} Teams tenants, {permitted} a second permitted",
        (
            "",
            "notified",
            "notices/s",
            "of permitted",
            "their usual pace",
            "429s",
            "reply p50 ms",
            "p99 ms",
            "worst stall ms",
            "peak MiB",
        ),
        rows,
    )
    note("Those that hang are tried again by later sweeps. Their usual pace: of those that are")
    note("delivered, beside the same ones where all are.")


if __name__ == "__main__":
    _measure(int(sys.argv[1]) if len(sys.argv) > 1 else NOTICES)
