"""The sample as users meet it: over HTTP, in the app, with tables."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.storage.table_account import Tables
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, User, running_bot, settings_on
from tests.e2e.state_client import path_of, state_client
from tests.fake_channel import FakeChannel
from tests.texts import RESUMED


async def test_a_profile_is_asked_for_and_kept_and_after_a_silence_resumed_or_asked_for_anew(
    storage_connection_string: str, azure_tables: Tables, tmp_path: Path
) -> None:
    settings = settings_on(storage_connection_string, ExpiryPolicy='resume_within = "1h"')
    async with (
        FakeChannel() as channel,
        running_bot(settings, tmp_path, bot=None) as bot,
        state_client(bot) as state,
    ):
        user = User(bot, channel, fields={"from": {"id": "ada"}})
        last = await user.say_all("hello", "Bicycle", "Ada", "yes", "36", "skip", "yes")
        assert last == "Your profile is kept: Ada travels by bicycle, is 36 years old."
        profile = {"transport": "Bicycle", "name": "Ada", "age": 36, "picture": None}
        assert (await state.get(path_of("user", user)))[0] == {
            "UserProfile": {"$type": "UserProfile", **profile}
        }
        await user.say_all("hello", "Bus")
        rows = StoredRows(azure_tables, settings)
        await rows.let_time_pass(minutes=11)
        await bot.sweep()
        assert EXPIRED in user.heard[-1]
        assert await user.say("resume") == [RESUMED, "What is your name?"]
        await rows.let_time_pass(minutes=11)
        await bot.sweep()
        (_, question) = await user.say("Ada")
        assert question == "Which transport do you use: car, bus or bicycle?"


@pytest.fixture(scope="module")
async def sample(
    storage_connection_string: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[RunningBot, FakeChannel]]:
    folder = tmp_path_factory.mktemp("sample")
    settings = settings_on(storage_connection_string)
    async with FakeChannel() as channel, running_bot(settings, folder, bot=None) as bot:
        yield bot, channel


@pytest.mark.parametrize(
    ("channel_id", "before", "after", "written"),
    [
        ("msteams", "<at>Bot</at>&nbsp;", "\n", "<at>Bot</at>"),
        ("msteams", "\r\n<at>Bot</at> ", "&nbsp;", "<at>Bot</at>"),
        ("msteams", "", " <at>Bot</at>", "<at>Bot</at>"),
        ("slack", "@Bot ", "", "@Bot"),
        ("slack", "<@B024BE7LH>: ", "", "<@B024BE7LH>"),
        ("slack", "<@B024BE7LH|Bot> ", "", None),
    ],
)
async def test_in_a_thread_answers_to_the_bot_are_understood(
    sample: tuple[RunningBot, FakeChannel],
    channel_id: str,
    before: str,
    after: str,
    written: str | None,
) -> None:
    user = User(*sample)
    bot = {"id": "28:bot" if channel_id == "msteams" else "B024BE7LH:T061EG9R6", "name": "Bot"}
    user.conversation = f"19:{user.conversation}@thread.tacv2;messageid=1"
    user.fields = {
        "channelId": channel_id,
        "recipient": bot,
        "from": {"id": "29:ann", "name": "Ann"},
        "conversation": {"id": user.conversation, "isGroup": True, "conversationType": "channel"},
        "entities": [{"type": "mention", "mentioned": bot, "text": written}],
    }
    for answer in ("hello", "Bus", "Ann", "yes"):
        await user.say(f"{before}{answer}{after}")
    await user.say(f"{before}31{after}")
    everything = " ".join(user.heard)
    if channel_id != "msteams":  # there, no picture is asked for
        everything += (await user.say(f"{before}none{after}"))[0]
    assert "Ann travels by bus" in everything
    assert "31" in everything
    assert "@" not in everything
    assert "<" not in everything
