"""Storage that answers with errors: nothing is lost, and nobody is told that it was a conflict."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.bots.survey_bot import NAME, TRANSPORT
from tests.e2e.running_bot import (
    EXPIRED,
    RunningBot,
    StoredRows,
    User,
    running_bot,
    settings_on,
)
from tests.fake_channel import FakeChannel
from tests.storage_proxy import Refusal, StorageProxy

REFUSALS = [
    Refusal(409, "TableBeingDeleted"),
    Refusal(409, "TableBeingDeleted", writes_only=True),
    Refusal(409, "AccountBeingCreated"),
    Refusal(400, "InvalidInput"),
    Refusal(400, "PropertiesNeedValue", writes_only=True),
    Refusal(403, "AuthorizationFailure"),
    Refusal(404, "TableNotFound", writes_only=True),
    Refusal(404),
    Refusal(409, writes_only=True),
    Refusal(412),
]


@pytest.fixture(scope="module")
async def proxy(storage_connection_string: str) -> AsyncIterator[StorageProxy]:
    async with StorageProxy(storage_connection_string) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def settings(proxy: StorageProxy) -> dict[str, str]:
    return settings_on(proxy.connection_string)


# A probe that asks again gets no remembered answer; a request that is refused is not repeated.
AT_ONCE = """
from shared.expiry import health
from shared.storage.table_account import Tables
health.HEALTH_SECONDS = 0
Tables.OPTIONS["retry_total"] = 0
"""


async def health(bot: RunningBot, of: str = "") -> tuple[int, list[str]]:
    """Status, and what has failed."""
    async with ClientSession(bot.url) as http, http.get(f"/api/health{of}") as answer:
        return answer.status, (await answer.json()).get("failed", [])


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
async def test_a_message_gets_503_and_counts_when_it_comes_again(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, proxy: StorageProxy, refusal: Refusal
) -> None:
    user, new, idle = (User(bot, channel) for _ in range(3))
    await idle.say("hello")
    await rows.let_time_pass(seconds=610)
    await user.say("hello")
    proxy.refusal = refusal
    try:
        assert await user.send("Bus") == 503
        assert await new.send("hello") == 503
        if not refusal.writes_only:
            await bot.start_sweep()  # whatever becomes of it
    finally:
        proxy.refusal = None
    assert len(user.heard) == 1
    assert new.heard == []
    (question,) = await user.say("Bus")
    assert NAME in question
    assert TRANSPORT in (await new.say("hello"))[0]
    await bot.sweep()
    assert EXPIRED in idle.heard[-1]
    assert "too much happened" not in "".join(user.heard + new.heard)


@pytest.mark.parametrize(
    "refusal",
    [Refusal(409, "TableBeingDeleted"), Refusal(400, "OutOfRangeInput"), Refusal(409)],
    ids=str,
)
async def test_a_fresh_start_waits_for_storage_and_health_says_so(
    storage_connection_string: str,
    channel: FakeChannel,
    tmp_path: Path,
    refusal: Refusal,
) -> None:
    async with StorageProxy(storage_connection_string) as proxy:
        proxy.refusal = refusal
        async with running_bot(settings_on(proxy.connection_string), tmp_path) as bot:
            user = User(bot, channel)
            assert await user.send("hello") == 503
            assert await health(bot) == (503, ["storage"])
            proxy.refusal = None
            assert TRANSPORT in (await user.say("hello"))[0]


async def test_while_storage_cannot_be_reached_health_says_so_and_afterwards_all_goes_on(
    storage_connection_string: str, channel: FakeChannel, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(StorageProxy(storage_connection_string))
        settings = settings_on(proxy.connection_string)
        async with proxy.unreachable():
            # A sweep without storage fails, and the host says so.
            bot = await stack.enter_async_context(
                running_bot(settings, tmp_path, changes=AT_ONCE, may_fail=True)
            )
            user = User(bot, channel)
            assert await health(bot) == (503, ["storage"])
            assert await user.send("hello") == 503
        assert TRANSPORT in (await user.say("hello"))[0]
        await bot.sweep()
        assert await health(bot) == (200, [])
        async with proxy.unreachable():
            assert await health(bot) == (503, ["storage"])
            assert await health(bot, "/live") == (200, [])
            assert await user.send("Bus") == 503
            await bot.start_sweep()
        assert NAME in (await user.say("Bus"))[0]
        await bot.sweep()  # the last one may be long ago on a busy machine
        assert await health(bot) == (200, [])
