"""LongTurns over HTTP, with the host's queue: the channel is answered first, then the user."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from tests.bots import slow_bot
from tests.e2e.running_bot import RunningBot, User, running_bot, settings_on
from tests.fake_channel import FakeChannel, until

# A lease, and what counts as overdue, take a minute: too long for a test.
SOON = """
import datetime
import shared.domain.times
shared.domain.times.LEASE = datetime.timedelta(seconds=2)
import shared.turn.long_turns
shared.turn.long_turns.OVERDUE_AFTER = datetime.timedelta(0)
"""


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """A turn of the text NAME ends when this folder has a file of that name."""
    folder = tmp_path / "gates"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(storage_connection_string: str, gates: Path) -> dict[str, str]:
    return settings_on(
        storage_connection_string,
        LongTurns="on",
        Inbox=f"i{uuid4().hex}",
        **{slow_bot.GATES: str(gates)},
    )


@pytest.fixture
async def bot(settings: dict[str, str], tmp_path: Path) -> AsyncIterator[RunningBot]:
    async with running_bot(settings, tmp_path, bot=slow_bot, changes=SOON) as bot:
        yield bot


async def heard(user: User, count: int) -> list[str]:
    await until(lambda: len(user.heard) >= count)
    return user.heard


async def test_the_channel_is_answered_before_the_turn_is_over(
    bot: RunningBot, channel: FakeChannel, gates: Path
) -> None:
    user = User(bot, channel)
    assert await user.send("one") == 202
    assert user.heard == []
    (gates / "one").touch()
    assert await heard(user, 1) == ["1: one"]


async def test_the_order_of_a_conversation_is_kept_and_others_do_not_wait(
    bot: RunningBot, channel: FakeChannel, gates: Path
) -> None:
    user, other = User(bot, channel), User(bot, channel)
    for text in "one", "two", "three":
        assert await user.send(text) == 202
    (gates / "two").touch()
    (gates / "three").touch()
    (gates / "other").touch()
    await other.send("other")
    assert await heard(other, 1) == ["1: other"]
    assert user.heard == []
    (gates / "one").touch()
    assert await heard(user, 3) == ["1: one", "2: two", "3: three"]


async def test_what_a_channel_sends_again_is_answered_once(
    bot: RunningBot, channel: FakeChannel, gates: Path
) -> None:
    user = User(bot, channel)
    again = uuid4().hex
    for _ in range(2):
        assert await user.send("one", id=again) == 202
    (gates / "one").touch()
    assert await user.send("one", id=again) == 202
    (gates / "two").touch()
    assert await user.send("two") == 202
    assert await heard(user, 2) == ["1: one", "2: two"]


async def test_what_needs_an_answer_gets_it(bot: RunningBot, channel: FakeChannel) -> None:
    user = User(bot, channel)
    invoke = user.activity(type="invoke", name="task/fetch")
    assert await bot.post(json=invoke) == (200, {"asked": "task/fetch"})
    replies = user.activity(text="wait 0", deliveryMode="expectReplies")
    status, body = await bot.post(json=replies)
    assert status == 200
    assert [each["text"] for each in body["activities"]] == ["1: wait 0"]


@pytest.mark.parametrize("at", ["in the turn", "before it"])
async def test_another_host_goes_on_where_one_was_killed(
    settings: dict[str, str],
    channel: FakeChannel,
    gates: Path,
    tmp_path: Path,
    at: str,
) -> None:
    off = {"AzureWebJobs.inbox_queue.Disabled": "true"} if at == "before it" else {}
    async with running_bot(settings | off, tmp_path, bot=slow_bot, changes=SOON) as bot:
        user = User(bot, channel)
        assert await user.send("one") == 202
        assert await user.send("two") == 202
        await asyncio.sleep(1)  # so that a run has the lease, unless the queue is off
        bot.kill()
    (gates / "one").touch()
    (gates / "two").touch()
    async with running_bot(settings, tmp_path, bot=slow_bot, changes=SOON) as bot:
        await sweep_until(bot, lambda: len(user.heard) == 2)
        assert user.heard == ["1: one", "2: two"]


async def test_what_is_left_when_it_is_turned_off_is_named_and_answered_when_it_is_on_again(
    settings: dict[str, str], channel: FakeChannel, gates: Path, tmp_path: Path
) -> None:
    disabled = settings | {"AzureWebJobs.inbox_queue.Disabled": "true"}
    async with running_bot(disabled, tmp_path, bot=slow_bot, changes=SOON) as bot:
        user = User(bot, channel)
        assert await user.send("one") == 202
    off = settings | {"LongTurns": "off"}
    async with running_bot(off, tmp_path, bot=slow_bot) as bot:
        await bot.sweep()
        await until(lambda: "LongTurns is off, and 1 activities wait for it" in bot.log)
        async with aiohttp.ClientSession() as http, http.get(f"{bot.url}/api/health") as answer:
            assert (answer.status, (await answer.json())["failed"]) == (503, ["inbox"])
    (gates / "one").touch()
    async with running_bot(settings, tmp_path, bot=slow_bot, changes=SOON):
        assert await heard(user, 1) == ["1: one"]


async def sweep_until(bot: RunningBot, is_so: Callable[[], bool]) -> None:
    """The timer wakes what has lost its message, once the lease is over."""
    async with asyncio.timeout(60):
        while not is_so():
            await bot.sweep()
            await asyncio.sleep(0.5)
