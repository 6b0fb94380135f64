"""Many conversations at once, and two messages at once to one: nothing lost, nothing mixed up."""

import asyncio
from pathlib import Path

import pytest

from tests.bots.survey_bot import AGE, KEPT, NAME, NO_NUMBER, TRANSPORT, Answers
from tests.e2e.running_bot import RunningBot, StoredRows, User, running_bot
from tests.fake_channel import FakeChannel


async def test_200_conversations_at_once_each_hear_their_own_answers(
    bot: RunningBot, channel: FakeChannel, rows: StoredRows
) -> None:
    async def whole_survey(number: int) -> None:
        user = User(bot, channel, f"crowded-{number}")
        answers = Answers(f"Bus {number % 3}", f"Ada the {number}.", number)
        for text in ("hello", answers.transport, answers.name, str(answers.age)):
            await user.say(text)
        assert user.heard == [TRANSPORT, NAME, AGE, f"{KEPT}{answers}"]

    async with asyncio.TaskGroup() as dialogs:
        for number in range(200):
            dialogs.create_task(whole_survey(number))
    assert len(await rows.keys("c|")) == 200


@pytest.mark.parametrize("hosts", ["one process", "two processes"])
async def test_two_messages_at_once_both_take_effect_and_are_answered_once(
    bot: RunningBot, channel: FakeChannel, settings: dict[str, str], tmp_path: Path, hosts: str
) -> None:
    async def chat(number: int, other: RunningBot) -> None:
        user = User(bot, channel, f"{hosts} {number}")
        same_user = User(other, channel, user.conversation)

        async def at_once(*expected: str) -> None:
            before = len(user.heard)
            statuses = await asyncio.gather(user.send("Bus"), same_user.send("Bus"))
            assert set(statuses) == {200}
            # Which is taken first is up to them, and of two processes which answers first.
            heard = sorted(user.heard[before:], key=lambda text: expected[1] in text)
            assert len(heard) == 2
            assert expected[0] in heard[0]
            assert expected[1] in heard[1]

        await at_once(TRANSPORT, NAME)  # a session begins, and its first question is answered
        await at_once(AGE, NO_NUMBER)  # "Bus" is the name, and no age
        assert str(Answers("Bus", "Bus", 36)) in await same_user.say_all("36")

    if hosts == "one process":
        await asyncio.gather(*(chat(number, bot) for number in range(10)))
    else:
        async with running_bot(settings, tmp_path) as other:
            await asyncio.gather(*(chat(number, other) for number in range(10)))
