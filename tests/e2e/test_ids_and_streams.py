"""Ids that a bot keeps, and answers that it writes bit by bit, over HTTP."""

import asyncio
from pathlib import Path

import pytest

from tests.bots import slow_bot, streaming_bot
from tests.bots.streaming_bot import ANSWER, CHUNKS
from tests.e2e.running_bot import User, running_bot, settings_on
from tests.fake_channel import FakeChannel, Received, until


@pytest.fixture
def settings(storage_connection_string: str, tmp_path: Path) -> dict[str, str]:
    return settings_on(storage_connection_string, **{slow_bot.GATES: str(tmp_path)})


def requests_of(user: User) -> list[Received]:
    return [each for each in user.channel.requests if each.conversation_id == user.conversation]


def id_of(message: Received, channel: FakeChannel) -> str:
    """The id that the channel gave the message."""
    return f"activity-{channel.requests.index(message) + 1}"


async def test_a_message_of_an_earlier_turn_is_updated_by_the_channels_id_in_any_process(
    settings: dict[str, str], channel: FakeChannel, tmp_path: Path
) -> None:
    async with running_bot(settings, tmp_path, bot=streaming_bot) as bot:
        user = User(bot, channel)
        await user.say("card")
        assert await user.say("first") == ["Chosen: first"]
    async with running_bot(settings, tmp_path, bot=streaming_bot) as bot:
        user.bot = bot
        assert await user.say("second") == ["Chosen: second"]
    card, *updates = requests_of(user)
    id_ = id_of(card, channel)
    assert [(each.method, each.path.rpartition("/")[2]) for each in updates] == [("PUT", id_)] * 2
    assert [each.body["id"] for each in updates] == [id_, id_]


@pytest.mark.parametrize(
    ("way", "live"),
    # The first update changes what is held back; with the second one it is a stream.
    [("updates", CHUNKS[2:]), ("streamId", CHUNKS)],
)
async def test_a_user_sees_an_answer_while_the_bot_is_still_writing_it(
    settings: dict[str, str],
    channel: FakeChannel,
    tmp_path: Path,
    way: str,
    live: tuple[str, ...],
) -> None:
    async with running_bot(settings, tmp_path, bot=streaming_bot) as bot:
        user = User(bot, channel)
        turn = asyncio.create_task(user.say(way))
        await until(lambda: len(user.heard) >= len(live))
        assert not turn.done()
        assert user.heard == list(live)
        (tmp_path / "end").touch()
        assert await turn == [*live, ANSWER]
    first, *later = requests_of(user)
    id_ = id_of(first, channel)
    if way == "updates":
        assert [(each.method, each.path.rpartition("/")[2]) for each in later] == [("PUT", id_)]
    else:
        assert {each.method for each in later} == {"POST"}
        assert [each.body["channelData"]["streamId"] for each in later] == [id_] * len(later)
