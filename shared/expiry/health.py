"""How the app is doing: the facts for the status page, and the checks for probes."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from shared.domain.errors import StorageUnavailableError
from shared.domain.policy import Policy
from shared.domain.store import Stores
from shared.domain.times import utc_now
from shared.expiry.inbox_watch import InboxWatch
from shared.expiry.status import Schedule, Status, Timer, gather_status, is_recent
from shared.settings import SettingsError
from shared.settings.expiry import ExpirySettings

logger = logging.getLogger(__name__)

# Probes come often; the storage is asked at most once in this time.
HEALTH_SECONDS = 5

# The inbox takes 16 requests, so it is looked at less often.
INBOX_SECONDS = 60


class Health:
    """How the app is doing.

    Args:
        stores: where the conversations are.
        settings: of expiry.
        policy: which timing holds for which conversation.
        inbox: looks at the inbox of `LongTurns`; None: there is none.
        now: the clock, in aware UTC.
        clock: a monotonic clock, in seconds; it says when to check again.
    """

    def __init__(
        self,
        stores: Stores,
        settings: ExpirySettings,
        policy: Policy,
        *,
        inbox: InboxWatch | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._policy = policy
        self._inbox = inbox
        self._inbox_again_at = clock()
        self._inbox_is_in_trouble = False
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
            inbox = await self._inbox.look(now) if self._inbox else None
            if not self._stores.has_rows:
                return replace(Status.of_no_rows(now), inbox=inbox)
            status = await gather_status(
                self._stores.for_sweeps(),
                self._schedule(now),
                self._settings.sweep_budget_seconds,
                self._policy,
                now,
            )
        timer: Timer = "off" if self._settings.timer_disabled else "on"
        return replace(status, timer=timer, inbox=inbox)

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
                inbox = ["inbox"] if await self._is_inbox_in_trouble(now) else []
                if self._settings.timer_disabled:
                    await self._stores.for_turns().has_user("nobody")  # the storage answers
                    return inbox
                sweeps = await self._stores.for_sweeps().sweeps()
        except (StorageUnavailableError, SettingsError) as error:
            logger.error("health: %s", error)  # noqa: TRY400 - the message is enough
            return ["storage"]
        budget = self._settings.sweep_budget_seconds
        is_swept = is_recent(sweeps, self._schedule(now), budget, now)
        return inbox if is_swept else ["sweep", *inbox]

    async def _is_inbox_in_trouble(self, now: datetime) -> bool:
        if self._inbox and self._clock() >= self._inbox_again_at:
            facts = await self._inbox.look(now)
            self._inbox_is_in_trouble = bool(facts and facts.trouble)
            self._inbox_again_at = self._clock() + INBOX_SECONDS
        return self._inbox_is_in_trouble

    def _schedule(self, now: datetime) -> Schedule:
        return Schedule.of(self._settings.schedule, now)
