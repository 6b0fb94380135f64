"""The files that GitHub and editors read: by their published schemas, and by what they run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.processes import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = {
    **{file.relative_to(ROOT): "vendor.github-workflows" for file in WORKFLOWS},
    Path(".github/dependabot.yml"): "vendor.dependabot",
}


def without_comments(file: Path) -> object:
    """What a JSON file with // comments of whole lines holds."""
    return json.loads(re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("file", SCHEMAS, ids=str)
def test_it_is_valid_by_its_published_schema(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command += [SCHEMAS[file], str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.name))
def test_actions_are_pinned_to_a_commit_beside_their_version(file: Path) -> None:
    for action in re.findall(r"uses: (.*)", file.read_text()):
        assert re.fullmatch(r"\./\S+|\S+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action)


def test_ci_runs_the_one_command_on_every_python() -> None:
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert '["3.11", "3.12", "3.13"]' in workflow
    assert "run: make test PYTHON=" in workflow
    assert "run: make test-own-bot" in workflow
    assert "run: make test-browser" in workflow
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert ci[-3:] == ["make test", "make test-own-bot", "exec make test-browser"]


def test_editors_find_their_files_and_f5_finds_its_task() -> None:
    launch, tasks, *_ = (
        without_comments(ROOT / ".vscode" / name)
        for name in ("launch.json", "tasks.json", "settings.json", "extensions.json")
    )
    assert isinstance(launch, dict)
    assert isinstance(tasks, dict)
    (f5,) = launch["configurations"]
    assert f5["preLaunchTask"] in {task["label"] for task in tasks["tasks"]}
    assert (ROOT / f5["module"].replace(".", "/")).with_suffix(".py").exists()
    assert without_comments(ROOT / ".devcontainer" / "devcontainer.json")
