"""docs/operate.md, "Changing TableShards": let the bot run dry, then give it another table."""

from pathlib import Path
from uuid import uuid4

from shared.storage.table_account import Tables
from tests.bots.survey_bot import TRANSPORT
from tests.e2e.running_bot import EXPIRED, StoredRows, User, running_bot, settings_on
from tests.e2e.state_client import state_client
from tests.fake_channel import FakeChannel

ANSWERS = {"transport": "Bicycle", "name": "Ada", "age": 36}


async def test_user_state_outlives_a_change_of_the_shard_count_and_all_users_are_told(
    storage_connection_string: str, azure_tables: Tables, channel: FakeChannel, tmp_path: Path
) -> None:
    old = settings_on(storage_connection_string)
    async with running_bot(old, tmp_path) as bot:
        user = User(bot, channel, fields={"from": {"id": "ada"}})
        await user.say_all("hello", "Bicycle", "Ada", "36")
        rows = StoredRows(azure_tables, old)
        await rows.let_time_pass(minutes=11)
        await rows.let_time_pass_for("ada", minutes=11)
    dry = {**old, "AzureWebJobs.messages.Disabled": "true"}
    async with running_bot(dry, tmp_path) as bot:
        status, _ = await bot.post(json=user.activity(text="anybody there?"))
        assert status == 404
        await bot.sweep()
    assert EXPIRED in user.heard[-1]
    assert await rows.keys() == []
    new = {**old, "ConversationsTable": f"c{uuid4().hex}", "TableShards": "2"}
    async with running_bot(new, tmp_path) as bot, state_client(bot) as state:
        data, _ = await state.get("test/users/ada")
        assert data == {"Answers": {"$type": "Answers", **ANSWERS}}
        returned = User(bot, channel, conversation=user.conversation, fields=user.fields)
        assert TRANSPORT in (await returned.say("hello again"))[-1]
