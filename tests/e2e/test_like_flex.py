"""Messages, sweeps and the fan-out in processes of their own, as Flex Consumption runs them.

What one process learns, the others do not know. `make test-like-flex` runs more tests so.
"""

from collections.abc import AsyncIterator

import pytest

from shared.storage.table_account import Tables
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, User, running_bot
from tests.fake_channel import Answer, FakeChannel
from tests.hosts import only_stand_in

pytestmark = only_stand_in("another host decides by itself which functions share a process")


@pytest.fixture(scope="module")
async def bot(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBot]:
    async with running_bot(settings, tmp_path_factory.mktemp("bot"), options="--like-flex") as bot:
        yield bot


@pytest.fixture
async def rows(azure_tables: Tables, bot: RunningBot, settings: dict[str, str]) -> StoredRows:
    await bot.sweep()
    return StoredRows(azure_tables, settings)


def of_tenant(bot: RunningBot, channel: FakeChannel, name: str) -> User:
    return User(bot, channel, name, fields={"conversation": {"id": name, "tenantId": "contoso"}})


async def test_an_idle_conversation_expires_and_its_user_is_told(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = User(bot, channel)
    await user.say("hello")
    await rows.let_time_pass(seconds=610)
    assert "expired 1, notified 1" in await bot.sweep()
    assert EXPIRED in user.heard[-1]


async def test_a_sweep_knows_the_address_that_a_tenants_activities_come_from_now(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    moved, other = of_tenant(bot, channel, "moved"), of_tenant(bot, channel, "other")
    await moved.say("hello", serviceUrl=f"{channel.url}/old/")
    await rows.let_time_pass(seconds=610)
    await other.say("hello")
    wrong = Answer(403, {"error": {"code": "InvalidBotApiHost", "message": "moved"}})
    channel.answers |= {"moved": [wrong, Answer(201)]}
    assert "expired 1, retried later 1, notice failures {403: 1}" in await bot.sweep()
    await rows.let_time_pass(seconds=15)
    assert "notified 1" in await bot.sweep()
