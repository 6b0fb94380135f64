"""`make run` with its own settings: what a newcomer sees, in the time that it takes."""

import asyncio
import os
import signal
from pathlib import Path
from uuid import uuid4

from playwright.async_api import Browser

from scripts import local_settings, processes
from tests.browser.chats import open_chat, sees, write
from tests.e2e.test_local_run import read_until, start_run
from tests.ports import free_port
from tests.texts import RESUMED

# An author may delete it; another bot may leave nothing that could be resumed.
HAS_SAMPLE = (processes.ROOT / "shared" / "bot" / "sample").exists()
EXPIRED = "This conversation has expired"
TRANSPORT, NAME, AGE = "Which transport do you use", "What is your name?", "give your age"


async def test_who_says_something_and_then_nothing_is_warned_and_told_and_goes_on(
    browser: Browser, storage_connection_string: str, tmp_path: Path
) -> None:
    example = local_settings.read_json(processes.ROOT / "local.settings.example.json")
    run = start_run(
        **example["Values"]
        | {
            "AzureWebJobsStorage": storage_connection_string,
            "ConversationsTable": f"c{uuid4().hex}",
            "UsersTable": f"u{uuid4().hex}",
            "PORT": str(free_port()),
        }
    )
    try:
        output = await asyncio.to_thread(read_until, run, "and chat")
        address = output.rpartition("Open ")[2].split()[0]
        page = await open_chat(browser, address, "en-US", width=1250, height=916)
        await page.get_by_role("button", name="Hide log panel").click()
        await write(page, "hello")
        if HAS_SAMPLE:
            await sees(page, TRANSPORT)
            await write(page, "Bus")
            await sees(page, NAME)
        await sees(page, "Are you still there?", within_seconds=60)
        await page.get_by_role("button", name="I'm still here").wait_for()
        await sees(page, EXPIRED, within_seconds=60)
        if HAS_SAMPLE:
            await page.get_by_role("button", name="Resume").click()
            await sees(page, RESUMED)
            await sees(page, NAME, times=2)
            await write(page, "Ada")
            await sees(page, AGE)
        await page.screenshot(path=tmp_path / "expiry.png")  # docs/expiry.png is such a picture
        await page.close()
    finally:
        os.killpg(run.pid, signal.SIGTERM)
        await asyncio.to_thread(run.communicate, timeout=60)
