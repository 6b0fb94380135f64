"""The fake channel's limits: what they let through is what Teams says it lets through."""

import pytest

from tests.rate_limits import RateLimits

TENANT = "app tenant"


def let_through(limits: RateLimits, every_seconds: float, seconds: float, thread: str = "") -> int:
    """Try at a steady pace; returns how many of the sends were let through."""
    tries = int(seconds / every_seconds)
    return sum(
        limits.wait_seconds(TENANT, thread, number * every_seconds) == 0 for number in range(tries)
    )


@pytest.mark.parametrize(("seconds", "most"), [(1, 7), (2, 8), (30, 60), (3600, 1800)])
def test_a_thread_takes_as_many_as_each_window_allows(seconds: float, most: int) -> None:
    limits = RateLimits(windows=((seconds, most),))
    assert let_through(limits, 0.125, seconds, "thread") == most


def test_all_windows_of_a_thread_hold_at_once() -> None:
    assert let_through(RateLimits(), 0.125, 2, "thread") == 8
    assert let_through(RateLimits(), 0.125, 30, "thread") == 60


def test_threads_do_not_share_windows() -> None:
    limits = RateLimits()
    assert let_through(limits, 0.125, 1, "one") == 7
    assert let_through(limits, 0.125, 1, "two") == 7


def test_a_tenant_takes_its_burst_and_then_its_rate() -> None:
    limits = RateLimits(per_second=50, burst=50)
    assert let_through(limits, 1 / 1024, 1) == 50 + 49  # the last one is due at the second's end


def test_a_steady_pace_at_the_rate_is_let_through_whole() -> None:
    assert let_through(RateLimits(per_second=64, burst=1), 1 / 64, 10) == 640


def test_tenants_do_not_share_a_rate() -> None:
    limits = RateLimits(burst=1)
    assert limits.wait_seconds("one", "", 0) == 0
    assert limits.wait_seconds("one", "", 0) > 0
    assert limits.wait_seconds("two", "", 0) == 0


@pytest.mark.parametrize(("thread", "kind"), [("thread", "thread"), ("", "tenant")])
def test_who_waits_as_told_is_let_through(thread: str, kind: str) -> None:
    limits = RateLimits(per_second=1, burst=1, windows=((2, 1),))
    assert limits.wait_seconds(TENANT, thread, 10) == 0
    wait = limits.wait_seconds(TENANT, thread, 10.5)
    assert wait == (1.5 if thread else 0.5)
    assert limits.breaches == {kind: 1}
    assert limits.wait_seconds(TENANT, thread, 10.5 + wait) == 0


def test_a_refused_send_costs_nothing() -> None:
    limits = RateLimits(burst=2, windows=((10, 1),))
    assert limits.wait_seconds(TENANT, "one", 0) == 0
    assert limits.wait_seconds(TENANT, "one", 0) > 0
    assert limits.wait_seconds(TENANT, "two", 0) == 0  # the tenant's second
