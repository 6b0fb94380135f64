"""The composition root: builds everything once per process, on first use, on the running loop."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from botframework.connector.auth import (
    ManagedIdentityServiceClientCredentialsFactory,
    PasswordServiceClientCredentialFactory,
    ServiceClientCredentialsFactory,
)

from shared import notices
from shared.bot import STATE_TYPES, create_bot
from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import Connector
from shared.connector.credentials import TokenSource
from shared.conversations import StorageUnavailableError, utc_now
from shared.settings import Settings, SettingsError, read_settings
from shared.state import state_bags
from shared.storage import codec
from shared.storage.store import TableStore
from shared.storage.tables import CountingTable, Table, Tables
from shared.sweep import SendNotice, Sweep, SweepReport
from shared.turn import Turns

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class App:
    """What the function folders call."""

    settings: Settings
    authentication: InboundAuthentication
    turns: Turns
    conversations: Table
    users: Table
    send_notice: SendNotice

    async def sweep(self) -> SweepReport:
        """Run one sweep.

        Raises:
            StorageUnavailableError: never; each failure is counted in the report.
        """
        conversations = CountingTable(self.conversations)
        sweep = Sweep(
            TableStore(conversations, self.users, self.settings.table_shards),
            self.send_notice,
            expire_after=self.settings.expire_after,
            budget_seconds=self.settings.sweep_budget_seconds,
            now=utc_now,
        )
        report = await sweep.run()
        report.requests = conversations.requests
        return report


@asynccontextmanager
async def build_app(settings: Settings) -> AsyncIterator[App]:
    """Build the app, with its tables created where they are missing; closes its clients after.

    Raises:
        StorageUnavailableError: the tables could not be reached.
        SettingsError: the tables were made with another TableShards.
    """
    async with AsyncExitStack() as clients:
        tables = await clients.enter_async_context(
            Tables(
                connection_string=settings.storage_connection.get_secret_value(),
                endpoint=settings.storage_table_endpoint,
                client_id=settings.storage_client_id,
                managed_identity=settings.storage_credential == "managedidentity",
            )
        )
        conversations = tables.table(settings.conversations_table)
        users = tables.table(settings.users_table)
        store = TableStore(conversations, users, settings.table_shards)
        await _prepare_tables(tables, store, settings)
        tokens = TokenSource(
            app_id=settings.microsoft_app_id,
            app_password=settings.microsoft_app_password.get_secret_value(),
            app_type=settings.microsoft_app_type,
            tenant_id=settings.microsoft_app_tenant_id,
        )
        connector = Connector(tokens)
        clients.push_async_callback(connector.close)
        authentication = InboundAuthentication(
            app_id=settings.microsoft_app_id, credentials=_sdk_credentials(settings)
        )
        codec.register(*STATE_TYPES)
        turns = Turns(
            store,
            BufferingAdapter(connector, authentication.sdk, settings.microsoft_app_id),
            create_bot(*state_bags()),
            expire_after=settings.expire_after,
            shard_count=settings.table_shards,
        )
        say = notices.notice_sender(connector)
        yield App(
            settings=settings,
            authentication=authentication,
            turns=turns,
            conversations=conversations,
            users=users,
            send_notice=say if settings.expiry_notice == "on" else notices.say_nothing,
        )


def _sdk_credentials(settings: Settings) -> ServiceClientCredentialsFactory:
    """The bot's credentials for what the SDK still does itself: sign-in (OAuthPrompt)."""
    app_id = settings.microsoft_app_id
    if settings.microsoft_app_type == "UserAssignedMSI":
        return ManagedIdentityServiceClientCredentialsFactory(app_id)
    single_tenant = settings.microsoft_app_type == "SingleTenant"
    return PasswordServiceClientCredentialFactory(
        app_id,
        settings.microsoft_app_password.get_secret_value(),
        tenant_id=settings.microsoft_app_tenant_id if single_tenant else "",
    )


async def _prepare_tables(tables: Tables, store: TableStore, settings: Settings) -> None:
    try:
        made_with = await store.control()
    except StorageUnavailableError:
        # Most likely a first start. The users table first: where the control row is, both are.
        await tables.create(settings.users_table, settings.conversations_table)
        made_with = await store.control()
    if made_with != settings.table_shards:
        raise SettingsError(
            f"TableShards is {settings.table_shards}; it must be {made_with}, as when the table"
            f" {settings.conversations_table} was made"
        )


class _Process:
    """The one app of this process, and what closes it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._clients = AsyncExitStack()
        self._app: App | None = None

    async def app(self) -> App:
        async with self._lock:
            if self._app is None:
                self._app = await self._clients.enter_async_context(build_app(read_settings()))
            return self._app

    async def close(self) -> None:
        async with self._lock:
            self._app = None
            await self._clients.aclose()


_process = _Process()


async def get_app() -> App:
    """The app of this process, built on first use; a failure is tried again at the next use.

    Raises:
        StorageUnavailableError: the tables could not be reached.
        SettingsError: a setting does not fit the tables.
    """
    return await _process.app()


async def close_app() -> None:
    """Close the clients of this process's app."""
    await _process.close()
