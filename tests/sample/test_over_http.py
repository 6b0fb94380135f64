"""The sample as users meet it: over HTTP, in the app, with tables."""

from pathlib import Path

from shared.storage.table_account import Tables
from tests.e2e.running_bot import EXPIRED, StoredRows, User, running_bot, settings_on
from tests.e2e.state_client import path_of, state_client
from tests.fake_channel import FakeChannel


async def test_a_profile_is_asked_for_and_kept_and_after_a_silence_the_bot_asks_anew(
    storage_connection_string: str, azure_tables: Tables, tmp_path: Path
) -> None:
    settings = settings_on(storage_connection_string)
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
        await StoredRows(azure_tables, settings).let_time_pass(minutes=11)
        await bot.sweep()
        assert EXPIRED in user.heard[-1]
        (question,) = await user.say("Ada")
        assert question == "Which transport do you use: car, bus or bicycle?"
