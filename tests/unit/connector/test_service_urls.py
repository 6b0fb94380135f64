"""Which address to send to when a channel says that a conversation's own is the wrong one."""

from dataclasses import dataclass, field

import pytest

from shared.connector import service_urls
from shared.connector.service_urls import CHANGES_EVERY_SECONDS, TEAMS_GCC, ServiceUrls
from shared.domain.errors import StorageUnavailableError
from shared.domain.reference import Reference
from tests.bot_in_memory import activity

PUBLIC = "https://smba.trafficmanager.net/amer/"
OTHER = "https://smba.trafficmanager.net/emea/"


def reference(url: str = PUBLIC, tenant: str | None = "t1", channel: str = "msteams") -> Reference:
    return Reference(channel, url, "talk", tenant=tenant)


def received(urls: ServiceUrls, url: str, tenant: str | None = "t1") -> None:
    where = {"id": "a", **({"tenantId": tenant} if tenant else {})}
    urls.received(activity(channelId="msteams", serviceUrl=url, conversation=where))


async def kept(urls: ServiceUrls, url: str, tenant: str | None = "t1") -> None:
    where = {"id": "a", **({"tenantId": tenant} if tenant else {})}
    await urls.keep(activity(channelId="msteams", serviceUrl=url, conversation=where))


@dataclass
class Tenants:
    """A `TenantStore` in memory; several processes may share it."""

    urls: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    is_down: bool = False

    async def service_url(self, tenant: str) -> str:
        self._answer()
        return self.urls.get(tenant, "")

    async def keep_service_url(self, tenant: str, url: str) -> None:
        self._answer()
        self.writes += 1
        self.urls[tenant] = url

    def _answer(self) -> None:
        if self.is_down:
            raise StorageUnavailableError("down")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_came_last_counts_whether_received_or_delivered() -> None:
    urls = ServiceUrls()
    received(urls, PUBLIC)
    urls.delivered(reference(OTHER))
    assert await urls.other_than(reference(PUBLIC)) == OTHER
    received(urls, PUBLIC)
    assert await urls.other_than(reference(OTHER)) == PUBLIC


@pytest.mark.parametrize("tenant", ["t2", None])
async def test_another_tenants_address_is_never_given(tenant: str | None) -> None:
    urls = ServiceUrls()
    received(urls, OTHER)
    assert await urls.other_than(reference(tenant=tenant)) == TEAMS_GCC


async def test_an_address_without_a_tenant_is_not_remembered() -> None:
    urls = ServiceUrls()
    received(urls, OTHER, tenant=None)
    assert await urls.other_than(reference(tenant=None)) == TEAMS_GCC


async def test_another_channels_address_is_never_given() -> None:
    urls = ServiceUrls()
    received(urls, OTHER)
    assert await urls.other_than(reference(channel="webchat")) == ""


@pytest.mark.parametrize("refused", [TEAMS_GCC, TEAMS_GCC.rstrip("/")])
async def test_the_address_that_was_refused_is_not_given_again(refused: str) -> None:
    assert await ServiceUrls().other_than(reference(refused)) == ""


async def test_only_so_many_tenants_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_urls, "_MOST", 2)
    urls = ServiceUrls()
    for tenant in ("t1", "t2", "t1", "t3"):
        received(urls, OTHER, tenant)
    known = [await urls.other_than(reference(tenant=t)) == OTHER for t in ("t1", "t2", "t3")]
    assert known == [True, False, True]


async def test_a_process_that_no_activity_reaches_knows_what_others_received() -> None:
    store = Tenants()
    messages, sweeps = ServiceUrls(store), ServiceUrls(store)
    await kept(messages, OTHER)
    assert await sweeps.other_than(reference(PUBLIC)) == OTHER
    assert await sweeps.other_than(reference(OTHER)) == TEAMS_GCC
    assert await sweeps.other_than(reference(PUBLIC, tenant="t2")) == TEAMS_GCC
    assert await sweeps.other_than(reference(PUBLIC, channel="webchat")) == ""


async def test_what_the_process_saw_itself_goes_first_unless_it_was_refused() -> None:
    store = Tenants()
    await kept(ServiceUrls(store), OTHER)
    sweeps = ServiceUrls(store)
    sweeps.delivered(reference("https://delivered/"))
    assert await sweeps.other_than(reference(PUBLIC)) == "https://delivered/"
    assert await sweeps.other_than(reference("https://delivered")) == OTHER


async def test_an_address_is_written_once_by_each_process_and_again_when_it_changes() -> None:
    store, clock = Tenants(), Clock()
    urls = ServiceUrls(store, clock)
    for _ in range(3):
        await kept(urls, PUBLIC)
    assert store.writes == 1
    await kept(urls, OTHER)
    assert store.writes == 2
    for url in (PUBLIC, OTHER, PUBLIC):  # two in turn: not with every message
        await kept(urls, url)
    assert store.writes == 2
    clock.now += CHANGES_EVERY_SECONDS
    await kept(urls, PUBLIC)
    await kept(urls, OTHER)
    assert store.writes == 3
    assert await ServiceUrls(store).other_than(reference(OTHER)) == PUBLIC
    clock.now += CHANGES_EVERY_SECONDS
    await kept(urls, OTHER)
    assert await ServiceUrls(store).other_than(reference(PUBLIC)) == OTHER


async def test_a_store_that_is_down_costs_neither_the_turn_nor_the_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Tenants(is_down=True)
    urls = ServiceUrls(store)
    await kept(urls, OTHER)
    assert await ServiceUrls(store).other_than(reference(PUBLIC)) == TEAMS_GCC
    assert caplog.text.count("service URL of a tenant: not") == 2
    store.is_down = False
    await kept(urls, OTHER)  # it is tried again at the next activity
    assert store.writes == 1


async def test_without_a_tenant_or_a_store_nothing_is_kept() -> None:
    store = Tenants()
    await kept(ServiceUrls(store), OTHER, tenant=None)
    assert store.writes == 0
    await kept(ServiceUrls(), OTHER)
