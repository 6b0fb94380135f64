"""A turn with its state in Table Storage, in Cosmos DB, and in Cosmos DB alone: requests and time.

On Azurite and a Cosmos DB server on this machine, so what counts is the number of requests, and the
client's CPU; a request to either service takes some milliseconds more in Azure.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.report import note, progress, ratio, table
from benchmarks.turn.requests import OurBot
from scripts import azurite, cosmos, processes
from shared.domain.store import StateStore
from shared.storage.cosmos_account import CosmosDb
from shared.storage.cosmos_documents import CosmosContainer
from shared.storage.cosmos_memory import DocumentMemory
from shared.storage.cosmos_store import CosmosStore
from shared.storage.cosmos_time_to_live_store import TimeToLiveStore
from shared.storage.table_account import Tables
from shared.storage.tables import Table
from tests.conftest import cosmos_db, cosmos_settings
from tests.ports import free_port, free_ports

TURNS = 150
SPARE_TIME = timedelta(days=1)  # as the template has it
# Remembers nothing, as a process that did not take the last turn.
ANOTHER = "Cosmos DB, another process"
KINDS = {"first message": "hello", "changes state": "hello", "changes nothing": "look"}


def _stores(
    conversations: CosmosContainer, users: CosmosContainer
) -> dict[str, Callable[[Table, Table, int], StateStore]]:
    def with_rows(lives: timedelta) -> Callable[[Table, Table, int], StateStore]:
        return lambda rows, lists, shards: CosmosStore(
            rows,
            lists,
            shards,
            documents=conversations,
            user_documents=users,
            memory=DocumentMemory(lives),
            spare_time=lambda: SPARE_TIME,
        )

    def alone(_rows: Table, _lists: Table, shards: int) -> StateStore:
        return TimeToLiveStore(conversations, users, shards)

    return {
        "Cosmos DB": with_rows(SPARE_TIME),
        ANOTHER: with_rows(timedelta(0)),
        "Cosmos DB alone": alone,
    }


async def _measure(tables: Tables, database: CosmosDb) -> None:
    await database.ensure_containers()
    await tables.create("rows", "lists", "rowsofcosmos", "listsofcosmos")
    conversations, users = database.conversations, database.users
    rows, lists = tables.table("rowsofcosmos"), tables.table("listsofcosmos")
    bots = {"Table Storage": OurBot(tables.table("rows"), tables.table("lists"))} | {
        name: OurBot(rows, lists, store=store)
        for name, store in _stores(conversations, users).items()
    }
    shown: list[list[object]] = []
    for kind, text in KINDS.items():
        of_tables: tuple[float, float] | None = None
        for name, bot in bots.items():
            if name == ANOTHER and kind == "first message":
                continue  # there was no turn before
            progress(f"{kind}, {name}")

            async def take(number: int, bot: OurBot = bot, text: str = text) -> int:
                return await bot.take(text, f"talk{number}", after_seconds=0.01)

            is_first = kind == "first message"
            in_tables, in_cosmos, wall, cpu = await _time(
                [take(number if is_first else 0) for number in range(TURNS)],
                conversations,
                users,
            )
            of_tables = of_tables or (wall, cpu)
            shown.append(
                [
                    f"{kind}, {name}",
                    in_tables,
                    in_cosmos,
                    wall,
                    ratio(wall, of_tables[0]),
                    cpu,
                    ratio(cpu, of_tables[1]),
                ]
            )
    table(
        f"A turn on each store (Azurite and a Cosmos DB server; median of {TURNS})",
        ("", "table requests", "Cosmos requests", "ms", "ratio", "CPU ms", "ratio"),
        shown,
    )
    note("ratio: to Table Storage, which is the default. All three are this project's.")


async def _time(
    turns: Sequence[Awaitable[int]], *containers: CosmosContainer
) -> tuple[int, int, float, float]:
    """The requests of the last turn, to tables and containers, and the median times, in ms."""
    walls, cpus, in_tables, before = [], [], 0, 0
    for turn in turns:
        before = sum(each.requests for each in containers)
        wall, cpu = time.perf_counter(), time.process_time()
        in_tables = await turn
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    in_cosmos = sum(each.requests for each in containers) - before
    return in_tables, in_cosmos, median(walls), median(cpus)


async def _run(connection: str, endpoint: str) -> None:
    async with (
        Tables(connection_string=connection) as tables,
        cosmos_db(cosmos_settings(endpoint)) as database,
    ):
        await _measure(tables, database)


def main() -> None:
    with TemporaryDirectory() as folder:
        first_port, port = free_ports(3), free_port()
        servers = [azurite.start(Path(folder), first_port), cosmos.start(port)]
        try:
            asyncio.run(_run(azurite.connection_string(first_port), cosmos.endpoint(port)))
        finally:
            for server in servers:
                processes.stop(server)


if __name__ == "__main__":
    main()
