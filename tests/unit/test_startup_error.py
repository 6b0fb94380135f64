"""An app that cannot start: health and messages answer 503 and say why; nothing else runs."""

import importlib
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import azure.functions as func
import pytest

import shared.bot
from scripts.processes import ROOT
from shared.loaded_bot import load_bot, load_hooks
from tests.settings_of_app import no_settings
from tests.unit.test_functions import DEVELOPMENT

Answers = dict[str, tuple[int, dict[str, object]]]
Load = Callable[..., Awaitable[Answers]]
PutHooks = Callable[[str | None], None]


async def answers(app: func.FunctionApp) -> Answers:
    """What each function of the app answers."""
    found = {}
    for each in app.get_functions():
        answer = await each.get_user_function()(func.HttpRequest("GET", "/", body=b""))
        found[str(each.get_function_name())] = (answer.status_code, json.loads(answer.get_body()))
    return found


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Loads function_app anew, with these settings and no others."""

    async def load_with(**changes: str) -> Answers:
        no_settings(monkeypatch)
        for name, value in {**DEVELOPMENT, **changes}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, "function_app", raising=False)
        load_bot.cache_clear()
        load_hooks.cache_clear()
        return await answers(importlib.import_module("function_app").app)

    yield load_with
    load_bot.cache_clear()
    load_hooks.cache_clear()


@pytest.fixture
def put_hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PutHooks]:
    """Puts code into the place of shared/hooks.py; None: the file is deleted."""

    def put(code: str | None) -> None:
        folder = tmp_path / "shared"
        folder.mkdir()
        if code is not None:
            (folder / "hooks.py").write_text(code)
        others = [each for each in shared.__path__ if each != str(ROOT / "shared")]
        monkeypatch.setattr(shared, "__path__", [str(folder), *others])
        monkeypatch.delitem(sys.modules, "shared.hooks", raising=False)

    yield put
    sys.modules.pop("shared.hooks", None)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("ExpireAfterSeconds", "a-secret", "it must be whole seconds"),
        ("ExpirySchedule", "0 0 12 ? * a-secret", "it must be an NCRONTAB expression"),
        ("MicrosoftAppType", "a-secret", "it must be"),
        ("SendingLimits", "a-secret.toml", "it must be a TOML file"),
        ("ExpiryPolicy", "a-secret.toml", "it must be a TOML file"),
        ("Texts", "a-secret.toml", "it must be a TOML file"),
        ("SweepBudgetSeconds", "299", "less than the 300 s of functionTimeout"),
    ],
)
async def test_health_names_a_wrong_setting_and_its_rule_but_not_the_value(
    load: Load, capsys: pytest.CaptureFixture[str], name: str, value: str, rule: str
) -> None:
    found = await load(**{name: value})
    assert found.keys() == {"health", "messages"}
    assert [status for status, _ in found.values()] == [503, 503]
    _, health = found["health"]
    assert health["failed"] == ["settings"]
    assert str(health["reason"]).startswith(name)
    assert rule in str(health["reason"])
    assert "a-secret" not in json.dumps(found)
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith(f"The app cannot start: {name}")
    assert value in printed[0]


@pytest.mark.parametrize(
    "code",
    [
        "import a_package_that_is_missing  # ModuleNotFoundError",
        "raise ValueError('a-secret')",
        "import sys; sys.exit('a-secret')  # SystemExit",
        "this is no Python  # SyntaxError",
    ],
)
async def test_any_other_failure_is_told_by_its_class_and_the_log_has_the_rest(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    code: str,
) -> None:
    (error,) = re.findall(r"[A-Z]\w*(?:Error|Exit)", code)
    (tmp_path / "messages_function.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "messages_function")
    found = await load()
    assert found.keys() == {"health", "messages"}
    status, health = found["health"]
    assert (status, health["failed"]) == (503, ["start"])
    assert error in str(health["reason"])
    assert "a-secret" not in json.dumps(found)
    assert "Traceback" not in json.dumps(found)
    assert error in capsys.readouterr().err


class Unnamed:
    """A bot without on_turn."""


def _fails(*_: object) -> None:
    raise KeyError("a-secret")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("STATE_TYPES", (len,), "STATE_TYPES of shared/bot failed (TypeError)"),
        ("STATE_TYPES", (Unnamed(),), "STATE_TYPES of shared/bot failed (TypeError)"),
        ("STATE_TYPES", (type("Choice", (), {}),), "STATE_TYPES of shared/bot failed (ValueError)"),
        ("STATE_TYPES", Unnamed, "STATE_TYPES of shared/bot failed (TypeError)"),
        ("STATE_TYPES", None, "STATE_TYPES of shared/bot failed (TypeError)"),
        ("STATE_TYPES", ..., "STATE_TYPES of shared/bot is missing"),
        ("EFFECTS", {"event/order": "opens"}, "EFFECTS of shared/bot failed"),
        ("MIDDLEWARE", (len,), "MIDDLEWARE of shared/bot holds a builtin_function_or_method"),
        ("MIDDLEWARE", 7, "MIDDLEWARE of shared/bot failed (TypeError)"),
        ("on_turn_error", "sorry", "on_turn_error of shared/bot is no function"),
        ("create_bot", _fails, "create_bot of shared/bot failed (KeyError)"),
        ("create_bot", lambda *_: None, "create_bot of shared/bot returned a NoneType"),
        ("create_bot", lambda *_: Unnamed(), "create_bot of shared/bot returned a Unnamed"),
        ("create_bot", lambda: None, "create_bot of shared/bot failed (TypeError)"),
        ("create_bot", ..., "create_bot of shared/bot is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_mistake_in_the_bot_is_named_before_the_first_message(  # noqa: PLR0917 - fixtures
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
    words: str,
) -> None:
    if value is ...:
        monkeypatch.delattr(shared.bot, name)
    else:
        monkeypatch.setattr(shared.bot, name, value, raising=False)
    found = await load()
    status, health = found["health"]
    assert (status, health["failed"]) == (503, ["bot"])
    assert str(health["reason"]).startswith(words)
    assert "a-secret" not in json.dumps(found)
    printed = capsys.readouterr().err
    assert printed.startswith(f"The app cannot start: {words.split(' (', maxsplit=1)[0]}")
    assert ("a-secret" in printed) == (value is _fails)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def on_expired(conversation): ...", "on_expired of shared/hooks.py is no coroutine"),
        ("on_warned = 'words'", "on_warned of shared/hooks.py is no coroutine function"),
        ("raise KeyError('a-secret')", "the code of shared/hooks.py failed (KeyError)"),
        ("import shared.missing", "the code of shared/hooks.py failed (ModuleNotFoundError)"),
        ("this is no Python", "the code of shared/hooks.py failed (SyntaxError)"),
    ],
)
async def test_a_mistake_in_the_hooks_is_named_before_the_first_sweep(
    load: Load,
    put_hooks: PutHooks,
    capsys: pytest.CaptureFixture[str],
    code: str,
    words: str,
) -> None:
    put_hooks(code)
    found = await load()
    status, health = found["health"]
    assert (status, health["failed"]) == (503, ["hooks"])
    assert str(health["reason"]).startswith(words)
    assert "a-secret" not in json.dumps(found)
    printed = capsys.readouterr().err
    assert printed.startswith(f"The app cannot start: {words.split(' failed', maxsplit=1)[0]}")
    assert ("a-secret" in printed) == ("a-secret" in code)


@pytest.mark.parametrize("code", ["", None, "async def on_expired(conversation): ..."])
async def test_hooks_may_be_left_out(put_hooks: PutHooks, code: str | None) -> None:
    put_hooks(code)
    load_hooks.cache_clear()
    found = load_hooks()
    assert found.on_warned is None
    assert (found.on_expired is not None) == bool(code)
