"""The composition root: builds everything once per process, on first use, on the running loop."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime

from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity
from botframework.connector.auth import (
    AuthenticateRequestResult,
    CertificateServiceClientCredentialsFactory,
    ManagedIdentityServiceClientCredentialsFactory,
    PasswordServiceClientCredentialFactory,
    ServiceClientCredentialsFactory,
)

from shared import telemetry
from shared.bot import STATE_TYPES, create_bot
from shared.connector import notices
from shared.connector.adapter import BufferingAdapter
from shared.connector.authentication import InboundAuthentication
from shared.connector.client import Connector
from shared.connector.cloud import cloud_of
from shared.connector.credentials import TokenSource
from shared.connector.limits import SendingLimits, read_limits
from shared.connector.service_urls import ServiceUrls
from shared.domain.errors import StorageUnavailableError
from shared.domain.times import utc_now
from shared.expiry import metrics
from shared.expiry.fan_out import FanOut, InvalidMessageError, poison_name
from shared.expiry.garbage import full_collections_put_off, keep_what_is_there
from shared.expiry.report import SweepRecord, SweepReport
from shared.expiry.status import Schedule, Status, gather_status, is_recent
from shared.expiry.sweep import Sweep
from shared.expiry.timeout_change import sweep_with_timeout
from shared.settings import Settings, SettingsError, read_settings
from shared.state import codec
from shared.state.bags import state_bags
from shared.state.erasure import Erasure, asks_for_erasure
from shared.state.state_data import StateData
from shared.storage.stores import Stores, cosmos_of
from shared.storage.table_account import Tables
from shared.storage.table_store import TableStore
from shared.turn.turn import Turns

logger = logging.getLogger(__name__)

# Probes come often; the storage is asked this seldom.
HEALTH_SECONDS = 5


class App:
    """What the function folders call.

    Args:
        settings: the checked settings.
        stores: where the state is.
        authentication: who may call.
        connector: what speaks to channels.
        fan_out: where sweeps leave what they do not finish, if they do.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        authentication: InboundAuthentication,
        connector: Connector,
        fan_out: FanOut | None = None,
    ) -> None:
        self.authentication = authentication
        self._settings = settings
        self._fan_out = fan_out
        self._stores = stores
        self._service_urls = ServiceUrls()
        limits = SendingLimits(read_limits(settings))
        self._notices = (
            notices.NoticeSender(connector, self._service_urls, limits)
            if settings.expiry_notice == "on"
            else None
        )
        self._turns = Turns(
            stores.for_turns(),
            BufferingAdapter(
                connector, authentication.sdk, settings.microsoft_app_id, limits=limits
            ),
            create_bot(*state_bags()),
            expire_after=settings.expire_after,
            shard_count=settings.table_shards,
        )
        self.erasure = Erasure(stores.for_turns(), settings.table_shards, now=utc_now)
        self.state_data = StateData(
            stores.for_turns(),
            expire_after=settings.expire_after,
            shard_count=settings.table_shards,
            now=utc_now,
        )
        self._checking = asyncio.Lock()
        self._check_again_at = 0.0
        self._failed_checks: Sequence[str] = []

    async def take_turn(
        self, activity: Activity, caller: AuthenticateRequestResult
    ) -> InvokeResponse | None:
        """Take the turn of an activity whose caller was authenticated; see `Turns.take`.

        Raises:
            StorageUnavailableError: nothing was sent.
            SettingsError: tables or containers are not what the settings say; see `Stores.ready`.
        """
        self._service_urls.received(activity)
        async with self.with_storage():
            response = await self._turns.take(activity, caller)
            if asks_for_erasure(activity):
                await self.erasure.erase(activity.channel_id, activity.from_property.id)
            return response

    async def sweep(self) -> SweepReport:
        """Run one sweep; what fails within it is counted in the report.

        Raises:
            StorageUnavailableError: the tables could not be reached at all.
            SettingsError: tables or containers are not what the settings say; see `Stores.ready`.
        """
        if self._settings.expires_by_time_to_live_alone:
            logger.warning("sweep: there is nothing to sweep: Cosmos DB forgets what is idle")
            return SweepReport()
        try:
            report = await self._run_sweep(
                lambda store: sweep_with_timeout(
                    store,
                    self._settings.expire_after,
                    utc_now(),
                    lambda ahead: self._sweep(store, ahead).run(),
                )
            )
        except Exception as error:
            await self._record(SweepRecord(utc_now(), error=type(error).__name__))
            raise
        await self._record(SweepRecord.of(report, utc_now()))
        if self._fan_out:
            await self._fan_out.warn_of_poison()
            if report.unfinished and not report.stopped:
                await self._fan_out.hand_over(report.unfinished)
        return report

    async def status(self) -> Status:
        """What the status page shows.

        Raises:
            StorageUnavailableError: the tables could not be read.
            SettingsError: tables or containers are not what the settings say; see `Stores.ready`.
        """
        now = utc_now()
        async with self.with_storage():
            if self._settings.expires_by_time_to_live_alone:
                return Status.of_no_rows(now)
            status = await gather_status(
                self._stores.for_sweeps(),
                self._schedule(now),
                self._settings.sweep_budget_seconds,
                self._settings.expire_after,
                now,
            )
        return replace(status, timer="off" if self._settings.expiry_timer_disabled else "on")

    async def failed_checks(self) -> Sequence[str]:
        """What keeps the app from being ready; looked at again after some seconds only."""
        async with self._checking:
            if time.monotonic() >= self._check_again_at:
                self._failed_checks = await self._check()
                self._check_again_at = time.monotonic() + HEALTH_SECONDS
            return self._failed_checks

    async def _check(self) -> Sequence[str]:
        now = utc_now()
        try:
            async with self.with_storage():
                if self._settings.expiry_timer_disabled:
                    await self._stores.for_turns().has_user("nobody")  # the storage answers
                    return []
                sweeps = await self._stores.for_sweeps().sweeps()
        except (StorageUnavailableError, SettingsError) as error:
            logger.error("health: %s", error)  # noqa: TRY400 - it says it all
            return ["storage"]
        budget = self._settings.sweep_budget_seconds
        return [] if is_recent(sweeps, self._schedule(now), budget, now) else ["sweep"]

    def _schedule(self, now: datetime) -> Schedule:
        return Schedule.of(self._settings.expiry_schedule, now)

    async def _record(self, record: SweepRecord) -> None:
        slot = self._schedule(record.at).slot(record.at)
        try:
            await self._stores.for_sweeps().record_sweep(record, slot)
        except StorageUnavailableError as error:  # the sweep itself is done, or has said so
            logger.warning("sweep: not recorded: %s", error)

    async def sweep_shard(self, shard: str) -> SweepReport:
        """Sweep one shard, as a message of the fan-out asks; if unfinished, ask for it again.

        Raises:
            InvalidMessageError: there is no such shard.
            StorageUnavailableError: the tables or the queue could not be reached.
            SettingsError: tables or containers are not what the settings say; see `Stores.ready`.
        """

        async def run(store: TableStore) -> SweepReport:
            if shard not in store.shards:
                raise InvalidMessageError(f"the table has no shard {shard[:20]!r}")
            control = await store.control()
            return await self._sweep(store, control.range_ahead(utc_now()), [shard]).run()

        report = await self._run_sweep(run)
        if self._fan_out and report.unfinished and not report.stopped:
            await self._fan_out.put(shard)
        return report

    async def _run_sweep(self, run: Callable[[TableStore], Awaitable[SweepReport]]) -> SweepReport:
        with telemetry.tracer.start_as_current_span("sweep"):
            async with self.with_storage():
                store, requests = self._stores.counted()
                with full_collections_put_off():
                    report = await run(store)
                report.requests = requests()
        metrics.record_sweep(report)
        return report

    def _sweep(
        self,
        store: TableStore,
        ahead: tuple[datetime, datetime] | None,
        shards: Sequence[str] | None = None,
    ) -> Sweep:
        return Sweep(
            store,
            self._notices or notices.say_nothing,
            self.erasure.finish,
            expire_after=self._settings.expire_after,
            budget_seconds=self._settings.sweep_budget_seconds,
            pace=self._notices,
            max_notice_age_seconds=self._settings.max_notice_age_seconds,
            shards=shards,
            ahead=ahead,
            now=utc_now,
        )

    def with_storage(self) -> AbstractAsyncContextManager[None]:
        """Make sure of the storage; see `Stores.ready`."""
        return self._stores.ready()


