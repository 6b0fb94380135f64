"""CPU of a turn: from the bytes of a request to the last reply sent, state kept in memory.

Both run the sample dialog; both check the channel's token and send with the bot's own. All threads
of this process count; the channel and the login service are another process.
"""

import asyncio
import gc
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from statistics import median
from uuid import uuid4

from botbuilder.core import ConversationState, MemoryStorage, PrivateConversationState, UserState
from botbuilder.core.cloud_adapter_base import CloudAdapterBase
from botbuilder.schema import Activity

from benchmarks.connector.channel import APP_ID, APP_PASSWORD, running_channel, ssl_context
from benchmarks.connector.stock import anonymous_stock_adapter, stock_adapter
from benchmarks.peers.work import TakeTurn
from benchmarks.report import progress, ratio, table
from shared.bot import STATE_TYPES, create_bot
from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import Connector
from shared.connector.cloud import Cloud
from shared.connector.credentials import TokenSource
from shared.connector.reception import receive
from shared.domain.policy import Policy
from shared.domain.timing import Timing
from shared.state import state_types
from shared.state.bags import state_bags
from shared.storage.observed_table import ObservedTable
from shared.storage.table_store import TableStore
from shared.storage.tables import Table
from shared.turn.turn import Turns
from tests.memory_table import MemoryTable

DIALOG = ("hello", "car", "Ada", "yes", "36", "no picture", "yes")
ROUNDS = 5
OUR_DIALOGS, STOCK_DIALOGS = 20, 3  # a round; the stock adapter needs 100 ms and more for a turn

_conversations = count(1)


def our_connector(cloud: Cloud, app_id: str = APP_ID) -> Connector:
    tokens = TokenSource(app_id=app_id, app_password=APP_PASSWORD, cloud=cloud)
    return Connector(tokens, ssl_context=ssl_context())


def our_turns(
    connector: Connector, app_id: str = APP_ID, tables: tuple[Table, Table] | None = None
) -> Turns:
    state_types.register(*STATE_TYPES)
    conversations, users = tables or (MemoryTable(), MemoryTable())
    return Turns(
        TableStore(ObservedTable(conversations), ObservedTable(users), 64),
        BufferingAdapter(connector, InboundAuthentication(app_id=app_id).sdk, app_id),
        create_bot(*state_bags()),
        policy=Policy(Timing(timedelta(minutes=30))),
    )


def our_app(
    cloud: Cloud, connector: Connector, app_id: str, tables: tuple[Table, Table] | None = None
) -> TakeTurn:
    """What the messages function does; its rows are in memory, or in these two tables."""
    authentication = InboundAuthentication(app_id=app_id, cloud=cloud, ssl_context=ssl_context())
    turns = our_turns(connector, app_id, tables)

    async def take(body: bytes, bearer: str) -> object:
        headers = {"content-type": "application/json", "authorization": bearer}
        return await turns.take(*await receive(authentication, headers, body))

    return take


def stock_app(adapter: CloudAdapterBase) -> TakeTurn:
    """What the SDK's samples do in a web handler."""
    storage = MemoryStorage()
    bot = create_bot(
        ConversationState(storage), UserState(storage), PrivateConversationState(storage)
    )

    async def take(body: bytes, bearer: str) -> object:
        activity = Activity().deserialize(json.loads(body))
        return await adapter.process_activity(bearer, activity, bot.on_turn)

    return take


@dataclass(frozen=True, slots=True)
class Caller:
    """Where requests come from, and their Authorization header."""

    service_url: str
    bearer: str


async def run_dialogs(take: TakeTurn, caller: Caller, dialogs: int) -> None:
    for _ in range(dialogs):
        conversation = f"conversation-{next(_conversations)}"
        for text in DIALOG:
            await take(message(caller.service_url, conversation, text), caller.bearer)


def message(service_url: str, conversation: str, text: str) -> bytes:
    fields = {
        "type": "message",
        "id": uuid4().hex,
        "timestamp": "2026-11-22T07:00:00.000Z",
        "channelId": "test",
        "serviceUrl": service_url,
        "from": {"id": f"user-of-{conversation}", "name": "Ada", "role": "user"},
        "recipient": {"id": f"28:{APP_ID}", "name": "Bot", "role": "bot"},
        "conversation": {"id": conversation},
        "locale": "en-US",
        "text": text,
    }
    return json.dumps(fields).encode()


async def _milliseconds(take: TakeTurn, caller: Caller, dialogs: int) -> tuple[float, float]:
    """CPU and wall milliseconds of a turn, on average over some dialogs."""
    gc.collect()  # nobody pays for what another left
    cpu, wall = time.process_time(), time.perf_counter()
    await run_dialogs(take, caller, dialogs)
    turns = dialogs * len(DIALOG) / 1000
    return (time.process_time() - cpu) / turns, (time.perf_counter() - wall) / turns


async def _compare(
    setting: str, caller: Caller, ours: TakeTurn, stock: TakeTurn
) -> list[list[object]]:
    for take in (ours, stock):  # keys, our token, and the recognisers' first calls
        await run_dialogs(take, caller, 1)
    our_rounds, stock_rounds = [], []
    for number in range(ROUNDS):
        progress(f"  {setting}, round {number + 1} of {ROUNDS}")
        our_rounds.append(await _milliseconds(ours, caller, OUR_DIALOGS))
        stock_rounds.append(await _milliseconds(stock, caller, STOCK_DIALOGS))
    our_cpu, our_wall = (median(figures) for figures in zip(*our_rounds, strict=True))
    stock_cpu, stock_wall = (median(figures) for figures in zip(*stock_rounds, strict=True))
    return [
        [f"* this project, {setting}", our_cpu, our_wall, ""],
        [f"  CloudAdapter, {setting}", stock_cpu, stock_wall, ratio(stock_cpu, our_cpu)],
    ]


async def _measure() -> None:
    rows = []
    with running_channel() as channel:
        for setting, app_id, caller, adapter in (
            (
                "app id and TLS",
                APP_ID,
                Caller(channel.service_url, channel.bearer),
                stock_adapter(channel),
            ),
            (
                "no app id, no TLS",
                "",
                Caller(channel.plain_service_url, ""),
                anonymous_stock_adapter(),
            ),
        ):
            connector = our_connector(channel.cloud, app_id)
            ours = our_app(channel.cloud, connector, app_id)
            rows += await _compare(setting, caller, ours, stock_app(adapter))
            await connector.close()
    table(
        f"CPU of a turn (sample dialog, {len(DIALOG)} turns; median of {ROUNDS} rounds)",
        ("", "CPU ms", "wall ms", "ratio (CPU)"),
        rows,
    )


if __name__ == "__main__":
    asyncio.run(_measure())
