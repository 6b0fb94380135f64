"""What the end-to-end tests share: a bot in a process of its own, and a channel."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.storage.tables import Tables
from tests.e2e.running_bot import RunningBot, StoredRows, running_bot, settings_on
from tests.fake_channel import FakeChannel

# Microsoft's worker library needs Python 3.13, so on 3.11 and 3.12 there is nothing to test.
collect_ignore = [] if sys.version_info >= (3, 13) else ["test_functions_worker.py"]


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        yield channel


@pytest.fixture
def settings(storage_connection_string: str) -> dict[str, str]:
    """Of `bot`; a test that wants others takes this and changes a copy."""
    return settings_on(storage_connection_string)


@pytest.fixture
async def bot(settings: dict[str, str], tmp_path: Path) -> AsyncIterator[RunningBot]:
    async with running_bot(settings, tmp_path) as bot:
        yield bot


@pytest.fixture
def rows(azure_tables: Tables, settings: dict[str, str]) -> StoredRows:
    """The rows of `bot`."""
    return StoredRows(azure_tables, settings)
