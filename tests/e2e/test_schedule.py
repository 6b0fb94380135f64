"""`ExpirySchedule`: the app starts with what the Functions host takes, and with nothing else."""

from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.running_bot import running_bot, settings_on

BUDGET_SECONDS = 45
DAY = 86_400


@pytest.mark.parametrize(
    ("schedule", "longest_seconds"),
    [
        ("0 0 0 1-7 * MON", 35 * DAY),  # day of month AND day of week
        ("0 0 9-17 * * Monday-Fri", 2 * DAY + 16 * 3600),
        ("0 4 * * *", DAY),  # five fields: no seconds
        ("0 0 5-1 * * *", 20 * 3600),  # 1 to 5
    ],
)
async def test_page_and_health_know_how_long_no_sweep_is_due(
    storage_connection_string: str, tmp_path: Path, schedule: str, longest_seconds: int
) -> None:
    settings = settings_on(storage_connection_string, ExpirySchedule=schedule)
    async with running_bot(settings, tmp_path) as bot, ClientSession(bot.url) as http:
        await bot.sweep()
        async with http.get("/api/expiry", params={"format": "json"}) as answer:
            status = await answer.json()
        async with http.get("/api/health") as answer:
            assert answer.status == 200
    assert status["health"] == "good"
    assert status["late_after_seconds"] == 3 * longest_seconds + BUDGET_SECONDS


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("00:00:30", "a time span works on App Service plans only"),
        ("0 0 0 30 Feb *", "it does not come within ten years"),
        ("0 0 12 ? * *", "'?' is no day of month"),
        ("0 0 0 LW * *", "'LW' is no day of month"),
    ],
)
async def test_the_app_does_not_start_on_a_schedule_that_the_host_would_not_run(
    storage_connection_string: str, tmp_path: Path, schedule: str, reason: str
) -> None:
    settings = settings_on(storage_connection_string, ExpirySchedule=schedule)
    async with (
        running_bot(settings, tmp_path, starts=False) as bot,
        ClientSession(bot.url) as http,
        http.get("/api/health") as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["reason"].startswith("ExpirySchedule is wrong; it must be")
        assert f"The app cannot start: ExpirySchedule is {schedule!r}" in bot.log
        assert reason in bot.log
        status, _ = await bot.post(json={})
        assert status == 503
