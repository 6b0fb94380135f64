"""The files that GitHub and editors read: by their published schemas, and by what they run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scripts.processes import ROOT
from scripts.with_variables import AGAIN_AFTER_SECONDS, run, taken_over
from tests import infra

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = {
    **{file.relative_to(ROOT): "vendor.github-workflows" for file in WORKFLOWS},
    Path(".github/dependabot.yml"): "vendor.dependabot",
}


def without_comments(file: Path) -> object:
    """What a JSON file with // comments of whole lines holds."""
    return json.loads(re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.MULTILINE))


@pytest.mark.slow
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
    assert '["3.11", "3.12", "3.13", "3.14"]' in workflow  # what Azure Functions offers
    assert "run: make test PYTHON=" in workflow
    assert "run: make test-deep PYTHON=" in workflow
    assert "run: make test-func" in workflow  # not in .ci/run: func cannot be had everywhere
    assert f"run: python -m {infra.__name__}\n" in workflow  # nor can the Bicep compiler
    assert "run: make test-like-flex" in workflow
    assert "run: make test-own-bot" in workflow
    assert "run: make test-browser" in workflow
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert ci[-4:-1] == ["make test", "make test-deep", "make test-own-bot"]
    assert ci[-1] == "exec make test-browser"


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


def jobs_of(name: str) -> dict[str, Any]:
    """The jobs of a workflow."""
    text = (ROOT / ".github" / "workflows" / name).read_text()
    jobs: dict[str, Any] = YAML(typ="safe").load(text)["jobs"]
    return jobs


def test_only_the_job_that_deploys_may_and_it_runs_nothing_but_azd() -> None:
    jobs = jobs_of("deploy.yml")
    assert [name for name, job in jobs.items() if "permissions" in job] == ["deploy"]
    deploy, package = jobs["deploy"], jobs["package"]
    assert deploy["needs"] == "package"
    assert package["needs"] == "test"
    assert deploy["environment"] == "production"
    commands = [step["run"] for step in deploy["steps"] if "run" in step]
    run = r"python3 -m scripts\.with_variables (--attempts 5 )?"
    prefix = rf"({run})?azd (auth login|provision|deploy) "
    assert all(re.match(prefix, command) for command in commands)
    assert "--from-package package.zip" in commands[-1]
    assert any("scripts.package" in step.get("run", "") for step in package["steps"])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.name))
def test_no_value_gets_into_a_script_or_into_the_variables_of_later_steps(file: Path) -> None:
    for job in jobs_of(file.name).values():
        for step in job.get("steps", []):
            script = step.get("run", "")
            assert "GITHUB_ENV" not in script
            assert "GITHUB_PATH" not in script
            # The matrix is the workflow's own.
            assert not re.search(r"\$\{\{(?! matrix\.)", script)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.name))
def test_a_workflow_may_read_only_unless_a_job_says_more(file: Path) -> None:
    workflow = YAML(typ="safe").load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("value", ["a\nPATH=/evil", "a\r", "a\x00b", "\x1b]0;a", "a\u2028b"])
def test_a_variable_with_a_line_break_stops_the_deployment(value: str) -> None:
    with pytest.raises(SystemExit, match="BOT_SKU"):
        taken_over({"BOT_SKU": value})


def test_only_variables_of_the_infrastructure_reach_azd() -> None:
    given = {
        "AZURE_ENV_NAME": "prod",
        "AZURE_CLIENT_ID": "id",
        "BOT_DISPLAY_NAME": "Größe = $(id) `x`",
        "PATH": "/evil",
        "LD_PRELOAD": "/evil.so",
        "BASH_ENV": "x",
        "EXPIRY_NOTICE": "",
    }
    known = ("AZURE_ENV_NAME", "AZURE_CLIENT_ID", "BOT_DISPLAY_NAME")
    assert taken_over(given) == {name: given[name] for name in known}


def test_azd_gets_the_variables_as_they_are() -> None:
    value = 'Ann\'s "bot" = $(id) `x`'
    code = (
        "import os, sys; print(os.environ['BOT_DISPLAY_NAME']); sys.exit('VARIABLES' in os.environ)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "scripts.with_variables", sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "VARIABLES": json.dumps({"BOT_DISPLAY_NAME": value})},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{value}\n"


@pytest.mark.parametrize(
    ("succeeds_at", "attempts", "code", "waits"),
    [(1, 1, 0, 0), (1, 5, 0, 0), (3, 5, 0, 2), (6, 5, 7, 4), (2, 1, 7, 0)],
)
def test_a_command_is_tried_so_often_with_a_minute_between(
    tmp_path: Path, succeeds_at: int, attempts: int, code: int, waits: int
) -> None:
    calls = tmp_path / "calls"
    script = (
        "import pathlib, sys; calls = pathlib.Path(sys.argv[1]); calls.open('a').write('x');"
        f" sys.exit(0 if len(calls.read_text()) >= {succeeds_at} else 7)"
    )
    slept: list[float] = []
    command = [sys.executable, "-c", script, str(calls)]
    assert run(command, dict(os.environ), attempts, slept.append) == code
    assert slept == [AGAIN_AFTER_SECONDS] * waits
