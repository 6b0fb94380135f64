"""The snippets of docs/bring-your-bot.md and docs/migrate.md, run as an author's shared/bot."""

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import azure.functions as func
import pytest
from botbuilder.core import ActivityHandler, MessageFactory, TurnContext, UserState
from botbuilder.dialogs import Dialog, DialogExtensions, WaterfallDialog
from botbuilder.dialogs.prompts import PromptOptions, TextPrompt

import shared.bot
from scripts.processes import ROOT
from shared.domain.timing import Timing
from shared.loaded_bot import BotError, LoadedBot, load_bot
from shared.state import state_types
from tests import texts
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    FunctionBot,
    activity,
    count_in_every_bag,
)

NAMES = ("STATE_TYPES", "EFFECTS", "MIDDLEWARE", "create_bot", "on_turn_error")
TIMING = Timing(timedelta(seconds=100))
RESUMABLE = replace(TIMING, resume_within=timedelta(hours=1))
SNIPPETS = [
    (kind, textwrap.dedent(code))  # a step's is indented
    for page in ("bring-your-bot.md", "migrate.md")
    for kind, code in re.findall(
        r"^ *```(python|json)\n(.*?)^ *```",
        (ROOT / "docs" / page).read_text(),
        re.DOTALL | re.MULTILINE,
    )
]

Bring = Callable[[dict[str, Any]], LoadedBot]


def snippet(words: str) -> dict[str, Any]:
    """The names that the one snippet with these words defines."""
    (code,) = [code for kind, code in SNIPPETS if kind == "python" and words in code]
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bring]:
    """Puts a module's names in the place of the bot's, and loads it."""

    # What it registers is forgotten again; other tests have classes of the same names.
    types = {
        name: cls
        for name, cls in state_types._types.items()
        if not cls.__module__.startswith(("builtins", "tests.", "shared.bot"))
    }
    monkeypatch.setattr(state_types, "_types", types)
    monkeypatch.setattr(state_types, "_names", {cls: name for name, cls in types.items()})

    def load(names: dict[str, Any]) -> LoadedBot:
        for name in NAMES:
            monkeypatch.delattr(shared.bot, name, raising=False)
            if name in names:
                monkeypatch.setattr(shared.bot, name, names[name], raising=False)
        load_bot.cache_clear()
        return load_bot()

    yield load
    load_bot.cache_clear()


def running(loaded: LoadedBot, timing: Timing = TIMING) -> BotInMemory:
    bot = BotInMemory(loaded.bot, timing)
    loaded.at(bot.turns._adapter)
    return bot


async def test_a_bot_that_has_it_all(bring: Bring) -> None:
    bot = running(bring(snippet("class GreetingBot")))
    assert await bot.say() == ["Visit 1"]
    assert await bot.say("break") == ["Something broke. Please tell me again."]
    assert await bot.say() == ["Visit 2"]


async def test_without_on_turn_error_the_user_gets_the_apology(bring: Bring) -> None:
    names = snippet("class GreetingBot")
    del names["on_turn_error"]
    bot = running(bring(names))
    assert await bot.say("break") == [texts.SOMETHING_WENT_WRONG]
    assert bot.keys() == []


async def test_middleware_sees_each_turn_and_what_it_sends(bring: Bring) -> None:
    class Shouting:
        async def on_turn(self, context: TurnContext, logic: Callable[[], Any]) -> None:
            async def shout(_: TurnContext, sent: list[Any], send: Callable[[], Any]) -> None:
                for each in sent:
                    each.text = each.text.upper()
                await send()

            context.on_send_activities(shout)
            await logic()

    names = snippet("class GreetingBot") | {"MIDDLEWARE": [Shouting()]}
    assert await running(bring(names)).say() == ["VISIT 1"]