@asynccontextmanager
async def build_app(settings: Settings) -> AsyncIterator[App]:
    """Build the app; closes its clients after."""
    # At INFO the client logs every request with its headers.
    logging.getLogger("azure.core.pipeline.policies").setLevel(logging.WARNING)
    codec.register(*STATE_TYPES)
    async with AsyncExitStack() as clients:
        tables = await clients.enter_async_context(Tables.of(settings))
        cloud = cloud_of(settings)
        tokens = token_source(settings)
        trust = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else None
        connector = Connector(tokens, ssl_context=trust)
        clients.push_async_callback(connector.close)
        authentication = InboundAuthentication(
            app_id=settings.microsoft_app_id,
            credentials=_sdk_credentials(settings),
            cloud=cloud,
            ssl_context=trust,
        )
        cosmos = cosmos_of(settings)
        if cosmos:
            await clients.enter_async_context(cosmos)
        fan_out = None
        if settings.expiry_fan_out == "on":
            from shared.storage.queues import Queues  # noqa: PLC0415 - apps without it start faster

            queues = await clients.enter_async_context(Queues.of(settings))
            fan_out = FanOut(
                queues.queue(settings.expiry_queue),
                queues.queue(poison_name(settings.expiry_queue)),
                most=settings.table_shards,
            )
        stores = Stores(settings, tables, cosmos)
        yield App(settings, stores, authentication, connector, fan_out)


