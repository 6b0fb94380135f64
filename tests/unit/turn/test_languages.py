"""Answers of our own are in the language of whoever wrote."""

import pytest
from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity

from shared.domain.errors import ConflictError
from shared.texts.texts_file import read_texts
from tests.bot_in_memory import (
    BotInMemory,
    FunctionBot,
    activity,
    anonymous,
    count_in_conversation,
)
from tests.faults import FaultyTable
from tests.memory_table import MemoryTable

OURS = read_texts()
IDLE = 103  # seconds: expire_after is 100


async def count_or_fail(bot: FunctionBot, context: TurnContext) -> None:
    """Count, unless the text is "boom"."""
    if context.activity.text == "boom":
        raise RuntimeError("a bug in the dialog")
    await count_in_conversation(bot, context)


@pytest.mark.parametrize(
    ("before", "now", "language"),
    [
        ("de-DE", "de-DE", "de"),
        ("de-DE", None, "de"),  # not every client says it with each message
        ("de-DE", "it", "it"),
        (None, "ja-JP", "ja"),
        ("de-DE", "nl-NL", "en"),
        (None, None, "en"),
    ],
)
async def test_the_activity_says_the_language_and_else_the_conversations_row(
    before: str | None, now: str | None, language: str
) -> None:
    bot = BotInMemory(FunctionBot(count_or_fail))
    await bot.say(locale=before)
    assert await bot.say("boom", locale=now) == [OURS.say("something_went_wrong", language).text]
    bot.clock.sleep(IDLE)
    assert await bot.say(locale=now) == [OURS.say("welcome_back", language).text, "1"]


async def test_a_button_after_the_expiry_is_answered_in_the_rows_language() -> None:
    async def answer(_: FunctionBot, context: TurnContext) -> None:
        if context.activity.type == "invoke":
            response = InvokeResponse(status=200)
            await context.send_activity(Activity(type="invokeResponse", value=response))

    bot = BotInMemory(FunctionBot(answer))
    await bot.say(locale="fr-CA")
    bot.clock.sleep(IDLE)
    await bot.take(activity(type="invoke", name="task/submit"))
    assert bot.connector.texts[-1] == OURS.say("welcome_back", "fr").text


async def test_who_was_never_faster_is_told_in_their_language() -> None:
    conversations = FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_conversation), conversations=conversations)
    await bot.say(locale="es-MX")

    async def conflict(doing: str) -> None:
        if doing.startswith("write replace c|"):
            raise ConflictError("412")

    conversations.before = conflict
    assert await bot.say(locale="es-MX") == [OURS.say("too_many_at_once", "es").text]


async def test_a_turn_that_is_given_up_is_apologised_for_in_the_rows_language() -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    await bot.say(locale="zh-CN")
    await bot.turns.give_up(activity(), anonymous())
    assert bot.connector.texts[-1] == OURS.say("something_went_wrong", "zh-CN").text
