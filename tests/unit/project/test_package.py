"""What is deployed: what git tracks, nothing of development, and bytecode that is used."""

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from scripts import package
from scripts.package import compile_app, copy_app, import_app, missing_imports
from scripts.processes import ROOT
from tests.unit.project.imports import not_linted

# What the app is, beside the folders of functions. The rest that git tracks is for development.
APP = {"function_app.py", "host.json", "sending_limits.toml", "requirements.txt", "shared"}

# What lies in folders, and must not leave this machine.
SECRETS = [
    *("bot.pem", "bot.pfx", "id_rsa", ".netrc", ".npmrc", ".pypirc", ".env", "prod.env"),
    *("secrets.json", "terraform.tfstate", "dump.sql", "local.settings.json", "coverage/a.html"),
    *("venv/lib/a.py", "bot_env/lib/a.py", ".azure/prod/.env", "shared/backup.pem", "a.pyc"),
]

UNCHECKED_HASH = b"\x01\x00\x00\x00"  # https://docs.python.org/3/library/py_compile.html, PEP 552


def repository(folder: Path, tracked: Iterable[str], others: Iterable[str] = ()) -> Path:
    """A git repository with empty files."""
    folder.mkdir()
    for name in (*tracked, *others):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for command in (["init", "--quiet"], ["add", "--force", "--", *tracked]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


def packaged(app: Path) -> set[str]:
    """The files of a package."""
    return {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()}


def test_the_package_holds_the_app_and_nothing_of_development(tmp_path: Path) -> None:
    copy_app(ROOT, tmp_path / "app")
    functions = {path.name for path in ROOT.glob("*_function") if any(path.glob("*.py"))}
    listing = ["git", "ls-files"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    tops = {name.partition("/")[0] for name in tracked.splitlines()}
    found = {path.name for path in (tmp_path / "app").iterdir()}
    assert (tmp_path / "app" / "shared" / "texts" / "texts.toml").is_file()
    own = {name for name in tops if name.startswith("own_")}  # the author's, in a copy
    assert found == APP | (functions & tops) | {".funcignore"} | own | not_linted()


def test_every_name_of_development_is_one_that_git_tracks() -> None:
    listing = ["git", "ls-files"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    tops = {name.partition("/")[0] for name in tracked.splitlines()}
    unused = {
        pattern
        for pattern in package.DEVELOPMENT
        if not any(fnmatchcase(top, pattern) for top in tops)
    }
    assert unused == set()


def test_what_is_not_tracked_stays_here_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = repository(tmp_path / "source", ["function_app.py"], SECRETS)
    copy_app(source, tmp_path / "app")
    assert packaged(tmp_path / "app") == {"function_app.py", ".funcignore"}
    assert "Not deployed, as git does not track it: " in (said := capsys.readouterr().err)
    assert "bot.pem" in said


def test_what_an_author_adds_to_git_is_packaged(tmp_path: Path) -> None:
    own = ["shared/bot/words.json", "own_folder/__init__.py", "own_file.py", "own/größe 1.txt"]
    source = repository(tmp_path / "source", [*own, "tests/test_own.py", "docs/own.md", "own.md"])
    copy_app(source, tmp_path / "app")
    assert packaged(tmp_path / "app") == {*own, ".funcignore"}


def test_a_file_is_packaged_as_it_is_now_and_not_if_it_was_deleted(tmp_path: Path) -> None:
    source = repository(tmp_path / "source", ["changed.py", "deleted.py"])
    (source / "changed.py").write_text("new = 1\n")
    (source / "deleted.py").unlink()
    copy_app(source, tmp_path / "app")
    assert packaged(tmp_path / "app") == {"changed.py", ".funcignore"}
    assert (tmp_path / "app" / "changed.py").read_text() == "new = 1\n"


def test_a_link_is_refused_as_it_may_lead_to_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    source = repository(tmp_path / "source", ["a.py"])
    (source / "link.json").symlink_to(tmp_path / "secret")
    subprocess.run(["git", "add", "link.json"], cwd=source, check=True)
    with pytest.raises(SystemExit, match=r"link\.json is a link"):
        copy_app(source, tmp_path / "app")


def test_without_git_nothing_is_packaged_and_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "source").mkdir()
    with pytest.raises(SystemExit, match="git init"):
        copy_app(tmp_path / "source", tmp_path / "app")


def test_the_package_does_not_let_bytecode_be_left_out(tmp_path: Path) -> None:
    source = repository(tmp_path / "source", ["a.py"])
    copy_app(source, tmp_path / "app")
    lines = (tmp_path / "app" / ".funcignore").read_text().splitlines()
    assert all(line.startswith("#") for line in lines)


def core_tools_leave_out(name: str) -> bool:
    """Whether `func` leaves a file here when it publishes.

    Source: azure-functions-core-tools, GitIgnoreParser.cs (patterns) and FileSystemHelpers.cs
    (names that are never taken).

    Args:
        name: of the file, from the project's folder on.
    """
    *folders, file = name.split("/")
    if {".git", ".vscode"} & set(folders) or file in {".funcignore", "local.settings.json"}:
        return True
    lines = (line.strip() for line in (ROOT / ".funcignore").read_text().splitlines())
    patterns = [line for line in lines if line and not line.startswith("#")]
    # None of ours is negated, or begins with a slash.
    assert not any(pattern.startswith(("!", "/")) for pattern in patterns)
    wildcards = {"**": "(.+)", "*": "([^/]+)"}
    expressions = (
        "".join(wildcards.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*)", pattern))
        for pattern in patterns
    )
    return any(re.match(rf"{each}\b", name, re.ASCII) for each in expressions)


def test_published_by_hand_is_what_the_package_holds() -> None:
    listing = ["git", "ls-files"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    published = {name for name in tracked.splitlines() if not core_tools_leave_out(name)}
    assert published == set(package.git_files(ROOT, "--cached"))


@pytest.mark.parametrize(
    "name",
    [
        *SECRETS,
        *(".venv/bin/python", ".venv-3.13/lib/a.py", ".env.local", ".azurite/a.json", ".envrc"),
        *("local.settings.prod.json", "local.settings.example.json", "id_ed25519", "bot.key"),
        *("certificates/bot.pfx", "shared/bot/.env", "shared/dev.env", ".github/dependabot.yml"),
        *("shared/__pycache__/a.cpython-313.pyc", "__pycache__/a.pyc", ".python_packages/a.py"),
        *("node_modules/a/index.js", "build/app/host.json", ".local_host/expiry_timer.json"),
        *("__azurite_db_table__.json", "requirements.in", "package.json", "README.md"),
    ],
)
def test_publishing_by_hand_leaves_secrets_and_tools_here(name: str) -> None:
    assert core_tools_leave_out(name)


@pytest.mark.parametrize(
    "name",
    [
        *("function_app.py", "host.json", "requirements.txt", "sending_limits.toml"),
        *("messages_function/__init__.py", "shared/bot/words.json", "own_folder/own.py", "own.py"),
        *("shared/environment.py", "shared/docs.py", "shared/tests_of_words.txt", "builders.py"),
        *("env.py", "build.py", "docs.py", "secrets_of_life.py", "id_cards.py", "keys.py"),
    ],
)
def test_publishing_by_hand_takes_the_app(name: str) -> None:
    assert not core_tools_leave_out(name)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's package with the packages of this environment in place of Azure's."""
    app = tmp_path_factory.mktemp("built") / "app"
    copy_app(ROOT, app)
    (app / package.PACKAGES).parent.mkdir(parents=True)
    (app / package.PACKAGES).symlink_to(sysconfig.get_path("purelib"))
    return app


@pytest.mark.slow
def test_the_app_runs_from_its_package_alone(
    built: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert missing_imports(built, ROOT) == []
    import_app([sys.executable], built)
    # An environment of tests has pytest and more; the package's own has not.
    assert "Error" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import nowhere", "nowhere"),
        ("import scripts.azurite", "scripts.azurite"),
        ("from scripts import azurite", "scripts"),
        ("def later():\n    from tests.faults import once", "tests.faults"),
        ("import azure.nowhere", "azure.nowhere"),
        ("from shared.domain import a_name_in_it", None),
        ("from shared.bot import untracked", "shared.bot.untracked"),
        ("from shared.bot.untracked import word", "shared.bot.untracked"),
        ("import json, asyncio.events, azure.data.tables.aio, pydantic_core._pydantic_core", None),
        ("from . import bot", None),
        ("from .bot import untracked", "shared.bot.untracked"),
    ],
)
def test_an_import_that_the_package_lacks_is_named_with_its_line(
    built: Path, tmp_path: Path, code: str, names: str | None
) -> None:
    app, source = tmp_path / "app", tmp_path / "source"
    for root in (app, source):
        for name in ("__init__.py", "domain/__init__.py", "bot/__init__.py"):
            (root / "shared" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "shared" / name).touch()
    (source / "shared" / "bot" / "untracked.py").touch()
    (app / package.PACKAGES).parent.mkdir(parents=True)
    (app / package.PACKAGES).symlink_to((built / package.PACKAGES).resolve())
    (app / "shared" / "own.py").write_text(f"{code}\n")
    found = missing_imports(app, source)
    line = code.count("\n") + 1
    wanted = f"shared/own.py:{line} imports {names}, which the package lacks."
    assert (wanted in found) == (names is not None), found
    assert found if names else found == []


def test_a_module_that_fails_when_it_is_imported_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from json import nothing\n")
    with pytest.raises(SystemExit, match="cannot be imported"):
        import_app([sys.executable], tmp_path)


def test_the_check_sees_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "own.py").write_text("import scripts\n")
    with pytest.raises(SystemExit):
        import_app([sys.executable], tmp_path)
    (tmp_path / "own.py").write_text("import pytest\n")
    with pytest.raises(SystemExit):
        import_app([sys.executable], tmp_path)


def test_everything_is_installed_by_its_hash() -> None:
    command = [str(part) for part in package.install_command(Path("uv"), Path("target"))]
    assert "--require-hashes" in command
    assert command[command.index("--build-constraints") + 1].endswith("requirements-build.txt")
    built_here = [command[i + 1] for i, part in enumerate(command) if part == "--no-binary"]
    assert built_here == list(package.SOURCES)
    assert command[command.index("--only-binary") + 1] == ":all:"


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
