"""Dialogs and prompts whose steps are turns of their own, each in another process."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from botbuilder.core import MessageFactory, TurnContext
from botbuilder.dialogs import (
    ComponentDialog,
    Dialog,
    DialogExtensions,
    DialogReason,
    DialogSet,
    DialogTurnResult,
    DialogTurnStatus,
    WaterfallDialog,
    WaterfallStepContext,
)
from botbuilder.dialogs.choices import Choice, ListStyle
from botbuilder.dialogs.prompts import (
    AttachmentPrompt,
    ChoicePrompt,
    ConfirmPrompt,
    DateTimePrompt,
    NumberPrompt,
    PromptOptions,
    PromptValidatorContext,
    TextPrompt,
)

from tests import texts
from tests.bot_in_memory import BotInMemory, FunctionBot


class Chat:
    """A bot that runs dialogs; each turn is taken by a process of its own."""

    def __init__(self, *dialogs: Dialog, commands: dict[str, Any] | None = None) -> None:
        self._dialogs = dialogs
        self._commands = commands or {}
        self.results: list[DialogTurnResult] = []
        self._bot = BotInMemory(FunctionBot(self._on_turn))
        self.clock = self._bot.clock

    async def say(self, text: str | None, **fields: Any) -> list[str]:
        return await self._bot.another_process().say(text, **fields)

    async def _on_turn(self, bot: FunctionBot, context: TurnContext) -> None:
        dialogs = DialogSet(bot.conversation.create_property("dialogs"))
        for dialog in self._dialogs:
            dialogs.add(dialog)
        running = await dialogs.create_context(context)
        command = self._commands.get(context.activity.text)
        result = await (command(running) if command else running.continue_dialog())
        if result and result.status == DialogTurnStatus.Empty:
            result = await running.begin_dialog(self._dialogs[0].id)
        self.results.append(result)


def asking(prompt: str, **options: Any) -> WaterfallDialog:
    """Asks with that prompt, and says the kind and the value of the answer."""

    async def ask(step: WaterfallStepContext) -> DialogTurnResult:
        given = {"prompt": MessageFactory.text("?"), **options}
        return await step.prompt(prompt, PromptOptions(**given))

    async def tell(step: WaterfallStepContext) -> DialogTurnResult:
        found: Any = step.result
        await step.context.send_activity(f"{type(found).__name__} {_shown(found)}")
        ended: DialogTurnResult = await step.end_dialog(found)
        return ended

    return WaterfallDialog("steps", [ask, tell])


def _shown(found: Any) -> str:
    if isinstance(found, list):
        return " ".join(_shown(each) for each in found)
    for name in ("name", "timex", "value"):
        if hasattr(found, name):
            return str(getattr(found, name))
    return str(found)


@pytest.mark.parametrize(
    ("prompt", "options", "answers", "said"),
    [
        (TextPrompt("p"), {}, ["Ann"], "str Ann"),
        (NumberPrompt("p"), {}, ["none", "it is 42"], "Decimal 42"),
        (ConfirmPrompt("p"), {}, ["maybe", "yes"], "bool True"),
        (DateTimePrompt("p"), {}, ["soon", "2026-11-26"], "list 2026-11-26"),
        (
            ChoicePrompt("p"),
            {"choices": [Choice("red"), Choice("blue")], "style": ListStyle.none},
            ["pink", "the second one"],
            "FoundChoice blue",
        ),
    ],
    ids=["text", "number", "confirm", "date", "choice"],
)
async def test_a_prompt_asks_until_it_understands_in_whichever_process(
    prompt: Dialog, options: dict[str, Any], answers: Sequence[str], said: str
) -> None:
    chat = Chat(asking("p", **options), prompt)
    assert len(await chat.say("hi")) == 1
    *wrong, right = answers
    for answer in wrong:
        (again,) = await chat.say(answer)
        assert again.startswith("?")
    assert await chat.say(right) == [said]


async def test_an_attachment_prompt_takes_attachments() -> None:
    chat = Chat(asking("p"), AttachmentPrompt("p"))
    await chat.say("hi")
    assert await chat.say("no file") == ["?"]
    files = [{"contentType": "text/plain", "contentUrl": "https://x.example/a", "name": "a.txt"}]
    assert await chat.say(None, attachments=files) == ["list a.txt"]


async def test_a_validator_is_asked_each_time_and_the_retry_prompt_is_said() -> None:
    understood: list[bool] = []

    async def is_large(prompt: PromptValidatorContext) -> bool:
        understood.append(prompt.recognized.succeeded)
        number: Any = prompt.recognized.value
        return prompt.recognized.succeeded and number > 10

    validator: Any = is_large  # the SDK awaits it, and says that it is no coroutine
    again = MessageFactory.text("More than 10, please.")
    chat = Chat(asking("p", retry_prompt=again), NumberPrompt("p", validator))
    assert await chat.say("hi") == ["?"]
    assert await chat.say("3") == ["More than 10, please."]
    assert await chat.say("many") == ["More than 10, please."]
    assert await chat.say("11") == ["Decimal 11"]
    assert understood == [True, False, True]


async def test_values_and_options_of_a_waterfall_outlive_its_turns() -> None:
    async def first(step: WaterfallStepContext) -> DialogTurnResult:
        options: Any = step.options
        step.values["n"] = options["start"]
        return await step.prompt("p", PromptOptions(prompt=MessageFactory.text("a?")))

    async def second(step: WaterfallStepContext) -> DialogTurnResult:
        step.values["a"] = step.result
        return await step.prompt("p", PromptOptions(prompt=MessageFactory.text("b?")))

    async def third(step: WaterfallStepContext) -> DialogTurnResult:
        assert step.reason == DialogReason.EndCalled
        said = f"{step.values['n']} {step.values['a']} {step.result} {step.index}"
        await step.context.send_activity(said)
        ended: DialogTurnResult = await step.end_dialog()
        return ended

    async def begin(running: Any) -> Any:
        return await running.begin_dialog("steps", {"start": timedelta(days=1)})

    chat = Chat(
        WaterfallDialog("steps", [first, second, third]), TextPrompt("p"), commands={"begin": begin}
    )
    assert await chat.say("begin") == ["a?"]
    assert await chat.say("one") == ["b?"]
    assert await chat.say("two") == ["1 day, 0:00:00 one two 2"]
    assert await chat.say("begin") == ["a?"]


async def test_dialogs_can_be_cancelled_replaced_and_asked_again() -> None:
    async def cancel(running: Any) -> Any:
        return await running.cancel_all_dialogs()

    async def replace(running: Any) -> Any:
        return await running.replace_dialog("steps")

    async def reprompt(running: Any) -> None:
        await running.reprompt_dialog()

    commands = {"cancel": cancel, "replace": replace, "again": reprompt}
    chat = Chat(asking("p"), TextPrompt("p"), commands=commands)
    assert await chat.say("hi") == ["?"]
    assert await chat.say("again") == ["?"]
    assert await chat.say("cancel") == []
    assert chat.results[-1].status == DialogTurnStatus.Cancelled
    assert await chat.say("Ann") == ["?"]
    assert await chat.say("replace") == ["?"]
    # The replaced prompt was asked by the first steps, and they go on with the second's result.
    assert await chat.say("Bob") == ["str Bob", "str Bob"]
    assert chat.results[-1].status == DialogTurnStatus.Complete


async def test_a_dialog_within_a_dialog_ends_with_a_result_for_the_outer_one() -> None:
    class Inner(ComponentDialog):
        def __init__(self) -> None:
            super().__init__("inner")
            self.add_dialog(asking("p"))
            self.add_dialog(TextPrompt("p"))
            self.initial_dialog_id = "steps"  # type: ignore[assignment] # the SDK says that it is None

    async def call(step: Any) -> Any:
        return await step.begin_dialog("inner")

    async def tell(step: WaterfallStepContext) -> DialogTurnResult:
        await step.context.send_activity(f"inner said {step.result}")
        ended: DialogTurnResult = await step.end_dialog()
        return ended

    chat = Chat(WaterfallDialog("outer", [call, tell]), Inner())
    assert await chat.say("hi") == ["?"]
    assert await chat.say("Ann") == ["str Ann", "inner said Ann"]


async def test_an_expired_dialog_begins_anew() -> None:
    chat = Chat(asking("p"), TextPrompt("p"))
    assert await chat.say("hi") == ["?"]
    chat.clock.sleep(100)
    assert await chat.say("Ann") == [texts.WELCOME_BACK, "?"]
    assert await chat.say("Ann") == ["str Ann"]


async def test_run_dialog_of_the_sdk_keeps_its_place_too() -> None:
    class Asking(ComponentDialog):
        def __init__(self) -> None:
            super().__init__("asking")
            self.add_dialog(asking("p"))
            self.add_dialog(TextPrompt("p"))
            self.initial_dialog_id = "steps"  # type: ignore[assignment] # the SDK says that it is None

    async def on_turn(bot: FunctionBot, context: TurnContext) -> None:
        place = bot.conversation.create_property("place")
        await DialogExtensions.run_dialog(Asking(), context, place)

    bot = BotInMemory(FunctionBot(on_turn))
    assert await bot.say("hi") == ["?"]
    assert await bot.another_process().say("Ann") == ["str Ann"]
    assert await bot.say("hi") == ["?"]
