"""An older version and this one on the same tables at once, as during a rolling update.

The older one is a commit of this repository; where there is no history, there is nothing to test.
"""

import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.processes import ROOT
from shared.storage.table_account import Tables
from tests.e2e.running_bot import (
    EXPIRED,
    WELCOME_BACK,
    RunningBot,
    StoredRows,
    User,
    running_bot,
    settings_on,
)
from tests.fake_channel import FakeChannel
from tests.hosts import only_stand_in

# The version before: change it with each release.
OLDER = "191d4ea"
WHAT_RUNS = ["function_app.py", "shared", "sending_limits.toml", "host.json"]

pytestmark = only_stand_in("the versions are told apart by the path of imports")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the older version."""
    names = subprocess.run(
        ["git", "ls-tree", "--name-only", OLDER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if names.returncode:
        pytest.skip(f"{OLDER} is not in the history of this clone")
    folders = [name for name in names.stdout.split() if name.endswith("_function")]
    archive = subprocess.run(
        ["git", "archive", OLDER, *WHAT_RUNS, *folders], cwd=ROOT, capture_output=True, check=True
    ).stdout
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def settings(storage_connection_string: str) -> dict[str, str]:
    return settings_on(storage_connection_string)


@pytest.fixture(scope="module")
async def old(
    older: Path, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBot]:
    folder = tmp_path_factory.mktemp("old")
    its_own = f"import sys; sys.path.insert(0, {str(older)!r})\n"
    its_own += "import shared; print('runs', shared.__file__)\n"
    async with running_bot(settings, folder, first=its_own, root=older) as bot:
        assert f"runs {older}" in bot.log
        yield bot


@pytest.fixture(scope="module")
async def new(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBot]:
    async with running_bot(settings, tmp_path_factory.mktemp("new")) as bot:
        yield bot


@pytest.fixture
def rows(azure_tables: Tables, settings: dict[str, str]) -> StoredRows:
    return StoredRows(azure_tables, settings)


def at(bot: RunningBot, user: User) -> User:
    """The same user, whose next message another instance takes."""
    return User(bot, user.channel, user.conversation)


async def test_a_conversation_goes_on_whichever_version_takes_its_messages(
    old: RunningBot, new: RunningBot, channel: FakeChannel
) -> None:
    ann = User(old, channel)
    first = await ann.say("hello")
    second = await at(new, ann).say("by bus")
    third = await at(old, ann).say("Ann")
    last = await at(new, ann).say("30")
    assert len({*first, *second, *third, *last}) == len([*first, *second, *third, *last])
    assert "Ann" in " ".join(last)
    assert WELCOME_BACK not in " ".join(ann.heard)


@pytest.mark.parametrize("sweeper_is_old", [True, False])
async def test_each_version_expires_what_the_other_began_and_tells_the_user_once(
    old: RunningBot,
    new: RunningBot,
    channel: FakeChannel,
    rows: StoredRows,
    sweeper_is_old: bool,
) -> None:
    talks, sweeps = (new, old) if sweeper_is_old else (old, new)
    user = User(talks, channel)
    await user.say("hello")
    await rows.let_time_pass(seconds=700)
    await sweeps.sweep()
    await talks.sweep()
    assert sum(EXPIRED in text for text in user.heard) == 1
    assert WELCOME_BACK not in " ".join(await user.say("hello again"))
