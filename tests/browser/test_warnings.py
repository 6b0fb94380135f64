"""Warning, notice and their buttons as users see them, in Chromium: Playground and Web Chat."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from shared.storage.table_account import Tables
from shared.texts.texts_file import read_texts
from tests.bots.survey_bot import AGE, KEPT, NAME, TRANSPORT
from tests.browser.chats import open_chat, sees, write
from tests.browser.web_chat import DirectLine, download_web_chat
from tests.e2e.running_bot import StoredRows, running_bot, settings_on
from tests.e2e.test_playground import playground
from tests.e2e.test_warnings import SETTINGS

TEXTS = read_texts()
WARNED_AFTER = 9000 - 62 * 60  # seconds, as `SETTINGS` say


def said(key: str, locale: str) -> str:
    return TEXTS.say(key, locale, remaining=3600).text  # type: ignore[arg-type] # a test's own


@pytest.fixture(scope="module")
def web_chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return download_web_chat(tmp_path_factory.mktemp("web_chat"))


async def test_the_buttons_keep_and_resume_and_silence_ends_in_two_clients_and_two_languages(
    browser: Browser,
    azure_tables: Tables,
    storage_connection_string: str,
    web_chat: str,
    tmp_path: Path,
) -> None:
    policy = SETTINGS["ExpiryPolicy"] + '\nresume_within = "1h"'
    settings = settings_on(storage_connection_string) | SETTINGS | {"ExpiryPolicy": policy}
    rows = StoredRows(azure_tables, settings)
    async with (
        running_bot(settings, tmp_path) as bot,
        playground(bot, tmp_path) as address,
        DirectLine(lambda activity: bot.post(json=activity), web_chat) as direct_line,
    ):
        english = await open_chat(browser, address, "en-US")
        german = await open_chat(browser, direct_line.page, "de-DE")
        try:
            for page, question in ((english, NAME), (german, TRANSPORT)):
                await write(page, "hello")  # the Playground's user has joined, and was asked then
                await sees(page, question)
            await rows.let_time_pass(seconds=WARNED_AFTER + 60)
            await bot.sweep()
            for page, language in ((english, "en"), (german, "de")):
                await sees(page, said("warning", language))
            await english.get_by_role("button", name=said("stay", "en")).click()
            await sees(english, said("stayed", "en"))

            await rows.let_time_pass(minutes=62)
            await bot.sweep()
            await sees(german, said("expired_resumable", "de"))
            await write(english, "Bus")
            await sees(english, AGE)  # it goes on where it was
            await sees(english, said("expired_resumable", "en"), times=0)

            await write(german, "hello")
            await sees(german, TRANSPORT, times=2)
            await rows.let_time_pass(seconds=WARNED_AFTER + 60)
            await bot.sweep()
            await sees(german, said("warning", "de"), times=2)
            bar = german.get_by_role("toolbar")
            await bar.get_by_role("button", name=said("stay", "de")).click()
            await sees(german, said("stayed", "de"))
            await write(german, "Bus")
            await sees(german, NAME)

            await rows.let_time_pass(seconds=9060)
            await bot.sweep()
            await sees(english, said("expired_resumable", "en"))
            await sees(german, said("expired_resumable", "de"), times=2)
            # For a moment Web Chat has it once more for screen readers, outside of its bar.
            await english.get_by_role("button", name=said("resume", "en")).click()
            await bar.get_by_role("button", name=said("resume", "de")).click()
            for page, language, question in ((english, "en", AGE), (german, "de", NAME)):
                await sees(page, said("resumed", language))
                await sees(page, question, times=2)
            await write(german, "Ada")
            await sees(german, AGE)
            await write(english, "36")
            await sees(english, KEPT)
        finally:
            for page, name in ((english, "playground"), (german, "web-chat")):
                await page.screenshot(path=tmp_path / f"{name}.png")
                await page.close()
