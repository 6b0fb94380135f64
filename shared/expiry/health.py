"""How the app is doing: the facts for the status page, and the checks for probes."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from shared.domain.errors import StorageUnavailableError
from shared.domain.store import Stores
from shared.domain.times import utc_now
from shared.domain.timing import Timing
from shared.expiry.status import Schedule, Status, gather_status, is_recent
from shared.settings import SettingsError
from shared.settings.expiry import ExpirySettings

logger = logging.getLogger(__name__)

# Probes come often; the storage is asked at most once in this time.
HEALTH_SECONDS = 5


class Health:
    """How the app is doing.

    Args:
        stores: where the conversations are.
        settings: of expiry.
        timing: what holds for the time of conversations.
        now: the clock, in aware UTC.
        clock: a monotonic clock, in seconds; it says when to check again.
    """

    def __init__(
        self,
        stores: Stores,
        settings: ExpirySettings,
        timing: Timing,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._timing = timing
        self._now = now
        self._clock = clock
        self._checking = asyncio.Lock()
        self._check_again_at = clock()
        self._failed_checks: Sequence[str] = []

    async def status(self) -> Status:
        """What the status page shows.

        Raises:
            StorageUnavailableError: the tables could not be read.
            SettingsError: tables or containers do not fit the settings; see `Stores.ready`.
        """
        now = self._now()
        async with self._stores.ready():
            if not self._stores.has_rows:
                return Status.of_no_rows(now)
            status = await gather_status(
                self._stores.for_sweeps(),
                self._schedule(now),
                self._settings.sweep_budget_seconds,
                self._timing,
                now,
            )
        return replace(status, timer="off" if self._settings.timer_disabled else "on")

    async def failed_checks(self) -> Sequence[str]:
        """What keeps the app from being ready; checked again only after `HEALTH_SECONDS`."""
        async with self._checking:
            if self._clock() >= self._check_again_at:
                try:
                    self._failed_checks = await self._check()
                except Exception:
                    logger.exception("health: the check itself failed")
                    self._failed_checks = ["check"]
                finally:
                    # However it ended: everybody may ask, and nobody may make the storage work.
                    self._check_again_at = self._clock() + HEALTH_SECONDS
            return self._failed_checks

    async def _check(self) -> Sequence[str]:
        now = self._now()
        try:
            async with self._stores.ready():
                if self._settings.timer_disabled:
                    await self._stores.for_turns().has_user("nobody")  # the storage answers
                    return []
                sweeps = await self._stores.for_sweeps().sweeps()
        except (StorageUnavailableError, SettingsError) as error:
            logger.error("health: %s", error)  # noqa: TRY400 - the message is enough
            return ["storage"]
        budget = self._settings.sweep_budget_seconds
        return [] if is_recent(sweeps, self._schedule(now), budget, now) else ["sweep"]

    def _schedule(self, now: datetime) -> Schedule:
        return Schedule.of(self._settings.schedule, now)
