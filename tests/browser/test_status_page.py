"""The status page in Chromium shows the truth of a database that is prepared here."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from shared.domain.identity import Address
from shared.domain.sweep_record import SweepRecord
from shared.domain.work import DueRow
from shared.storage.table_account import Tables
from shared.storage.table_store import TableStore
from shared.storage.tables import Operation, Row
from tests.e2e.running_bot import running_bot, settings_on

WIDTHS = (390, 1400)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
async def page_address(
    storage_connection_string: str, azure_tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    now = datetime.now(UTC)
    in_half_an_hour = f"0 {(now.minute + 30) % 60} * * * *"  # the rows stay as they are until then
    settings = settings_on(
        storage_connection_string, ExpireAfterSeconds="7200", ExpirySchedule=in_half_an_hour
    )
    names = settings["ConversationsTable"], settings["UsersTable"]
    await azure_tables.create(*names)
    conversations, users = (azure_tables.table(name) for name in names)
    store = TableStore(conversations, users, 4)
    number = 0
    for minutes, count, warned, is_told in (
        *((-2, 3, 1, False), (3, 5, 0, False), (4, 6, 1, False), (900, 9, 0, True)),
        *((10, 8, 0, False), (40, 21, 0, False), (100, 13, 0, False)),
    ):
        for _ in range(count):
            number += 1
            due = int((now + timedelta(minutes=minutes)).timestamp())
            address = Address(f"s{number % 4:03d}", f"{number:032x}")
            await store.file(
                DueRow(address, "one", due, warned=warned, warned_since=now, is_told=is_told)
            )
    for dead in range(2):
        row = Row("s001", f"x|{int(now.timestamp()) - 3600:010d}|{dead:032x}|one")
        await conversations.write([Operation("insert", row)])
    for ago in range(8):
        counts = {"expired": 4 + ago, "notified": 3 + ago, "refiled": 2}
        at = now - timedelta(minutes=1 + 5 * ago)
        record = SweepRecord(at, counts, 30.0 + ago, 90.0 + ago, 1.25, 40 + ago)
        await store.record_sweep(record, ago)
    async with running_bot(settings, tmp_path_factory.mktemp("bot")) as bot:
        yield f"{bot.url}/api/expiry"


async def rows_of(page: Page, table: str) -> dict[str, str]:
    rows = await page.locator(f"#{table} tbody tr").all()
    return {
        await r.locator("th").inner_text(): await r.locator("td").first.inner_text() for r in rows
    }


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_the_page_shows_the_truth_at_every_width_and_in_both_schemes(
    browser: Browser,
    page_address: str,
    tmp_path: Path,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    page = await browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(page_address)
    await page.screenshot(path=tmp_path / f"status-{width}-{scheme}.png", full_page=True)

    assert await page.locator("h1").inner_text() == "On time, but 2 dead letters"
    assert await page.locator("#waiting").inner_text() == "47"
    assert await page.locator("#warned").inner_text() == "6"
    assert await page.locator("#kept").inner_text() == "9"
    assert await page.locator("#overdue").inner_text() == "3"
    assert await page.locator("#dead-letters").inner_text() == "2"
    assert await rows_of(page, "time-left") == {
        "overdue": "3",
        "warned": "6",
        "up to 1 min": "0",
        "1 to 5 min": "5",
        "5 to 15 min": "8",
        "15 to 60 min": "21",
        "1 to 6 h": "13",
        "kept": "9",
    }
    assert await rows_of(page, "outcomes") == {"expired": "60", "notified": "52", "refiled": "16"}
    assert list((await rows_of(page, "sweeps")).values()) == [str(4 + ago) for ago in range(8)]
    back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(246, 247, 249)", "dark": "rgb(18, 22, 28)"}[scheme]

    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in asked if not url.startswith(("data:", page_address))] == []
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    await page.close()


async def test_the_tab_key_reaches_all_there_is_with_a_visible_focus(
    browser: Browser, page_address: str
) -> None:
    page = await browser.new_page()
    await page.goto(page_address)
    reached = []
    for _ in range(2):
        await page.keyboard.press("Tab")
        reached.append(
            await page.evaluate(
                "(at => [at.tagName, getComputedStyle(at).outlineStyle])(document.activeElement)"
            )
        )
    assert reached == [["A", "solid"], ["DIV", "solid"]]
    await page.close()
