"""Each test runs in a fresh process: what is imported once stays imported."""

import subprocess
import sys

import pytest

from scripts.processes import ROOT

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


@pytest.mark.parametrize("first", ["shared.app", "shared.bot", "shared.state.codec"])
def test_no_recognizer_is_imported_whatever_of_ours_is_imported_first(first: str) -> None:
    loaded = run(f"import {first}, botbuilder.dialogs, sys; print(*sys.modules)").split()

    assert "botbuilder.dialogs" in loaded
    for name in ("recognizers_choice", "recognizers_date_time", "recognizers_number", "emoji"):
        assert name not in loaded


@pytest.mark.parametrize("first", ["import shared.app", "import botbuilder.dialogs, shared.app"])
def test_the_prompts_of_the_sdk_recognize_all_the_same(first: str) -> None:
    assert run(first + _PROMPTS).split() == ["42", "True", "17:00:00", "blue"]


def test_whoever_imports_a_recognizer_gets_the_real_one() -> None:
    found = run(
        "import shared.app, botbuilder.dialogs, recognizers_number as r;"
        "print(r.recognize_number('two', 'en-us'))"
    )

    assert "ModelResult" in found


@pytest.mark.parametrize("first", ["shared.app", "shared.bot", "botframework.connector"])
def test_oauth_is_imported_when_it_is_used(first: str) -> None:
    found = run(
        f"import shared, {first}, sys; print('oauthlib' in sys.modules);"
        "from msrest.authentication import OAuthTokenAuthentication;"
        "from msrest.pipeline import async_requests, requests;"
        "print(requests.oauth2.rfc6749.errors.InvalidGrantError.__name__);"
        "print(async_requests.oauth2.rfc6749.errors.OAuth2Error.__name__);"
        "print(type(OAuthTokenAuthentication('id', {}).signed_session().auth).__name__)"
    )

    assert found.split() == ["False", "InvalidGrantError", "OAuth2Error", "OAuth2"]
