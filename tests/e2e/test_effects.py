"""What opens a session, what keeps one alive and what does neither, over HTTP."""

from typing import Any

import pytest

from tests.bots.survey_bot import NAME, TRANSPORT
from tests.e2e.running_bot import EXPIRED, WELCOME_BACK, RunningBot, StoredRows, User
from tests.fake_channel import FakeChannel

EXPIRE_AFTER = 600  # seconds, as in `settings_on`

NOT_SAID_TO_THE_BOT: list[dict[str, Any]] = [
    {"type": "messageReaction", "reactionsAdded": [{"type": "like"}]},
    {"type": "messageReaction", "reactionsRemoved": [{"type": "heart"}]},
    {"type": "messageUpdate", "text": "edited"},
    {"type": "messageDelete"},
    {"type": "event", "name": "application/vnd.microsoft.readReceipt", "value": {}},
    {"type": "event", "name": "application/vnd.microsoft.meetingEnd", "value": {}},
    {"type": "event", "name": "nobody knows"},
    {"type": "event"},
    {"type": "invoke", "name": "composeExtension/query", "value": {}},
    {"type": "invoke", "name": "adaptiveCard/action", "value": {}},
    {"type": "typing"},
    {"type": "conversationUpdate", "membersAdded": [{"id": "somebody"}]},
]


@pytest.mark.parametrize("activity", NOT_SAID_TO_THE_BOT, ids=lambda each: str(each)[:60])
async def test_between_two_notices_lies_a_word_of_a_user(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, activity: dict[str, Any]
) -> None:
    user = User(bot, channel)
    await user.say("hello")
    await rows.let_time_pass(seconds=EXPIRE_AFTER)
    await bot.post(json=user.activity(**activity))  # before the sweep
    assert WELCOME_BACK not in str(user.heard)
    await rows.let_time_pass(seconds=10)
    await bot.sweep()
    assert sum(EXPIRED in str(text) for text in user.heard) == 1
    await bot.post(json=user.activity(**activity))  # after it
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    await bot.sweep()
    assert sum(EXPIRED in str(text) for text in user.heard) == 1
    assert await rows.keys() == []


async def test_an_ended_conversation_gets_no_notice(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = User(bot, channel)
    await user.say("hello")
    status, _ = await bot.post(json=user.activity(type="endOfConversation", code="userCancelled"))
    assert status == 200
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    await bot.sweep()
    await bot.sweep()
    assert EXPIRED not in str(user.heard)
    assert await rows.keys() == []


async def test_what_a_greeting_began_goes_on_and_ends_without_a_notice(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    silent, talking = User(bot, channel), User(bot, channel)
    for user in silent, talking:
        me = user.activity()["from"]
        join = user.activity(type="conversationUpdate", membersAdded=[me])
        status, _ = await bot.post(json=join)
        assert (status, user.heard) == (200, [TRANSPORT])
    assert await talking.say("Bicycle") == [NAME]
    await rows.let_time_pass(seconds=EXPIRE_AFTER + 10)
    assert "notified 1" in await bot.sweep()
    assert silent.heard == [TRANSPORT]
    assert EXPIRED in talking.heard[-1]
    assert await rows.keys() == []
