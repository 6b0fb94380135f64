"""Runs sweeps, each with its span, metrics and record. Unfinished shards go to the fan-out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from shared import telemetry
from shared.domain.errors import StorageUnavailableError
from shared.domain.policy import Policy
from shared.domain.store import ConversationStore, Stores
from shared.domain.sweep_record import SweepRecord
from shared.domain.times import utc_now
from shared.expiry import metrics
from shared.expiry.fan_out import FanOut, InvalidMessageError
from shared.expiry.garbage import full_collections_put_off
from shared.expiry.notice import Hooks, Pace, SendNotice, SendWarning
from shared.expiry.report import SweepReport, record_of
from shared.expiry.status import Schedule
from shared.expiry.sweep import Sweep
from shared.expiry.timeout_change import sweep_with_timeout
from shared.settings.expiry import (
    SWEEP_ENDS_WITHIN_SECONDS,
    WRITES_WITHIN_SECONDS,
    ExpirySettings,
)

logger = logging.getLogger(__name__)

# Sweeps of the fan-out that a process runs at once: each works on 16 rows at once.
SHARDS_AT_ONCE = 2
BACK_AFTER_SECONDS = 10


class SweepCancelledError(Exception):
    """A sweep did not end in time; what it left is due again."""


class SweepRunner:
    """Runs the sweeps of this process.

    Args:
        stores: where the conversations are.
        settings: of expiry.
        send_notice: tells a user that the conversation expired; see `Sweep`.
        finish_erasure: goes on with an erasure that a crash interrupted; see `Sweep`.
        policy: which timing holds for which conversation.
        send_warning: warns a user that the conversation expires soon; see `Sweep`.
        hooks: the author's code for expiries and warnings; see `Sweep`.
        pace: how fast the channels take notices; None: as fast as they are sent.
        fan_out: where sweeps leave the shards that they do not finish; None: to the next sweep.
        now: the clock, in aware UTC.
        timeout: cancels what is in it after so many seconds; as `asyncio.timeout`.
    """

    def __init__(
        self,
        stores: Stores,
        settings: ExpirySettings,
        send_notice: SendNotice,
        finish_erasure: Callable[[str], Awaitable[bool]],
        *,
        policy: Policy,
        send_warning: SendWarning | None = None,
        hooks: Hooks | None = None,
        pace: Pace | None = None,
        fan_out: FanOut | None = None,
        now: Callable[[], datetime] = utc_now,
        timeout: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._send_notice = send_notice
        self._finish_erasure = finish_erasure
        self._policy = policy
        self._send_warning = send_warning
        self._hooks = hooks
        self._pace = pace
        self._fan_out = fan_out
        self._now = now
        self._timeout = timeout
        self._shards = asyncio.Semaphore(SHARDS_AT_ONCE)

    async def run(self) -> SweepReport:
        """Sweep all shards; what fails within the sweep is counted in the report.

        It ends within `AFTER_BUDGET_SECONDS` of its budget, whatever does not answer.

        Raises:
            StorageUnavailableError: the tables could not be reached at all.
            SweepCancelledError: it did not end by itself; what it left is due again.
            SettingsError: tables or containers are not what the settings say; see `Stores.ready`.
        """
        if not self._stores.has_rows:
            logger.warning("sweep: there is nothing to sweep: Cosmos DB forgets what is idle")
            return SweepReport()
        try:
            report = await self._run(self._sweep_all)
        except Exception as error:
            await self._record(SweepRecord(self._now(), error=type(error).__name__))
            raise
        await self._record(record_of(report, self._now()))
        if self._fan_out:
            try:
                async with _no_longer_than(WRITES_WITHIN_SECONDS, "the hand-over to the queue"):
                    await self._fan_out.warn_of_poison()
                    if report.unfinished and not report.stopped:
                        await self._fan_out.hand_over(report.unfinished)
            except StorageUnavailableError as error:  # the next sweep does the rest
                logger.warning("fan-out: %s", error)
        return report

    async def run_shard(self, shard: str) -> SweepReport | None:
        """Sweep one shard, as a message of the fan-out asks; if unfinished, ask for it again.

        The host runs as many messages at once as long turns need, and a sweep is hard work. So if
        this process sweeps `SHARDS_AT_ONCE` already, the message goes back, and the result is None.

        Raises:
            InvalidMessageError: there is no such shard.
            StorageUnavailableError: the tables or the queue could not be reached.
            SweepCancelledError: as of `run`.
            SettingsError: tables or containers are not what the settings say; see `Stores.ready`.
        """

        async def sweep_it(store: ConversationStore) -> SweepReport:
            if shard not in store.shards:
                raise InvalidMessageError(f"the table has no shard {shard[:20]!r}")
            control = await store.control()
            return await self._sweep(store, control.range_ahead(self._now()), [shard])

        if self._fan_out and self._shards.locked():
            await self._fan_out.put(shard, after_seconds=BACK_AFTER_SECONDS)
            return None
        async with self._shards:
            report = await self._run(sweep_it)
        if self._fan_out and report.unfinished and not report.stopped:
            async with _no_longer_than(WRITES_WITHIN_SECONDS, "the hand-over to the queue"):
                await self._fan_out.put(shard)
        return report

    async def _run(
        self, sweep: Callable[[ConversationStore], Awaitable[SweepReport]]
    ) -> SweepReport:
        limit = self._settings.sweep_budget_seconds + SWEEP_ENDS_WITHIN_SECONDS
        try:
            with telemetry.tracer.start_as_current_span("sweep"):
                async with self._timeout(limit), self._stores.ready():
                    store, requests = self._stores.counted()
                    with full_collections_put_off():
                        report = await sweep(store)
                    report.requests = requests()
            metrics.record_sweep(report)
        except TimeoutError as error:
            raise SweepCancelledError(
                f"the sweep was cancelled: it ran for {limit} s, {SWEEP_ENDS_WITHIN_SECONDS} s more"
                " than its budget; what it left is due again"
            ) from error
        finally:
            await telemetry.flush(WRITES_WITHIN_SECONDS)
        return report

    async def _sweep_all(self, store: ConversationStore) -> SweepReport:
        return await sweep_with_timeout(
            store,
            self._policy,
            self._now(),
            lambda ahead: self._sweep(store, ahead),
        )

    async def _sweep(
        self,
        store: ConversationStore,
        ahead: tuple[datetime, datetime] | None,
        shards: Sequence[str] | None = None,
    ) -> SweepReport:
        sweep = Sweep(
            store,
            self._send_notice,
            self._finish_erasure,
            policy=self._policy,
            budget_seconds=self._settings.sweep_budget_seconds,
            send_warning=self._send_warning,
            hooks=self._hooks,
            pace=self._pace,
            max_notice_age_seconds=self._settings.max_notice_age_seconds,
            shards=shards,
            ahead=ahead,
            now=self._now,
        )
        return await sweep.run()

    async def _record(self, record: SweepRecord) -> None:
        slot = Schedule.of(self._settings.schedule, record.at).slot(record.at)
        try:
            async with _no_longer_than(WRITES_WITHIN_SECONDS, "the sweep's record"):
                await self._stores.for_sweeps().record_sweep(record, slot)
        except StorageUnavailableError as error:  # the sweep itself is done, or has said so
            logger.warning("sweep: not recorded: %s", error)


@asynccontextmanager
async def _no_longer_than(seconds: float, what: str) -> AsyncIterator[None]:
    """Cancel what is in it after so many seconds.

    Raises:
        StorageUnavailableError: it was cancelled.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise StorageUnavailableError(f"{what} took more than {seconds} s") from error
