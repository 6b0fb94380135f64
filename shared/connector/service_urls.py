"""The address to use when a channel says that a conversation's own is wrong."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from botbuilder.schema import Activity
from botframework.connector import Channels

from shared.connector.references import reference_of
from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import tenant_hash
from shared.domain.reference import Reference
from shared.domain.store import TenantStore

logger = logging.getLogger(__name__)

# The address of all conversations of Teams' government tenants (GCC), whatever the activity said.
# Source: Teams documentation, "Status codes retry guidance" and "Proactive messages".
TEAMS_GCC = "https://smba.infra.gcc.teams.microsoft.com/teams/"

_MOST = 1_000  # tenants
# After a change, so long no further one is kept: a tenant's activities may come by two addresses.
CHANGES_EVERY_SECONDS = 600


_Value = TypeVar("_Value")


class ServiceUrls:
    """The newest service URL of each tenant of each channel.

    Only addresses of an authenticated activity or a delivered notice are used: the receiver gets
    the bot's token. Sweeps may run in a process that no activity reaches (on Flex Consumption they
    always do), so what activities say is kept in the store: one request for each tenant that a
    process meets, and one more when its address changes.

    Args:
        store: where processes keep them for each other; None: this process is the only one.
        clock: seconds that never go back.
    """

    def __init__(
        self, store: TenantStore | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._clock = clock
        self._newest: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._kept: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def received(self, activity: Activity) -> None:
        """An activity of an authenticated caller came."""
        self._saw(reference_of(activity))

    async def keep(self, activity: Activity) -> None:
        """Let other processes know what a received activity says; a failure is logged only."""
        reference = reference_of(activity)
        if self._store is None or not reference.tenant:
            return
        key, url = (reference.channel, reference.tenant), reference.service_url
        now = self._clock()
        known, changes_from = self._kept.get(key, ("", 0.0))
        if url == known or (known and now < changes_from):
            return
        # Before the request, as other activities come meanwhile.
        _put(self._kept, key, (url, now + CHANGES_EVERY_SECONDS if known else now))
        try:
            await self._store.keep_service_url(tenant_hash(*key), url)
        except StorageUnavailableError as error:
            self._kept.pop(key, None)
            logger.warning("service URL of a tenant: not kept: %s", error)

    def delivered(self, reference: Reference) -> None:
        """The channel took something that was sent to this reference."""
        self._saw(reference)

    async def other_than(self, reference: Reference) -> str:
        """Another service URL for this reference; empty if there is none.

        What this process saw goes before what another one kept.
        """
        newest = self._newest.get((reference.channel, reference.tenant or ""))
        if newest and _differ(newest, reference.service_url):
            return newest
        kept = await self._kept_by_others(reference)
        for url in (kept, TEAMS_GCC if reference.channel == Channels.ms_teams else ""):
            if url and _differ(url, reference.service_url):
                return url
        return ""

    async def _kept_by_others(self, reference: Reference) -> str:
        if self._store is None or not reference.tenant:
            return ""
        try:
            return await self._store.service_url(tenant_hash(reference.channel, reference.tenant))
        except StorageUnavailableError as error:
            logger.warning("service URL of a tenant: not read: %s", error)
            return ""

    def _saw(self, reference: Reference) -> None:
        if not reference.tenant:
            return  # tenants have addresses of their own, and this might be anyone's
        _put(self._newest, (reference.channel, reference.tenant), reference.service_url)


def _put(
    tenants: OrderedDict[tuple[str, str], _Value], key: tuple[str, str], value: _Value
) -> None:
    tenants[key] = value
    tenants.move_to_end(key)
    if len(tenants) > _MOST:
        tenants.popitem(last=False)


def _differ(url: str, other: str) -> bool:
    return url.rstrip("/") != other.rstrip("/")