def token_source(settings: Settings) -> TokenSource:
    """Where the bot's tokens come from."""
    return TokenSource(
        app_id=settings.microsoft_app_id,
        app_password=settings.microsoft_app_password.get_secret_value(),
        certificate=settings.app_certificate(),
        app_type=settings.microsoft_app_type,
        cloud=cloud_of(settings),
        ca_file=settings.ca_file,
    )


def _sdk_credentials(settings: Settings) -> ServiceClientCredentialsFactory:
    """The bot's credentials for what the SDK still does itself: sign-in (OAuthPrompt)."""
    app_id = settings.microsoft_app_id
    if settings.microsoft_app_type == "UserAssignedMSI":
        return ManagedIdentityServiceClientCredentialsFactory(app_id)
    single_tenant = settings.microsoft_app_type == "SingleTenant"
    tenant_id = settings.microsoft_app_tenant_id if single_tenant else ""
    certificate = settings.app_certificate()
    if certificate:
        return CertificateServiceClientCredentialsFactory(
            certificate_thumbprint="",  # msal makes it of the certificate
            certificate_private_key=certificate.private_key,
            app_id=app_id,
            tenant_id=tenant_id,
            certificate_public=certificate.public,
        )
    return PasswordServiceClientCredentialFactory(
        app_id, settings.microsoft_app_password.get_secret_value(), tenant_id=tenant_id
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
                keep_what_is_there()
            return self._app

    async def close(self) -> None:
        async with self._lock:
            self._app = None
            await self._clients.aclose()


_process = _Process()


async def get_app() -> App:
    """The app of this process, built on first use.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    return await _process.app()


async def close_app() -> None:
    """Close the clients of this process's app."""
    await _process.close()
