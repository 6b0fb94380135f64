"""An older version and this one on the same tables at once, as during a rolling update.

The older one is a commit of this repository; where there is no history, there is nothing to test.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.processes import ROOT
from shared.storage.table_account import Tables
from tests.bots import notebook_bot, survey_bot, timing_bot
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
# The last one that knows of no session that can be resumed.
BEFORE_RESUME = "8a214bb"
WHAT_RUNS = ["function_app.py", "shared", "sending_limits.toml", "host.json"]

pytestmark = only_stand_in("the versions are told apart by the path of imports")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the older version."""
    return files_of(OLDER, tmp_path_factory.mktemp("older"))


@pytest.fixture(scope="module")
def before_resume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the last version that resumes nothing."""
    return files_of(BEFORE_RESUME, tmp_path_factory.mktemp("before_resume"))


def files_of(version: str, folder: Path) -> Path:
    """Unpack what runs of a version into the folder, and return that."""
    names = subprocess.run(
        ["git", "ls-tree", "--name-only", version],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if names.returncode:
        pytest.skip(f"{version} is not in the history of this clone")
    folders = [name for name in names.stdout.split() if name.endswith("_function")]
    archive = subprocess.run(
        ["git", "archive", version, *WHAT_RUNS, *folders],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def settings(storage_connection_string: str) -> dict[str, str]:
    return settings_on(storage_connection_string)


@asynccontextmanager
async def running_older(
    settings: dict[str, str], folder: Path, older: Path, bot: ModuleType | None = survey_bot
) -> AsyncIterator[RunningBot]:
    """Start a bot of the older version; stop it in the end."""
    its_own = f"import sys; sys.path.insert(0, {str(older)!r})\n"
    its_own += "import shared; print('runs', shared.__file__)\n"
    async with running_bot(settings, folder, bot=bot, first=its_own, root=older) as running:
        assert f"runs {older}" in running.log
        yield running


@pytest.fixture(scope="module")
async def old(
    older: Path, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBot]:
    async with running_older(settings, tmp_path_factory.mktemp("old"), older) as bot:
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


async def test_the_older_version_knows_no_warnings_and_ends_all_the_same_what_was_warned(
    older: Path,
    storage_connection_string: str,
    azure_tables: Tables,
    channel: FakeChannel,
    tmp_path: Path,
) -> None:
    settings = settings_on(
        storage_connection_string,
        ExpireAfterSeconds="9000",
        ExpirySchedule="0 0 * * * *",  # a warning must be earlier than by the timer's interval
        ExpiryPolicy='warn_before = "6000s"',
    )
    rows = StoredRows(azure_tables, settings)
    for name in "old", "new":
        (tmp_path / name).mkdir()
    async with (
        running_older(settings, tmp_path / "old", older) as old,
        running_bot(settings, tmp_path / "new") as new,
    ):
        silent, back = User(new, channel), User(new, channel)
        for user in silent, back:
            await user.say("hello")
        await rows.let_time_pass(seconds=3060)
        await new.sweep()
        assert [warnings(user) for user in (silent, back)] == [1, 1]
        await old.sweep()
        await new.sweep()
        assert [warnings(user) for user in (silent, back)] == [1, 1]  # the mark is still there

        await at(old, back).say("by bus")
        await rows.let_time_pass(seconds=3060)
        await old.sweep()  # files both again, without a mark
        for _ in range(2):
            await new.sweep()
        # `back` is warned in a silence of its own. For `silent` the stage came again.
        assert [warnings(user) for user in (silent, back)] == [2, 2]

        await rows.let_time_pass(seconds=3000)
        await old.sweep()
        await new.sweep()
        assert sum(EXPIRED in text for text in silent.heard) == 1
        kinds = await rows.kinds([silent.conversation, back.conversation])
        assert kinds == {silent.conversation: "", back.conversation: "cd"}
        assert not any(EXPIRED in text or WELCOME_BACK in text for text in back.heard)
        assert "Ann" in " ".join(await at(old, back).say("Ann") + await at(new, back).say("30"))


async def test_the_older_version_knows_no_time_of_a_conversations_own_and_goes_by_the_policy(
    older: Path,
    storage_connection_string: str,
    azure_tables: Tables,
    channel: FakeChannel,
    tmp_path: Path,
) -> None:
    settings = settings_on(storage_connection_string, ExpiryPolicy='max_age = "7d"')
    rows = StoredRows(azure_tables, settings)
    for name in "old", "new":
        (tmp_path / name).mkdir()
    async with (
        running_older(settings, tmp_path / "old", older) as old,
        running_bot(settings, tmp_path / "new", bot=timing_bot) as new,
    ):
        silent, back, kept = (User(new, channel) for _ in range(3))
        for user in silent, back, kept:
            await user.say("a day")
        await at(old, back).say("by bus")  # which writes the row without what it does not know
        await kept.say("never")
        await rows.let_time_pass(seconds=610)
        for bot in old, new:  # each goes by the due rows, and these say when the day is over
            await bot.sweep()
        assert [told(user) for user in (silent, back, kept)] == [0, 0, 0]
        await rows.let_time_pass(days=1)
        for bot in old, new:  # here the older version decides: by the policy
            await bot.sweep()
        assert [told(user) for user in (silent, back, kept)] == [1, 1, 1]
        for user, counted in (silent, 2), (back, 2), (kept, 3):
            await rows.let_time_pass_for(user.activity()["from"]["id"], days=1)
            assert json.loads((await user.say("after"))[-1])[1] == counted


RESUMED = "Welcome back! Let's go on where we were."
GONE = "I no longer have that conversation, so we cannot go on with it. Just write to me."


async def test_the_older_version_resumes_nothing_and_reads_what_is_kept_as_what_is_over(
    before_resume: Path,
    storage_connection_string: str,
    azure_tables: Tables,
    channel: FakeChannel,
    tmp_path: Path,
) -> None:
    settings = settings_on(storage_connection_string)
    rows = StoredRows(azure_tables, settings)
    for name in "old", "new":
        (tmp_path / name).mkdir()
    resumable = settings | {"ExpiryPolicy": 'resume_within = "1h"'}
    async with (
        running_older(settings, tmp_path / "old", before_resume, notebook_bot) as old,
        running_bot(resumable, tmp_path / "new", bot=notebook_bot) as new,
    ):
        silent, back, resumed, beside, swept = users = [User(new, channel) for _ in range(5)]
        for user in users:
            await user.say_all("one", "two")
        await rows.let_time_pass(seconds=610)
        await new.sweep()
        await old.sweep()
        assert [told(user) for user in users] == [1] * 5

        # It begins a new session: what was kept is gone, and the newer version says so.
        assert counts(await at(old, back).say("one"))["conversation"] == 1
        assert await back.say(**button(back)) == [GONE]
        assert counts(await back.say("two")) == counted(conversation=2, private=2, user=4)

        # It goes on with a session that was resumed, but for private state.
        assert await resumed.say(**button(resumed)) == [RESUMED]
        assert counts(await at(old, resumed).say("three")) == counted(
            conversation=3, private=1, user=3
        )
        assert counts(await resumed.say("four")) == counted(conversation=4, private=2, user=4)

        # It goes on with a session beside a kept one, but for private state, and forgets that one.
        await beside.say("one")
        assert counts(await at(old, beside).say("two")) == counted(
            conversation=2, private=1, user=4
        )
        assert await beside.say(**button(beside)) == [GONE]

        # Its sweeps take at their time what is kept, and leave the new session beside it alone.
        await rows.let_time_pass(seconds=500)
        await swept.say("one")
        offer = button(swept)
        for _ in range(7):
            for user in back, resumed, beside, swept:
                await user.say("again")
            await rows.let_time_pass(seconds=500)
            await old.sweep()
        assert [told(user) for user in users] == [1] * 5
        kinds = await rows.kinds(user.conversation for user in users)
        assert kinds[silent.conversation] == ""
        assert await swept.say(**offer) == [GONE]
        assert counts(await swept.say("again"))["conversation"] == 9

        # Each version ends what the other has written, and at last nothing is left.
        for sweeper in old, new, new:
            await rows.let_time_pass(seconds=3700)
            await sweeper.sweep()
        assert [told(user) for user in users] == [1, 2, 2, 2, 2]
        assert await rows.keys() == []


def button(user: User) -> dict[str, Any]:
    """What a press of the last button sends."""
    sent = user.channel.sent_to(user.conversation)
    offers = [each["suggestedActions"]["actions"] for each in sent if "suggestedActions" in each]
    (action,) = offers[-1]
    return {"text": action["text"], "value": action["value"]}


def counted(*, conversation: int, private: int, user: int) -> dict[str, int]:
    """What the bot says when it has counted so far."""
    return {"user": user, "conversation": conversation, "private": private}


def counts(answers: list[str]) -> dict[str, int]:
    """The numbers in the bot's last answer."""
    found: dict[str, int] = json.loads(answers[-1])
    return found


def told(user: User) -> int:
    """How often the user was told of an expiry."""
    return sum(EXPIRED in text for text in user.heard)


def warnings(user: User) -> int:
    """How often the user was asked."""
    return sum(text.startswith("Are you still there?") for text in user.heard)
