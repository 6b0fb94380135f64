"""Each test runs in a fresh process: what is imported once stays imported.

A process costs two seconds of a processor, so each is asked all that it can tell.
"""

import subprocess
import sys

import pytest

from scripts.processes import ROOT

pytestmark = pytest.mark.slow  # each of them starts processes

_PROMPTS = """
import asyncio
from botbuilder.core import ConversationState, MemoryStorage, MessageFactory
from botbuilder.core.adapters import TestAdapter
from botbuilder.dialogs import DialogSet, DialogTurnStatus
from botbuilder.dialogs.choices import Choice
from botbuilder.dialogs.prompts import (
    ChoicePrompt, ConfirmPrompt, DateTimePrompt, NumberPrompt, PromptOptions
)

async def answered(prompt, answer):
    state = ConversationState(MemoryStorage())
    dialogs = DialogSet(state.create_property("dialogs"))
    dialogs.add(prompt("prompt"))
    results = []

    async def logic(context):
        dialog = await dialogs.create_context(context)
        result = await dialog.continue_dialog()
        if result.status is DialogTurnStatus.Empty:
            question = MessageFactory.text("?")
            choices = [Choice("red"), Choice("blue")]
            await dialog.prompt("prompt", PromptOptions(prompt=question, choices=choices))
        elif result.status is DialogTurnStatus.Complete:
            results.append(result.result)
        await state.save_changes(context)

    adapter = TestAdapter(logic)
    adapter.template.locale = "en-us"
    await adapter.receive_activity("hello")
    await adapter.receive_activity(answer)
    return results[0]

print(asyncio.run(answered(NumberPrompt, "forty-two")))
print(asyncio.run(answered(ConfirmPrompt, "yes")))
print(asyncio.run(answered(DateTimePrompt, "5 pm"))[0].value)
print(asyncio.run(answered(ChoicePrompt, "the second one")).value)
"""
ANSWERS = ["42", "True", "17:00:00", "blue"]


def run(statements: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", statements],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_OAUTH = """
from msrest.authentication import OAuthTokenAuthentication
from msrest.pipeline import async_requests, requests

print(requests.oauth2.rfc6749.errors.InvalidGrantError.__name__)
print(async_requests.oauth2.rfc6749.errors.OAuth2Error.__name__)
print(type(OAuthTokenAuthentication("id", {}).signed_session().auth).__name__)
"""
_RECOGNIZER = """
import recognizers_number

print("ModelResult" in repr(recognizers_number.recognize_number("two", "en-us")))
"""
RECOGNIZERS = {"recognizers_choice", "recognizers_date_time", "recognizers_number"}


@pytest.mark.parametrize("first", ["shared.app", "shared.bot", "shared.state.codec"])
def test_what_is_deferred_is_imported_when_it_is_used(first: str) -> None:
    loaded = f"import {first}, botbuilder.dialogs, sys\nprint(*sys.modules)\n"
    modules, *used = run(loaded + _OAUTH + _RECOGNIZER + _PROMPTS).splitlines()
    assert "botbuilder.dialogs" in modules.split()
    assert not {*RECOGNIZERS, "emoji", "oauthlib"} & set(modules.split())
    assert used == ["InvalidGrantError", "OAuth2Error", "OAuth2", "True", *ANSWERS]


@pytest.mark.parametrize("first", ["botbuilder.dialogs", "botframework.connector"])
def test_whoever_imports_the_sdk_before_anything_of_ours_has_all_of_it(first: str) -> None:
    used = run(f"import {first}, shared.app\n" + _OAUTH + _RECOGNIZER + _PROMPTS).splitlines()
    assert used == ["InvalidGrantError", "OAuth2Error", "OAuth2", "True", *ANSWERS]
