"""Which address to send to when a channel says that a conversation's own is the wrong one."""

import pytest

from shared.connector import service_urls
from shared.connector.service_urls import TEAMS_GCC, ServiceUrls
from shared.domain.reference import Reference
from tests.bot_in_memory import activity

PUBLIC = "https://smba.trafficmanager.net/amer/"
OTHER = "https://smba.trafficmanager.net/emea/"


def reference(url: str = PUBLIC, tenant: str | None = "t1", channel: str = "msteams") -> Reference:
    return Reference(channel, url, "talk", tenant=tenant)


def received(urls: ServiceUrls, url: str, tenant: str | None = "t1") -> None:
    where = {"id": "a", **({"tenantId": tenant} if tenant else {})}
    urls.received(activity(channelId="msteams", serviceUrl=url, conversation=where))


def test_what_came_last_counts_whether_received_or_delivered() -> None:
    urls = ServiceUrls()
    received(urls, PUBLIC)
    urls.delivered(reference(OTHER))
    assert urls.other_than(reference(PUBLIC)) == OTHER
    received(urls, PUBLIC)
    assert urls.other_than(reference(OTHER)) == PUBLIC


@pytest.mark.parametrize("tenant", ["t2", None])
def test_another_tenants_address_is_never_given(tenant: str | None) -> None:
    urls = ServiceUrls()
    received(urls, OTHER)
    assert urls.other_than(reference(tenant=tenant)) == TEAMS_GCC


def test_an_address_without_a_tenant_is_not_remembered() -> None:
    urls = ServiceUrls()
    received(urls, OTHER, tenant=None)
    assert urls.other_than(reference(tenant=None)) == TEAMS_GCC


def test_another_channels_address_is_never_given() -> None:
    urls = ServiceUrls()
    received(urls, OTHER)
    assert urls.other_than(reference(channel="webchat")) == ""


@pytest.mark.parametrize("refused", [TEAMS_GCC, TEAMS_GCC.rstrip("/")])
def test_the_address_that_was_refused_is_not_given_again(refused: str) -> None:
    assert ServiceUrls().other_than(reference(refused)) == ""


def test_only_so_many_tenants_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_urls, "_MOST", 2)
    urls = ServiceUrls()
    for tenant in ("t1", "t2", "t1", "t3"):
        received(urls, OTHER, tenant)
    known = [urls.other_than(reference(tenant=t)) == OTHER for t in ("t1", "t2", "t3")]
    assert known == [True, False, True]
