"""A command with the settings that the app has in Azure, asked of stand-ins of azd and az."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.processes import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")

LISTED = [
    {"name": "ConversationsTable", "value": "a b=c\n$(d)"},
    {"name": "AzureWebJobsStorage__accountName", "value": "st1"},
    {"name": "AzureWebJobsStorage__credential", "value": "managedidentity"},
    {"name": "AzureWebJobsStorage__clientId", "value": "an id"},
]
PRINT = "import json, os; print(json.dumps(dict(os.environ)))"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.with_app_settings", *command],
        cwd=ROOT,
        env={"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "settings.json").write_text(json.dumps(LISTED))
    stand_in(tmp_path, "azd", 'echo "value of $3"')
    asked = "functionapp config appsettings list -g value of AZURE_RESOURCE_GROUP"
    asked += " -n value of AZURE_FUNCTION_NAME -o json"
    stand_in(tmp_path, "az", f'[ "$*" = "{asked}" ] && cat {tmp_path}/settings.json')
    return tmp_path


def test_the_command_has_the_apps_settings_as_they_are_but_not_its_identity(tools: Path) -> None:
    done = run(tools, "python", "-c", PRINT)
    variables = json.loads(done.stdout)
    assert variables["ConversationsTable"] == "a b=c\n$(d)"
    assert variables["AzureWebJobsStorage__accountName"] == "st1"
    assert not {"AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"} & set(variables)


def test_its_exit_code_is_that_of_the_command(tools: Path) -> None:
    assert run(tools, "python", "-c", "import sys; sys.exit(7)").returncode == 7


@pytest.mark.parametrize(
    ("program", "script", "said"),
    [
        ("az", "echo 'not signed in' >&2; exit 1", "not signed in\naz functionapp config"),
        ("azd", "exit 1", "azd env get-value AZURE_RESOURCE_GROUP: it failed"),
    ],
)
def test_a_tool_that_fails_stops_it(tools: Path, program: str, script: str, said: str) -> None:
    stand_in(tools, program, script)
    done = run(tools, "python", "-c", "print('run')")
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr


def test_a_tool_that_is_missing_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "python", "-c", "")
    assert "azd is missing" in done.stderr


def test_no_command_is_a_mistake(tmp_path: Path) -> None:
    assert "Name the command" in run(tmp_path).stderr
