"""Users' state from botbuilder-azure's storages, in the form that its code writes."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonpickle.pickler import Pickler

from scripts import processes
from tests.e2e.running_bot import RunningBot
from tests.e2e.state_client import StateClient


class Answers:
    """The survey bot's, as a plain class."""

    def __init__(self, name: str, age: int) -> None:
        self.name, self.transport, self.age = name, "Car", age


class Unheard:
    """Of a class that the bot does not know."""


def document(**bag: object) -> dict[str, Any]:
    """A bag of state as both storages keep it, by `jsonpickle.Pickler().flatten`."""
    pickler: Any = Pickler
    flat: dict[str, Any] = pickler().flatten(bag)
    return flat


async def import_users(bot: RunningBot, source: Path) -> tuple[int, list[str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.import_users", source, "--bot", bot.url),
        cwd=processes.ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode().splitlines()


def as_cosmos_documents(state: Mapping[str, Any], folder: Path) -> Path:
    file = folder / "documents.json"
    file.write_text(json.dumps([{"realId": key, "document": bag} for key, bag in state.items()]))
    return file


def as_lines(state: Mapping[str, Any], folder: Path) -> Path:
    file = folder / "documents.jsonl"
    lines = (json.dumps({"realId": key, "document": bag}) for key, bag in state.items())
    file.write_text("\n".join(lines) + "\n")
    return file


def as_blobs(state: Mapping[str, Any], folder: Path) -> Path:
    for key, bag in state.items():
        blob = folder / "blobs" / key
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(json.dumps(bag))
    return folder / "blobs"


@pytest.mark.parametrize("store", [as_cosmos_documents, as_lines, as_blobs])
async def test_profiles_are_there_afterwards_and_nothing_is_written_over(
    bot: RunningBot, state: StateClient, tmp_path: Path, store: Any
) -> None:
    user = f"29:1/{store.__name__}"
    old = {
        f"msteams/users/{user}": document(Answers=Answers("Ada", 36), visits=3),
        "msteams/conversations/19:abc": document(DialogState={}),
        f"msteams/conversations/19:b/users/{user}/": document(asked=True),
    }
    code, output = await import_users(bot, store(old, tmp_path))
    assert (code, output) == (0, ["imported 1, left out (no user data) 2"])
    path = f"msteams/users/-?userId={user.replace('/', '%2F')}"
    answers = {"name": "Ada", "transport": "Car", "age": 36}
    assert (await state.get(path))[0] == {
        "Answers": {"$type": "Answers", **answers},
        "visits": 3,
    }
    code, output = await import_users(bot, store(old, tmp_path))
    assert (code, output) == (0, ["left out (no user data) 2, there already 1"])


async def test_who_cannot_be_taken_along_is_named_and_does_not_hold_up_the_others(
    bot: RunningBot, state: StateClient, tmp_path: Path
) -> None:
    shared = ["twice"]
    old = {
        "test/users/unheard": document(thing=Unheard()),
        "test/users/pickled": {"thing": {"py/reduce": [{"py/function": "os.system"}, ["ls"]]}},
        "test/users/fine": document(name="Ada", first=shared),
    }
    code, output = await import_users(bot, as_cosmos_documents(old, tmp_path))
    assert code == 1
    unheard, pickled, counts = output
    assert unheard.startswith("test/users/unheard: 400")
    assert "Unheard" in unheard
    assert pickled.startswith("test/users/pickled: holds py/")
    assert counts == "failed 2, imported 1"
    assert (await state.get("test/users/fine"))[0] == {"name": "Ada", "first": ["twice"]}


async def test_a_source_that_is_no_export_is_named(bot: RunningBot, tmp_path: Path) -> None:
    file = tmp_path / "documents.json"
    file.write_text('[{"id": "a"}]')
    code, output = await import_users(bot, file)
    assert (code, output) == (1, [f"{file}: KeyError: 'realId'"])
    code, output = await import_users(bot, tmp_path / "missing")
    assert code == 1
    assert output[-1].startswith(f"{tmp_path / 'missing'}: FileNotFoundError")
