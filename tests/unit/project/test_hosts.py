"""The host of the tests: any command that serves a folder at a port, `make test-func` too."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import run
from scripts.processes import ROOT
from tests import on_func

APP = "import azure.functions as func\napp = func.FunctionApp()\n"
ASK = """
import sys
from pathlib import Path
from typing import Any
from tests.hosts import IS_STAND_IN, running_host
with running_host(Path(sys.argv[1])) as host:
    print(IS_STAND_IN, host.ask("GET", "/")[0], host.stop())
"""


@pytest.mark.slow
def test_the_tests_run_on_any_command_that_serves_its_folder_at_a_port(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(APP)
    command = f"{sys.executable} -m scripts.local_host . --port {{port}}"
    done = subprocess.run(
        [sys.executable, "-c", ASK, tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FUNCTIONS_HOST": command},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False 200 0\n", done.stderr


def test_without_core_tools_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_func", lambda: None)
    with pytest.raises(SystemExit, match=r"no func of version 4, 4\.15 or newer"):
        on_func.main()


@pytest.mark.parametrize("code", [0, 1])
def test_with_core_tools_pytest_is_given_their_command(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []

    def pretend(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        ran.append((command[3:], options["env"]))
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(run, "find_func", lambda: "/a folder/func")
    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(sys, "argv", ["on_func", "-x"])
    with pytest.raises(SystemExit) as ended:
        on_func.main()
    assert ended.value.code == code
    ((arguments, environment),) = ran
    assert arguments == ["tests/conformance", "tests/e2e", "-x"]
    assert environment["FUNCTIONS_HOST"] == "'/a folder/func' start --port {port}"


def test_no_test_over_http_knows_the_log_of_the_local_host() -> None:
    words = re.compile(
        r"(ERROR|WARNING|INFO) \w+|_function: |stands in|is poison|\(disabled\)|ran for"
    )
    found = {
        f"{file.name}: {line.strip()}"
        for folder in ("conformance", "e2e")
        for file in (ROOT / "tests" / folder).glob("test_*.py")
        for line in file.read_text().splitlines()
        if ".log" in line and words.search(line)
    }
    assert found == set()
