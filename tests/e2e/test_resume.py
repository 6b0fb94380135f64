"""Users take up an expired conversation where it was, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.bots.survey_bot import AGE, KEPT, NAME, TRANSPORT
from tests.e2e.running_bot import (
    RunningBot,
    StoredRows,
    User,
    in_cosmos,
    running_bot,
    settings_on,
)
from tests.fake_channel import FakeChannel
from tests.texts import RESUME_GONE, RESUMED, SOMETHING_WENT_WRONG, STAYED, WELCOME_BACK_RESUMABLE

OFFERED = "For 1 hour you can still go on where you were."
# As if the dialogs of the bot were replaced by others.
OTHER_DIALOGS = """
from tests.bots import survey_bot
survey_bot.SURVEY, survey_bot.LINE, survey_bot.NUMBER = "another", "words", "count"
"""


@pytest.fixture(scope="module", params=["tables", "cosmos"])
def settings(request: pytest.FixtureRequest, storage_connection_string: str) -> dict[str, str]:
    in_store = {}
    if request.param == "cosmos":
        endpoint = request.getfixturevalue("cosmos_endpoint")
        in_store = in_cosmos(endpoint, CosmosDbTimeToLive="7200")
    return settings_on(storage_connection_string, ExpiryPolicy='resume_within = "1h"', **in_store)


async def asked_for_its_name(bot: RunningBot, channel: FakeChannel, **fields: Any) -> User:
    user = User(bot, channel, fields=fields)
    assert await user.say_all("hello", "Bus") == NAME
    return user


async def expire(bot: RunningBot, rows: StoredRows) -> None:
    await rows.let_time_pass(minutes=11)
    await bot.sweep()


def last_button(user: User) -> dict[str, Any]:
    """What the channel hands over when the user presses the last button that there was."""
    for shown in reversed(user.channel.sent_to(user.conversation)):
        if "attachments" in shown:  # a card: its press has no text
            (card,) = shown["attachments"]
            (action,) = card["content"]["actions"]
            assert (action["type"], action["title"]) == ("Action.Submit", "Resume")
            return {"text": "", "value": action["data"]}
        if "suggestedActions" in shown:
            (action,) = shown["suggestedActions"]["actions"]
            assert (action["type"], action["title"]) == ("messageBack", "Resume")
            return {"text": action["text"], "value": action["value"]}
    raise AssertionError("there was no button")


@pytest.mark.parametrize("channel_id", ["msteams", "directline", "webchat", "emulator", "sms"])
async def test_the_notice_leads_back_to_the_last_question_in_every_channel(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, channel_id: str
) -> None:
    user = await asked_for_its_name(bot, channel, channelId=channel_id)
    await expire(bot, rows)
    assert OFFERED in user.heard[-1]
    button = last_button(user)
    # Who sees no buttons writes the word.
    how = {"text": "resume"} if channel_id == "sms" else button
    assert await user.say(**how) == [RESUMED, NAME]
    assert await user.say(**button) == [STAYED]
    assert await user.say("Ada") == [AGE]
    assert KEPT in await user.say_all("36")


async def test_the_welcome_of_who_just_writes_leads_back_too(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = await asked_for_its_name(bot, channel)
    await expire(bot, rows)
    welcome, question = await user.say("hello again")
    assert welcome == WELCOME_BACK_RESUMABLE
    assert question == TRANSPORT
    assert await user.say(**last_button(user)) == [RESUMED, NAME]
    assert await user.say("Ada") == [AGE]


async def test_who_goes_on_without_it_hears_that_it_is_gone(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = await asked_for_its_name(bot, channel)
    await expire(bot, rows)
    await user.say_all("hello again", "Train")
    assert await user.say(**last_button(user)) == [RESUME_GONE]
    assert await user.say("Ada") == [AGE]  # the press was no answer to a question


async def test_a_press_that_comes_too_late_begins_nothing(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = await asked_for_its_name(bot, channel)
    await expire(bot, rows)
    button = last_button(user)
    await rows.let_time_pass(minutes=62)
    assert await user.say(**button) == [RESUME_GONE]
    await bot.sweep()
    assert await rows.keys() == []
    assert await user.say(**button) == [RESUME_GONE]
    assert await rows.keys() == []
    assert await user.say("hello again") == [TRANSPORT]


async def test_two_presses_at_once_resume_it_once(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    user = await asked_for_its_name(bot, channel)
    await expire(bot, rows)
    before, button = len(user.heard), last_button(user)
    assert await asyncio.gather(*(user.send(**button) for _ in range(2))) == [200, 200]
    assert sorted(user.heard[before:]) == sorted([RESUMED, NAME, STAYED])
    assert await user.say("Ada") == [AGE]


@pytest.mark.parametrize("channel_id", ["msteams", "test"])
async def test_anybody_in_a_group_may_press_but_the_word_means_nothing_there(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows, channel_id: str
) -> None:
    group = {"id": f"group in {channel_id}", "isGroup": True, "conversationType": "groupChat"}
    fields: dict[str, Any] = {"channelId": channel_id, "conversation": group}
    ann = User(bot, channel, f"group in {channel_id}", fields)
    bob = User(bot, channel, ann.conversation, fields | {"from": {"id": "bob"}})
    assert await ann.say_all("hello", "Bus") == NAME
    await expire(bot, rows)
    assert await bob.say("resume") == [WELCOME_BACK_RESUMABLE, TRANSPORT]
    assert await bob.say(**last_button(bob)) == [RESUMED, NAME]
    assert await ann.say(**last_button(ann)) == [STAYED]
    assert await ann.say("Ada") == [AGE]


async def test_a_bot_that_lost_the_dialog_apologizes_and_loses_nothing(
    bot: RunningBot,
    channel: FakeChannel,
    rows: StoredRows,
    settings: dict[str, str],
    tmp_path: Path,
) -> None:
    user = await asked_for_its_name(bot, channel)
    await expire(bot, rows)
    button = last_button(user)
    async with running_bot(settings, tmp_path, changes=OTHER_DIALOGS, may_fail=True) as other:
        there = User(other, channel, user.conversation)
        assert await there.say(**button) == [SOMETHING_WENT_WRONG]
        assert await user.say(**button) == [RESUMED, NAME]  # the version before, once more
        await expire(bot, rows)
        welcome, question = await there.say("hello again")
        assert (welcome, question) == (WELCOME_BACK_RESUMABLE, TRANSPORT)
        assert await there.say("Bus") == [NAME]
