"""What the end-to-end tests share: a bot in a process of its own, and a channel."""

import sys
from collections.abc import AsyncIterator

import pytest

from shared.storage.table_account import Tables
from tests.bots import survey_bot
from tests.e2e.running_bot import RunningBot, StoredRows, running_bot, settings_on
from tests.e2e.state_client import StateClient, state_client
from tests.fake_channel import FakeChannel

# Microsoft's worker library needs Python 3.13, so on 3.11 and 3.12 there is nothing to test.
collect_ignore = [] if sys.version_info >= (3, 13) else ["test_functions_worker.py"]


@pytest.fixture(scope="module")
async def channel() -> AsyncIterator[FakeChannel]:
    """For all tests of a module: each has conversations of its own."""
    async with FakeChannel() as channel:
        yield channel


@pytest.fixture(scope="module")
def settings(storage_connection_string: str) -> dict[str, str]:
    """Of `bot`; a test that wants others changes a copy."""
    return settings_on(storage_connection_string)


@pytest.fixture(scope="module")
async def bot(
    settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[RunningBot]:
    """One for all tests of a module: it takes two seconds to start.

    A test module says with BOT and CHANGES, if it has them, what `running_bot` is given.
    """
    its_bot = getattr(request.module, "BOT", survey_bot)
    changes = getattr(request.module, "CHANGES", "")
    folder = tmp_path_factory.mktemp("bot")
    async with running_bot(settings, folder, bot=its_bot, changes=changes) as bot:
        yield bot


@pytest.fixture
async def state(bot: RunningBot) -> AsyncIterator[StateClient]:
    """A back office of `bot`."""
    async with state_client(bot) as client:
        yield client


@pytest.fixture
async def rows(azure_tables: Tables, bot: RunningBot, settings: dict[str, str]) -> StoredRows:
    """The rows of `bot`, of which there are none yet."""
    rows = StoredRows(azure_tables, settings)
    await bot.sweep()  # the tables are made at first use
    await rows.delete_all()
    return rows
