"""Dead letters from the command line: shown without saying whose, sent again, or deleted."""

import re
import sys
from datetime import timedelta

import pytest

from shared.cli import __main__ as cli
from shared.cli import dead_letters
from shared.cli.dead_letters import Selection
from shared.domain.work import DeadLetter
from shared.expiry.notice import NoticeResult, Verdict
from tests import texts
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation, count_in_every_bag

EVERY = Selection()


@pytest.fixture
async def bot() -> BotInMemory:
    """A bot with three dead letters, of conversations that expired a minute after each other."""
    bot = BotInMemory(FunctionBot(count_in_conversation))

    async def dead(_: object) -> NoticeResult:
        return NoticeResult(Verdict.DEAD, 500, code="Service\nError")

    for number in range(3):
        await bot.say(conversation={"id": f"talk{number}"})
        bot.clock.sleep(103)
        await bot.sweep(dead)
    return bot


async def lines(bot: BotInMemory, action: str, selection: Selection = EVERY) -> list[str]:
    said: list[str] = []
    match action:
        case "list":
            await dead_letters.show(bot.store, said.append)
        case "replay":
            await dead_letters.replay(bot.store, selection, bot.clock, said.append)
        case "drop":
            await dead_letters.drop(bot.store, selection, said.append)
    return said


async def of_talk(bot: BotInMemory, number: int) -> DeadLetter:
    letters = await bot.dead_letters()
    return next(each for each in letters if each.readable_key.endswith(f"talk{number}"))


async def test_each_is_shown_in_one_line_that_names_no_user(bot: BotInMemory) -> None:
    *shown, count = await lines(bot, "list")
    assert count == "3 dead letters"
    letter = await of_talk(bot, 0)
    assert (
        f"{letter.session} 'directline' expired 2026-11-22T12:01:43Z dead 2026-11-22T12:01:43Z"
        " attempts 1 500 'Service\\nError': no use in trying again"
    ) in shown
    assert not re.search("ann|talk", "".join(shown))


async def test_a_replayed_notice_is_sent_by_the_next_sweep_however_old(bot: BotInMemory) -> None:
    bot.clock.sleep(100_000)
    said = await lines(bot, "replay")
    assert said[-1] == "3 replayed"
    bot.clock.sleep(3)
    report = await bot.sweep(max_notice_age_seconds=60)
    assert (report.notified, report.expired) == (3, 0)
    assert bot.connector.texts.count(texts.EXPIRED) == 3
    assert bot.keys() == []


async def test_a_notice_that_fails_again_after_its_replay_is_a_dead_letter_again(
    bot: BotInMemory,
) -> None:
    async def dead(_: object) -> NoticeResult:
        return NoticeResult(Verdict.DEAD, 400)

    bot.clock.sleep(10)
    await lines(bot, "replay")
    bot.clock.sleep(10)
    assert (await bot.sweep(dead)).dead_lettered == 3
    assert {letter.status for letter in await bot.dead_letters()} == {400}


async def test_a_user_who_is_back_is_not_told(bot: BotInMemory) -> None:
    await bot.say(conversation={"id": "talk1"})
    said = await lines(bot, "replay")
    assert said[-1] in ("2 replayed, 1 superseded", "1 superseded, 2 replayed")
    assert await bot.dead_letters() == []
    bot.clock.sleep(3)
    assert (await bot.sweep()).notified == 2


async def test_user_state_of_the_last_turn_outlives_its_dead_letter_and_the_replay() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))

    async def dead(_: object) -> NoticeResult:
        return NoticeResult(Verdict.DEAD, 500)

    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep(dead)
    bot.clock.sleep(1)
    assert (await lines(bot, "replay"))[-1] == "1 replayed"
    assert await bot.say(conversation={"id": "elsewhere"}) == ["1 2 1"]
    assert await bot.say() == [texts.WELCOME_BACK, "1 3 1"]


@pytest.mark.parametrize("action", ["replay", "drop"])
async def test_those_that_are_named_are_taken_and_no_others(bot: BotInMemory, action: str) -> None:
    letter = await of_talk(bot, 1)
    said = await lines(bot, action, Selection(ids=frozenset({letter.session, "nosuch"})))
    done = "replayed" if action == "replay" else "dropped"
    assert said == [f"{letter.session} {done}", "nosuch not found", f"1 {done}"]
    assert letter not in await bot.dead_letters()
    assert len(await bot.dead_letters()) == 2


async def test_those_older_than_some_time_are_taken_and_no_others(bot: BotInMemory) -> None:
    young = await of_talk(bot, 2)
    before = bot.clock.now - timedelta(seconds=1)
    assert (await lines(bot, "drop", Selection(dead_before=before)))[-1] == "2 dropped"
    assert await bot.dead_letters() == [young]


async def test_a_drop_leaves_nothing_of_the_user(bot: BotInMemory) -> None:
    await lines(bot, "drop")
    assert bot.keys() == []
    assert not list(bot.users.rows)  # type: ignore[attr-defined] # a MemoryTable


async def test_nothing_to_do_is_said() -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    assert await lines(bot, "replay") == ["none"]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "list some-id",
        "replay",
        "drop",
        "replay --all some-id",
        "drop --all --older-than 3",
        "replay --older-than 3",
        "drop --older-than -1",
        "drop --older-than soon",
        "drop --older-than 99999",
    ],
)
def test_a_command_that_does_not_say_which_is_refused(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cli", "dead-letters", *arguments.split()])
    with pytest.raises(SystemExit) as refusal:
        cli.main()
    assert refusal.value.code == 2
    assert "error:" in capsys.readouterr().err
