"""A command with the settings of local.settings.json, unless the environment names a storage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import local_settings, with_local_settings

FILE = {
    "IsEncrypted": False,
    "Values": {"AzureWebJobsStorage": "here", "ConversationsTable": "mine", "TableShards": "4"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(with_local_settings, "ROOT", tmp_path)
    for name in [name for name in os.environ if name.startswith("AzureWebJobsStorage")]:
        monkeypatch.delenv(name)
    for name in ("ConversationsTable", "TableShards", "AZURE_FUNCTIONS_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / local_settings.NAME).write_text(json.dumps(FILE))
    return tmp_path


def test_the_command_has_the_values_of_the_file_but_what_is_set_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TableShards", "8")
    found = with_local_settings.environment()
    assert found["AzureWebJobsStorage"] == "here"
    assert found["ConversationsTable"] == "mine"
    assert found["TableShards"] == "8"
    assert found["AZURE_FUNCTIONS_ENVIRONMENT"] == "Development"  # as of `make run`
    assert found["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("name", ["AzureWebJobsStorage", "AzureWebJobsStorage__accountName"])
def test_the_file_of_this_machine_is_not_mixed_with_another_storage(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "there")
    found = with_local_settings.environment()
    assert found[name] == "there"
    assert not {"ConversationsTable", "AZURE_FUNCTIONS_ENVIRONMENT"} & set(found)


def test_without_a_storage_and_a_file_it_says_where_one_comes_from(folder: Path) -> None:
    (folder / local_settings.NAME).unlink()
    with pytest.raises(SystemExit, match=r"^No settings: .*`make run` makes one\.$"):
        with_local_settings.environment()


@pytest.mark.parametrize(
    ("command", "code"),
    [(["python", "-c", "import sys; sys.exit(7)"], 7), (["python", "-c", ""], 0)],
)
def test_its_exit_code_is_that_of_the_command(
    monkeypatch: pytest.MonkeyPatch, command: list[str], code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["with_local_settings", *command])
    with pytest.raises(SystemExit) as ended:
        with_local_settings.main()
    assert ended.value.code == code


def test_no_command_is_a_mistake() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.with_local_settings"],
        cwd=Path(with_local_settings.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Name the command" in done.stderr
