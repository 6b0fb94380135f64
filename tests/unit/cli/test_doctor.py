"""What the configuration check finds, and what it advises."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from shared.cli.doctor import (
    check_clock,
    check_credentials,
    check_endpoint,
    check_made_with,
    check_schedule,
)
from shared.connector.cloud import PUBLIC
from shared.connector.credentials import TokenSource
from shared.settings import Settings, read_settings

NO_CLOUD = replace(PUBLIC, login_url="https://127.0.0.1:1")
NOW = datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC)


def settings(monkeypatch: pytest.MonkeyPatch, **changed: str) -> Settings:
    values = {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "ExpireAfterSeconds": "600",
        "ExpirySchedule": "0 * * * * *",
        **changed,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return read_settings()


@pytest.mark.parametrize(
    ("changed", "level", "advice"),
    [
        ({}, "ok", ""),
        ({"ExpireAfterSeconds": "30"}, "warn", "ExpirySchedule"),
    ],
)
def test_the_schedule_fits_the_timeout(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], level: str, advice: str
) -> None:
    finding = check_schedule(settings(monkeypatch, **changed).expiry, NOW)
    assert finding.level == level
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("off_seconds", "level"), [(0, "ok"), (2, "ok"), (3, "FAIL"), (-2, "ok"), (-4, "FAIL")]
)
def test_a_clock_may_be_off_by_the_skew(off_seconds: int, level: str) -> None:
    answered_at = NOW.replace(microsecond=0) + timedelta(seconds=off_seconds)
    assert check_clock(NOW, answered_at, NOW).level == level


def test_another_number_of_shards_than_the_tables_is_a_failure() -> None:
    assert check_made_with("shards", "TableShards", 4, 4).level == "ok"
    finding = check_made_with("shards", "TableShards", 4, 64)
    assert finding.level == "FAIL"
    assert "TableShards to 64" in finding.advice


async def test_credentials_that_cannot_be_shown_are_a_failure_without_the_secret() -> None:
    assert (await check_credentials(TokenSource(app_id=""))).level == "warn"
    nowhere = TokenSource(app_id="a", app_password="s3cret", cloud=NO_CLOUD)
    finding = await check_credentials(nowhere)
    assert finding.level == "FAIL"
    assert "s3cret" not in str(finding)


@pytest.mark.parametrize(
    ("status", "level"),
    [(401, "ok"), (400, "ok"), (404, "FAIL"), (302, "FAIL"), (200, "FAIL"), (503, "FAIL")],
)
async def test_the_endpoint_must_refuse_who_shows_no_token(status: int, level: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    application = web.Application()
    application.router.add_post("/api/messages", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        finding = await check_endpoint(f"http://127.0.0.1:{port}/api/messages")
    finally:
        await runner.cleanup()
    assert finding.level == level
