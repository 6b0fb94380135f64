"""What is deployed: the app, nothing of development, and bytecode that is used."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.package import compile_app, copy_app
from scripts.processes import ROOT

# What is ours beside the app. Whatever else is there is the author's, and goes along.
DEVELOPMENT = {
    *("benchmarks", "docs", "infra", "scripts", "tests", "appPackage", "build", "node_modules"),
    *("Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "azure.yaml", "pyproject.toml"),
    *("requirements.in", "requirements-dev.in", "requirements-dev.txt", "accepted_findings.toml"),
    *("package.json", "package-lock.json", "local.settings.example.json"),
}

UNCHECKED_HASH = b"\x01\x00\x00\x00"  # https://docs.python.org/3/library/py_compile.html, PEP 552


def test_the_package_holds_the_app_and_nothing_of_development(tmp_path: Path) -> None:
    copy_app(ROOT, tmp_path / "app")
    folders = {path.name for path in ROOT.glob("*_function")}
    files = {"function_app.py", "host.json", "sending_limits.toml", "requirements.txt"}
    packaged = {path.name for path in (tmp_path / "app").iterdir()}
    assert packaged >= folders | {"shared"} | files
    assert packaged & DEVELOPMENT == set()
    assert {name for name in packaged if name.startswith(".")} == {".funcignore"}


def test_what_an_author_adds_is_packaged(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("shared/bot/words.json", "own_folder/__init__.py", "own_file.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    shutil.copy(ROOT / ".funcignore", source)
    copy_app(source, tmp_path / "app")
    packaged = {path.name for path in (tmp_path / "app").rglob("*") if path.is_file()}
    assert packaged == {"words.json", "__init__.py", "own_file.py", ".funcignore"}


def test_settings_of_this_machine_stay_here(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / ".funcignore").write_text((ROOT / ".funcignore").read_text())
    for name in ("local.settings.json", ".env", "function_app.py"):
        (source / name).touch()
    (source / ".azure").mkdir()
    copy_app(source, tmp_path / "app")
    assert {path.name for path in (tmp_path / "app").iterdir()} == {
        "function_app.py",
        ".funcignore",
    }


def test_the_package_does_not_let_bytecode_be_left_out(tmp_path: Path) -> None:
    copy_app(ROOT, tmp_path / "app")
    lines = (tmp_path / "app" / ".funcignore").read_text().splitlines()
    assert all(line.startswith("#") for line in lines)


def test_bytecode_is_used_although_deployment_changes_times(tmp_path: Path) -> None:
    module = tmp_path / "answer.py"
    module.write_text("ANSWER = 42\n")
    compile_app([sys.executable], tmp_path)
    compiled = Path(importlib.util.cache_from_source(str(module)))
    assert compiled.read_bytes()[4:8] == UNCHECKED_HASH
    module.write_text("ANSWER = 43\n")
    os.utime(module, (0, 0))
    said = subprocess.run(
        [sys.executable, "-c", "import answer; print(answer.ANSWER)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "42\n"
