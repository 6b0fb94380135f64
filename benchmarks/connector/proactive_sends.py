"""Proactive sends a second: the sweep's notice sender beside the SDK's two adapters.

The channel and the login service speak TLS, in another process, and answer after DELAY_SECONDS.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

from botbuilder.core import BotFrameworkAdapter, TurnContext
from botbuilder.core.cloud_adapter_base import CloudAdapterBase
from botbuilder.schema import ConversationReference

from benchmarks.connector.channel import APP_ID, Channel, running_channel
from benchmarks.connector.stock import old_stock_adapter, stock_adapter
from benchmarks.report import progress, ratio, table
from benchmarks.turn.cpu import our_connector
from shared.connector.client import Connector
from shared.connector.notices import NoticeSender
from shared.connector.service_urls import ServiceUrls
from shared.domain.conversation import Conversation
from shared.domain.identity import Address
from shared.domain.reference import Account, Reference
from shared.domain.times import utc_now
from shared.expiry.notice import Verdict
from tests.bot_in_memory import no_limits
from tests.texts import EXPIRED

DELAY_SECONDS = 0.05
# How many are under way at once; sends to measure of ours, of BotFrameworkAdapter, of CloudAdapter.
CASES = ((1, 100, 60, 20), (10, 1_000, 300, 40), (100, 3_000, 600, 100))
STALL_CHECK_SECONDS = 0.02

# Sends one message to the conversation of that number.
Send = Callable[[int], Awaitable[None]]


def _reference(channel: Channel, number: int) -> Reference:
    return Reference(
        channel="test",
        service_url=channel.service_url,
        conversation_id=f"conversation-{number}",
        user=Account(f"user-{number}", role="user"),
        bot=Account(f"28:{APP_ID}", role="bot"),
    )


def our_send(channel: Channel, connector: Connector) -> Send:
    send_notice = NoticeSender(connector, ServiceUrls(), no_limits())

    async def send(number: int) -> None:
        result = await send_notice(
            Conversation(
                address=Address("s000", f"{number:032x}"),
                session=f"{number:016x}",
                last_accessed=utc_now(),
                reference=_reference(channel, number),
                locale="en-US",
            )
        )
        assert result.verdict is Verdict.DELIVERED, result

    return send


def stock_send(channel: Channel, adapter: CloudAdapterBase | BotFrameworkAdapter) -> Send:
    async def say_expired(context: TurnContext) -> None:
        await context.send_activity(EXPIRED)

    async def send(number: int) -> None:
        reference = ConversationReference.deserialize(_reference(channel, number).to_json())
        await adapter.continue_conversation(reference, say_expired, APP_ID)

    return send


async def worst_stall() -> float:
    """Watch the event loop until cancelled; returns its longest absence in seconds."""
    worst = 0.0
    while True:
        before = time.perf_counter()
        try:
            await asyncio.sleep(STALL_CHECK_SECONDS)
        except asyncio.CancelledError:
            return max(worst, time.perf_counter() - before - STALL_CHECK_SECONDS)
        worst = max(worst, time.perf_counter() - before - STALL_CHECK_SECONDS)


async def _measure(send: Send, at_once: int, sends: int) -> tuple[float, float, float]:
    """Sends a second, CPU milliseconds of a send, worst stall of the event loop in ms."""
    gc.collect()  # nobody pays for what another left
    numbers = iter(range(sends))

    async def worker() -> None:
        for number in numbers:
            await send(number)

    watch = asyncio.create_task(worst_stall())
    await asyncio.sleep(0)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    watch.cancel()
    return sends / wall, 1000 * cpu / sends, 1000 * await watch


async def _compare() -> None:
    rows: list[list[object]] = []
    with running_channel(delay_seconds=DELAY_SECONDS) as channel:
        connector = our_connector(channel.cloud)
        ours = our_send(channel, connector)
        alternatives = {
            "BotFrameworkAdapter": stock_send(channel, old_stock_adapter(channel)),
            "CloudAdapter": stock_send(channel, stock_adapter(channel)),
        }
        for send in (ours, *alternatives.values()):  # all but CloudAdapter get their token here
            await send(0)
        for at_once, our_sends, *their_sends in CASES:
            progress(f"  {at_once} at once")
            our_rate, our_cpu, our_stall = await _measure(ours, at_once, our_sends)
            rows.append(
                [f"* this project, {at_once} at once", our_rate, "", our_cpu, "", our_stall]
            )
            for (name, send), sends in zip(alternatives.items(), their_sends, strict=True):
                rate, cpu, stall = await _measure(send, at_once, sends)
                rows.append(
                    [
                        f"  {name}, {at_once} at once",
                        rate,
                        ratio(our_rate, rate),
                        cpu,
                        ratio(cpu, our_cpu),
                        stall,
                    ]
                )
        await connector.close()
    table(
        f"Proactive sends (TLS; channel and login answer after {1000 * DELAY_SECONDS:.0f} ms)",
        ("", "sends/s", "ratio", "CPU ms/send", "ratio", "worst loop stall ms"),
        rows,
    )


if __name__ == "__main__":
    asyncio.run(_compare())
