"""A changed timeout undoes nothing that was saved, over HTTP."""

import json
from pathlib import Path

import pytest

from tests.bots import notebook_bot
from tests.e2e.running_bot import RunningBot, StoredRows, User, running_bot
from tests.fake_channel import FakeChannel

BOT = notebook_bot
EXPIRE_AFTER = 600  # seconds, as in `settings_on`


@pytest.mark.parametrize("changed", [30, 60, 6_000, 600_000])
async def test_the_state_of_a_user_outlives_a_change_of_the_timeout(  # noqa: PLR0917 - fixtures
    bot: RunningBot,
    settings: dict[str, str],
    channel: FakeChannel,
    rows: StoredRows,
    tmp_path: Path,
    changed: int,
) -> None:
    expired, under_way = User(bot, channel), User(bot, channel)
    for user in expired, under_way:
        await user.say_all("one", "two")
    id_ = expired.activity()["from"]["id"]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    await rows.let_time_pass_for(id_, seconds=EXPIRE_AFTER + 10)
    await under_way.say("three")
    await bot.sweep()
    async with running_bot(
        settings | {"ExpireAfterSeconds": str(changed)}, tmp_path, bot=notebook_bot
    ) as other:
        for user, counts in (expired, (1, 3)), (under_way, (2, 4)):
            user.bot = other
            answer = json.loads(await user.say_all("after"))
            assert (answer["conversation"], answer["user"]) == counts
