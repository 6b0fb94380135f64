"""A worker on this project: what the messages function does with a request."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from benchmarks.peers.work import Setting, TakeTurn, work
from benchmarks.turn.cpu import our_app, our_connector
from shared.connector.cloud import PUBLIC
from shared.storage.table_account import Tables
from shared.storage.tables import Table


@asynccontextmanager
async def _app(setting: Setting) -> AsyncIterator[TakeTurn]:
    cloud = replace(
        PUBLIC,
        login_url=setting.login_url,
        channel_keys_url=f"{setting.url}/v1/.well-known/openidconfiguration",
    )
    async with AsyncExitStack() as clients:
        tables: tuple[Table, Table] | None = None
        if setting.storage:
            account = await clients.enter_async_context(Tables(connection_string=setting.storage))
            names = f"ours{os.getpid()}", f"ourlists{os.getpid()}"
            await account.create(*names)
            tables = account.table(names[0]), account.table(names[1])
        connector = our_connector(cloud, setting.app_id)
        clients.push_async_callback(connector.close)
        yield our_app(cloud, connector, setting.app_id, tables)


if __name__ == "__main__":
    work(_app)
