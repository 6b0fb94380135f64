"""What other programs see of an expired conversation that can be resumed, over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.storage.table_account import Tables
from tests.bots import notebook_bot
from tests.e2e.running_bot import RunningBot, StoredRows, User, in_cosmos, running_bot, settings_on
from tests.e2e.state_client import StateClient, path_of, state_client
from tests.fake_channel import FakeChannel

POLICY = {"ExpiryPolicy": 'resume_within = "1h"'}
GONE = "I no longer have that conversation, so we cannot go on with it. Just write to me."


@pytest.fixture(params=["tables", "cosmos"])
def settings(request: pytest.FixtureRequest, storage_connection_string: str) -> dict[str, str]:
    settings = settings_on(storage_connection_string, **POLICY)
    if request.param == "tables":
        return settings
    endpoint = request.getfixturevalue("cosmos_endpoint")
    return settings | in_cosmos(endpoint, CosmosDbTimeToLive="4260")


@pytest.fixture
def rows(azure_tables: Tables, settings: dict[str, str]) -> StoredRows:
    return StoredRows(azure_tables, settings)


@pytest.fixture
async def bot(settings: dict[str, str], tmp_path: Path) -> AsyncIterator[RunningBot]:
    async with running_bot(settings, tmp_path, bot=notebook_bot) as running:
        yield running


@pytest.fixture
async def state(bot: RunningBot) -> AsyncIterator[StateClient]:
    async with state_client(bot) as client:
        yield client


def button(user: User) -> dict[str, Any]:
    """What a press of the last button sends."""
    sent = user.channel.sent_to(user.conversation)
    offers = [each["suggestedActions"]["actions"] for each in sent if "suggestedActions" in each]
    (action,) = offers[-1]
    return {"text": action["text"], "value": action["value"]}


async def test_kept_data_are_seen_by_nobody_until_their_user_resumes_exports_or_erases_them(
    bot: RunningBot, state: StateClient, channel: FakeChannel, rows: StoredRows
) -> None:
    resumes, writes, saved, leaves = (User(bot, channel) for _ in range(4))
    everybody = resumes, writes, saved, leaves
    for user in everybody:
        await user.say_all("one", "two")
    await rows.let_time_pass(seconds=610)
    assert "expired 4, notified 4" in await bot.sweep()
    for user in everybody:
        for kind in "conversation", "private":
            assert await state.get(path_of(kind, user)) == (None, "*")

    await resumes.say(**button(resumes))
    assert (await state.get(path_of("conversation", resumes)))[0] == {"count": 2}

    await writes.say("one")
    offer = button(writes)
    assert (await state.get(path_of("private", writes)))[0] == {"count": 1}
    _, export = await state.send("GET", f"{path_of('user', writes)}/export")
    (talk,) = export["conversations"]
    assert talk["before"]["privateData"] == talk["before"]["conversationData"] == {"count": 2}

    assert await state.save(path_of("conversation", saved), {"count": 7}) == 200
    assert await saved.say(**button(saved)) == [GONE]
    assert (await state.get(path_of("conversation", saved)))[0] == {"count": 7}

    pressed = button(leaves)
    receipt = await state.erase(path_of("user", leaves))
    assert (receipt["personal_conversations"], receipt["left"]) == (1, 0)
    assert (await rows.kinds([leaves.conversation]))[leaves.conversation] == ""
    assert await leaves.say(**pressed) == [GONE]

    for _ in range(2):
        await rows.let_time_pass(seconds=3670)
        await bot.sweep()
        assert await writes.say(**offer) == [GONE]
    assert await rows.keys() == []
