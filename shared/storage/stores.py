"""The stores of the app, which the settings choose, over the clients of its accounts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from typing_extensions import override

from shared.domain.errors import NewerRowError, StorageUnavailableError
from shared.domain.inbox import Inbox
from shared.domain.store import BudgetStore, ConversationStore, StateStore, Stores
from shared.domain.times import utc_now
from shared.settings import Settings, SettingsError
from shared.settings.storage import StorageSettings
from shared.storage.observed_table import ObservedTable
from shared.storage.table_account import Tables
from shared.storage.table_budget import TableBudget
from shared.storage.table_inbox import TableInbox
from shared.storage.table_store import CONTROL, TableStore
from shared.storage.tables import Operation, Row

if TYPE_CHECKING:
    from shared.storage.cosmos_account import CosmosDb


_PROBE = Row(CONTROL, "doctor")


@dataclass(frozen=True, slots=True)
class TableProbe:
    """The storage's clock when it answered, and our clock before and after.

    The storage's clock has whole seconds.
    """

    began: datetime
    answered_at: datetime
    ended: datetime


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator["AzureStores"]:
    """The stores of the app, over clients of its accounts; closes the clients after."""
    async with AsyncExitStack() as clients:
        tables = await clients.enter_async_context(Tables.of(settings.storage))
        cosmos = _cosmos_of(settings)
        if cosmos:
            await clients.enter_async_context(cosmos)
        yield AzureStores(
            settings.storage,
            tables,
            cosmos,
            expires_by_time_to_live_alone=settings.expires_by_time_to_live_alone,
            inbox=settings.long_turns.inbox,
            has_inbox=settings.long_turns.is_on,
        )


def _cosmos_of(settings: Settings) -> "CosmosDb | None":
    """The client of the Cosmos DB account, if StateStore is cosmos."""
    if settings.storage.state_store != "cosmos":
        return None
    from shared.storage.cosmos_account import CosmosDb  # noqa: PLC0415 - 0.3 s that others need not wait

    return CosmosDb(
        settings.cosmos,
        settings.storage,
        ca_file=settings.network.ca_file,
        least_time_to_live_seconds=settings.least_time_to_live_seconds,
    )


class AzureStores(Stores):
    """Makes the stores, and creates missing tables and containers.

    Args:
        settings: of the storage account.
        tables: the client of the storage account.
        cosmos: the client of the Cosmos DB account, if StateStore is cosmos.
        expires_by_time_to_live_alone: see `Settings`.
        inbox: the name of the inbox's table.
        has_inbox: whether that table is needed.
    """

    def __init__(
        self,
        settings: StorageSettings,
        tables: Tables,
        cosmos: "CosmosDb | None",
        *,
        expires_by_time_to_live_alone: bool,
        inbox: str,
        has_inbox: bool,
    ) -> None:
        self._settings = settings
        self._inbox_name = inbox
        self._has_inbox = has_inbox
        self._by_time_to_live_alone = expires_by_time_to_live_alone
        self._tables = tables
        self._cosmos = cosmos
        self._conversations = tables.table(settings.conversations_table)
        self._users = tables.table(settings.users_table)
        self._ensuring = asyncio.Lock()
        self._is_ready = False

    @property
    @override
    def has_rows(self) -> bool:
        return not self._by_time_to_live_alone

    @override
    def for_turns(self) -> StateStore:
        if self._cosmos and self._by_time_to_live_alone:
            from shared.storage.cosmos_time_to_live_store import TimeToLiveStore  # noqa: PLC0415 - as above

            return TimeToLiveStore(
                self._cosmos.conversations,
                self._cosmos.users,
                self._settings.shards,
                self._most_bytes,
            )
        return self.for_sweeps()

    @override
    def for_sweeps(self) -> ConversationStore:
        return self.counted()[0]

    @override
    def counted(self) -> tuple[ConversationStore, Callable[[], int]]:
        conversations, users = ObservedTable(self._conversations), ObservedTable(self._users)
        shards = self._settings.shards
        if self._cosmos is None:
            store = TableStore(conversations, users, shards, self._most_bytes)
            return store, lambda: conversations.requests
        from shared.storage.cosmos_store import CosmosStore  # noqa: PLC0415 - as above

        cosmos, documents = self._cosmos, self._cosmos.conversations
        cosmos_store = CosmosStore(
            conversations,
            users,
            shards,
            documents=documents,
            user_documents=cosmos.users,
            memory=cosmos.memory,
            spare_time=lambda: cosmos.spare_time,
            max_row_bytes=self._most_bytes,
        )
        return cosmos_store, lambda: conversations.requests + documents.requests

    def budget(self) -> BudgetStore | None:
        """Where processes share what they may send; None if there is no table for it."""
        return TableBudget(self._conversations) if self.has_rows else None

    def inbox(self) -> Inbox:
        """Where activities wait for their turns; without `has_inbox` its table may be missing."""
        return TableInbox(ObservedTable(self._tables.table(self._inbox_name)))

    @property
    def _most_bytes(self) -> int:
        return self._settings.state_limit_kib * 1024

    @override
    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        async with self._ensuring:
            if not self._is_ready:
                await self._ensure()
                self._is_ready = True
        try:
            yield
        except NewerRowError:  # the storage is there
            raise
        except StorageUnavailableError:
            self._is_ready = False
            raise

    async def _ensure(self) -> None:
        if self._cosmos:
            await self._cosmos.ensure_containers()
        if self.has_rows:
            await self._ensure_tables()
        if self._has_inbox:  # an app that ran without it has the other tables
            await self._tables.create(self._inbox_name)

    async def _ensure_tables(self) -> None:
        names = self._settings.conversations_table, self._settings.users_table
        store = self.for_sweeps()
        try:
            control = await store.control()
        except NewerRowError:
            raise
        except StorageUnavailableError:
            # Most likely a first start. The control row is written when both tables exist.
            await self._tables.create(*names)
            control = await store.control()
        for setting, now, then in (
            ("TableShards", self._settings.shards, control.shard_count),
            ("StateStore", self._settings.state_store, control.state_store),
        ):
            if now != then:
                raise SettingsError(
                    f"{setting} is {now}; it must be {then}, as when the table {names[0]} was made"
                )

    async def probe_tables(self) -> TableProbe:
        """Create missing tables; write, read and delete a row.

        Raises:
            StorageUnavailableError: no answer, or refused.
        """
        await self._tables.create(self._settings.conversations_table, self._settings.users_table)
        await self._conversations.write([Operation("upsert", _PROBE)])
        began = utc_now()
        answered_at = await self._conversations.service_time(_PROBE.partition, _PROBE.key)
        ended = utc_now()
        await self._conversations.write([Operation("delete", _PROBE)])
        return TableProbe(began, answered_at, ended)

    async def probe_documents(self) -> bool:
        """Ensure the containers; in each, write, read and delete a document.

        Returns False if a document that was written is not there, and True if StateStore is not
        cosmos.

        Raises:
            StorageUnavailableError: no answer, or refused.
            SettingsError: the containers do not fit the settings.
        """
        return await self._cosmos.probe() if self._cosmos else True
