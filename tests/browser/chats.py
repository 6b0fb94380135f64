"""What users do in a chat window, and what they see there."""

from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, Route, expect

MESSAGE = ".fai-OutputCard, .webchat__bubble__content"  # in the Playground, in Web Chat


async def open_chat(
    browser: Browser, address: str, locale: str, *, width: int = 1250, height: int = 900
) -> Page:
    """A chat window of a user with this language, and without the internet."""

    async def answer(route: Route) -> None:
        here = urlsplit(route.request.url).hostname in ("localhost", "127.0.0.1")
        await (route.continue_() if here else route.abort())

    page = await browser.new_page(
        locale=locale, viewport={"width": width, "height": height}, device_scale_factor=1.5
    )
    await page.route("**/*", answer)
    await page.goto(address)
    return page


async def write(page: Page, text: str) -> None:
    await page.get_by_role("textbox").click()
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def sees(page: Page, text: str, times: int = 1, within_seconds: float = 30) -> None:
    """Wait until so many messages have a text."""
    messages = page.locator(MESSAGE).filter(has_text=text)
    await expect(messages).to_have_count(times, timeout=1000 * within_seconds)
