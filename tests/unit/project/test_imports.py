"""What the inner rooms load when they are imported: no vendor's client, no HTTP, no exporter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.processes import ROOT

pytestmark = pytest.mark.slow  # each of them starts processes

ROOMS = ("domain", "expiry", "state", "turn")
# The Bot Framework SDK, of which these two rooms are made, imports aiohttp and azure.core itself.
# There, what counts is that no module of ours does.
MADE_OF_THE_SDK = ("state", "turn")

SETTINGS = {
    "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ExpireAfterSeconds": "1800",
    "ExpirySchedule": "0 * * * * *",
}

_LOOK = """
import builtins, importlib, json, sys

OUTSIDE = ("azure", "aiohttp", "opentelemetry.sdk", "opentelemetry.exporter")
import_ = builtins.__import__
ours = []


def is_outside(name):
    return any(name == each or name.startswith(each + ".") for each in OUTSIDE)


def watched(name, namespace=None, local=None, names=(), level=0):
    importer = (namespace or {}).get("__name__", "")
    asked = [name, *(f"{name}.{each}" for each in names or ())]
    if importer.split(".")[0] == "shared" and not level and any(map(is_outside, asked)):
        ours.append(f"{importer} imports {name}")
    return import_(name, namespace, local, names, level)


builtins.__import__ = watched
loaded = {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    loaded[module] = sorted({*filter(is_outside, sys.modules)} - {*sum(loaded.values(), [])})
print(json.dumps({"ours": ours, "loaded": {each: new for each, new in loaded.items() if new}}))
"""


def look_at(*modules: str, path: Path = ROOT) -> tuple[list[str], dict[str, list[str]]]:
    """In an interpreter of its own: which of our modules import what they must not, and by whom."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, *modules],
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["ours"], found["loaded"]


def modules_of(room: str) -> list[str]:
    files = sorted((ROOT / "shared" / room).rglob("*.py"))
    names = [".".join(each.relative_to(ROOT).with_suffix("").parts) for each in files]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_inside_loads_no_client_of_a_vendor(room: str) -> None:
    modules = modules_of(room)
    assert len(modules) > 1
    ours, loaded = look_at(*modules)
    assert ours == []
    if room not in MADE_OF_THE_SDK:
        assert loaded == {}


def test_what_a_room_must_not_load_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "inner.py").write_text("from shared import outer\n")
    (folder / "outer.py").write_text("import aiohttp\nfrom opentelemetry import sdk\n")
    ours, loaded = look_at("shared.inner", path=tmp_path)
    assert ours == ["shared.outer imports aiohttp", "shared.outer imports opentelemetry"]
    assert {"aiohttp", "opentelemetry.sdk"} <= set(loaded["shared.inner"])


@pytest.mark.parametrize(("group", "is_loaded"), [("http", True), ("expiry_timer", False)])
def test_a_process_that_only_sweeps_starts_without_the_bot_and_dialogs(
    group: str, is_loaded: bool
) -> None:
    code = "import function_app, gc, sys; print(gc.isenabled(), *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | SETTINGS | {"FUNCTIONS_TARGET_GROUP": group},
        capture_output=True,
        text=True,
        check=True,
    )
    collects_garbage, *modules = done.stdout.split()
    assert collects_garbage == "True"  # it did not during the imports
    loaded = set(modules)
    assert "expiry_timer_function" in loaded
    assert ("shared.bot" in loaded) is is_loaded
    if not is_loaded:
        assert "botbuilder.dialogs" not in loaded


def test_hooks_are_loaded_without_the_bot() -> None:
    code = """
import shared.app, sys
from shared.loaded_bot import load_hooks

load_hooks()
print(*(name for name in sys.modules if name.startswith("shared.")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert {"shared.app", "shared.connector.hooks"} <= set(loaded)
    assert [name for name in loaded if name.split(".")[1] == "bot"] == []