async def test_a_setting_of_its_own(bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    names = snippet("class WeatherBot")
    with pytest.raises(BotError, match="create_bot of shared/bot failed: KeyError: 'WeatherUrl'"):
        bring(names)
    (settings,) = [json.loads(code) for kind, code in SNIPPETS if kind == "json"]
    monkeypatch.setenv("WeatherUrl", settings["WeatherUrl"])
    assert await running(bring(names)).say() == [settings["WeatherUrl"]]


def test_the_settings_of_the_infrastructure_take_part() -> None:
    assert json.loads((ROOT / "infra" / "bot-settings.json").read_text()) == {}
    main = (ROOT / "infra" / "main.bicep").read_text()
    assert "var botSettings = loadJsonContent('bot-settings.json')" in main
    # First: what the infrastructure itself sets goes before.
    assert "properties: union( botSettings, appSettings," in " ".join(main.split())


async def test_a_route_of_its_own() -> None:
    app = func.FunctionApp()
    app.register_functions(snippet("async def version")["blueprint"])
    (function,) = app.get_functions()
    answer = await function.get_user_function()(func.HttpRequest("GET", "/", body=b""))
    assert answer.get_body() == b"7"


async def test_a_resumed_conversation_hears_its_last_question_again(bring: Bring) -> None:
    bot = running(bring(snippet("class OrderBot")), RESUMABLE)
    question = "What would you like?"
    assert await bot.say() == [question]
    for _ in range(2):
        bot.clock.sleep(103)
        await bot.sweep()
        assert await bot.say("resume") == [texts.RESUMED, question]
    assert await bot.say("tea") == ["Ordered: tea"]


async def test_a_resumed_conversation_whose_dialog_has_ended_begins_it(bring: Bring) -> None:
    bot = running(bring(snippet("class OrderBot")), RESUMABLE)
    await bot.say()
    await bot.say("tea")
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say("resume") == [texts.RESUMED, "What would you like?"]


async def test_a_resumed_conversation_whose_dialog_is_gone_begins_another(bring: Bring) -> None:
    names = snippet("class OrderBot")
    order_bot: Any = names["create_bot"]

    class OlderBot(order_bot):  # type: ignore[misc] # the snippet's class
        def __init__(self, *states: Any) -> None:
            super().__init__(*states)
            self._dialogs.add(TextPrompt("older"))

        async def _ask(self, step: Any) -> Any:
            return await step.prompt("older", PromptOptions(MessageFactory.text("And to drink?")))

    bot = running(bring(names | {"create_bot": OlderBot}), RESUMABLE)
    assert await bot.say() == ["And to drink?"]
    bot.clock.sleep(103)
    await bot.sweep()
    bot.bot = bring(names).bot
    deployed = bot.another_process()
    assert await deployed.say("resume") == [texts.RESUMED, "What would you like?"]
    assert await deployed.say("tea") == ["Ordered: tea"]


async def test_signing_out_when_a_session_begins(bring: Bring) -> None:
    names = snippet("class SigningOutBot")
    signed_out: list[tuple[str, ...]] = []

    class Client:
        async def sign_out_user(self, *args: str) -> None:
            signed_out.append(args)

    class WithClient:
        async def on_turn(self, context: TurnContext, logic: Callable[[], Any]) -> None:
            context.turn_state["UserTokenClient"] = Client()
            await logic()

    assert issubclass(names["create_bot"], ActivityHandler)
    bot = running(bring(names | {"MIDDLEWARE": [WithClient()]}))
    await bot.say()
    await bot.say()
    assert len(signed_out) == 1
    bot.clock.sleep(103)
    await bot.sweep()
    await bot.say()
    assert signed_out == [("ann", "my-connection", CHANNEL)] * 2


async def test_a_message_that_the_bot_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))

    async def get_app() -> Any:
        return bot.turns

    names = snippet("async def tell")
    monkeypatch.setitem(names, "get_app", get_app)
    await names["tell"](TurnContext.get_conversation_reference(activity()), "news")
    assert bot.connector.texts == ["news"]


async def test_a_sample_as_it_comes(bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    class UserProfile:
        def __init__(self, name: str) -> None:
            self.name = name

    class UserProfileDialog(WaterfallDialog):
        def __init__(self, user_state: UserState) -> None:
            super().__init__("profile", [self._ask, self._say])
            self._profile = user_state.create_property("UserProfile")

        async def _ask(self, step: Any) -> Any:
            await step.context.send_activity("Your name?")
            return Dialog.end_of_turn

        async def _say(self, step: Any) -> Any:
            await self._profile.set(step.context, UserProfile(step.result))
            await step.context.send_activity("Thanks")
            return await step.end_dialog()

    class DialogBot(ActivityHandler):
        def __init__(self, conversation_state: Any, user_state: Any, dialog: Dialog) -> None:
            self._states = (conversation_state, user_state)
            self._dialog = dialog

        async def on_message_activity(self, turn_context: TurnContext) -> None:
            place = self._states[0].create_property("DialogState")
            await DialogExtensions.run_dialog(self._dialog, turn_context, place)
            for state in self._states:
                await state.save_changes(turn_context)

    for name, its in (
        ("bots", DialogBot),
        ("data_models", UserProfile),
        ("dialogs", UserProfileDialog),
    ):
        module = ModuleType(name)
        setattr(module, its.__name__, its)
        monkeypatch.setitem(sys.modules, name, module)
    bot = running(bring(snippet("STATE_TYPES = (UserProfile,)")))
    assert await bot.say("hi") == ["Your name?"]
    assert await bot.another_process().say("Ada") == ["Thanks"]
    assert await bot.say("again") == ["Your name?"]


async def test_the_route_of_the_sample_that_writes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))

    async def get_app() -> Any:
        return bot.turns

    known = {"ann": TurnContext.get_conversation_reference(activity())}
    monkeypatch.setattr(shared.bot, "CONVERSATION_REFERENCES", known, raising=False)
    names = snippet("async def notify")
    monkeypatch.setitem(names, "get_app", get_app)
    app = func.FunctionApp()
    app.register_functions(names["blueprint"])
    (function,) = app.get_functions()
    answer = await function.get_user_function()(func.HttpRequest("GET", "/", body=b""))
    assert answer.status_code == 200
    assert bot.connector.texts == ["proactive hello"]
