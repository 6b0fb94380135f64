"""Every command that the docs name is run: here, by a test that is named, or by a workflow.

What is not run has its reason. A new command in the docs fails the first test until it is listed.
"""

import asyncio
import csv
import json
import os
import re
import shlex
import signal
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts import azurite, run
from scripts.processes import ROOT
from tests.clones import clone_into
from tests.e2e.running_bot import settings_on
from tests.fake_channel import until
from tests.ports import free_port, free_ports

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups and signals are POSIX")

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# Pages whose blocks a test runs as they stand.
RUN_AS_A_WHOLE = {
    "state-data.md": "test_state_api.py::"
    "test_a_bots_own_dataclass_can_be_read_and_the_examples_of_the_docs_run"
}

# What a command in running text begins with; other `code` is a name, a route or a setting.
BEGINS = re.compile(
    r"(?:[A-Z]+=\S+ )?(?:make|python3?|\.venv/bin/\w+|npm|npx|func|git|az|azd|curl|pip|gh) \S"
)

NEEDS_AZURE = re.compile(r"([A-Z_]+=\$\()?(az|azd|func azure) ")

CHAT = (
    "test_local_run.py::"
    "test_it_chats_beside_a_taken_playground_port_and_one_signal_stops_everything"
)
BY_HAND = "test_documented_commands.py::test_the_bot_is_started_by_hand"
ASKED = "test_documented_commands.py::test_a_running_bot_is_asked"
FROM_FILE = "test_documented_commands.py::test_the_settings_of_a_local_run_are_taken_from_its_file"
HERE = "test_documented_commands.py::test_it_runs"
RUN: dict[str, str] = {
    # A chat on one's own machine. `make run` is `python -m scripts.run`.
    "make run": CHAT,
    "PORT=7072 make run": CHAT,
    "PORT=3978 make run": CHAT,
    "python -m scripts.run": CHAT,
    "StateStore=cosmos make run": (
        "test_local_run.py::test_with_state_in_cosmos_it_starts_one_and_stops_it"
    ),
    "python -m benchmarks.turn.stores": ".github/workflows/long.yml",
    "python -m benchmarks.expiry.sweep_memory": ".github/workflows/long.yml",
    "cp local.settings.example.json local.settings.json": BY_HAND,
    "npx azurite --tableKeepAliveTimeout 120 --location .azurite": BY_HAND,
    "python -m scripts.local_host": BY_HAND,
    "npx agentsplayground start -e http://localhost:7071/api/messages -c msteams": BY_HAND,
    # Whoever runs the bot
    "make status": ASKED,
    "curl http://localhost:7071/admin/functions/expiry_timer -H 'Content-Type: application/json'"
    " -d '{}'": ASKED,
    "python -m shared.cli status": ASKED,
    "python -m shared.cli doctor": ASKED,
    "python -m scripts.with_local_settings python -m shared.cli doctor": FROM_FILE,
    "python -m shared.cli doctor --endpoint https://<name>.azurewebsites.net/api/messages": ASKED,
    "python -m shared.cli dead-letters list": ASKED,
    "python -m shared.cli export webchat 12345678": ASKED,
    'python -m shared.cli explain msteams "19:ab@thread.v2"': ASKED,
    "python -m shared.cli conversations --limit 3": ASKED,
    "python -m shared.cli policy check": ASKED,
    "python -m shared.cli policy check expiry_policy.toml": (
        "test_documented_commands.py::test_the_policy_of_the_docs_is_checked"
    ),
    "python -m shared.cli simulate expiry_policy.toml --from pauses.csv --regret 30m": (
        "test_documented_commands.py::test_the_pauses_of_a_query_are_simulated"
    ),
    "python -m shared.cli policy schema > expiry_policy.schema.json": HERE,
    "python -m shared.cli dead-letters replay <id>... | --all": (
        "test_outcomes.py::test_dead_letters_are_listed_replayed_and_dropped"
    ),
    "python -m shared.cli dead-letters drop <id>... | --all | --older-than <days>": (
        "test_outcomes.py::test_dead_letters_are_listed_replayed_and_dropped"
    ),
    "python -m shared.cli poison list": ASKED,
    "python -m shared.cli poison list|replay|drop": (
        "test_fan_out.py::"
        "test_a_malformed_message_ends_as_poison_which_is_listed_replayed_and_dropped"
    ),
    "python -m scripts.import_users old-state --bot https://<name>.azurewebsites.net": (
        "test_import_users.py::test_profiles_are_there_afterwards_and_nothing_is_written_over"
    ),
    # Development
    "make test": ".github/workflows/test.yml",
    "make test-browser": ".github/workflows/test.yml",
    "make test-deep": ".github/workflows/test.yml",
    "make test-func": ".github/workflows/test.yml",
    "make test-own-bot": ".github/workflows/test.yml",
    "make audit": ".github/workflows/test.yml",
    "make lock": ".github/workflows/test.yml",
    "make bench": ".github/workflows/long.yml",
    "make bench-peers": ".github/workflows/long.yml",
    "python -m benchmarks": ".github/workflows/long.yml",
    "python -m benchmarks.expiry.day": ".github/workflows/long.yml",
    "python -m benchmarks.connector.sending_at_limit": ".github/workflows/long.yml",
    "python -m tests.simulation --seeds 10000": ".github/workflows/long.yml",
    "python -m tests.simulation.sending": ".github/workflows/long.yml",
    "python -m benchmarks.expiry.sweep_requests": HERE,
    "make teams-package": HERE,
}

NOT_RUN = {
    "python -m shared.cli export <channelId> <userId>": "it is run with ids",
    "python -m venv .venv": "scripts/install.py does the same, for every run of `make test`",
    ".venv/bin/pip install -r requirements-dev.txt": "the same",
    "npm ci": "the same",
    ".venv/bin/python -m pytest tests/unit/expiry/test_sweep.py": "a file of what `make test` runs",
    "python -m pytest tests/unit/project/test_teams_package.py": "the same",
    "func start": "Core Tools cannot be installed everywhere; what stands in for it is run",
    "func --version": "the same",
    "func bundles download": "the same",
    "func start --port 7072": "the same",
    "func setup": "the same, of version 5",
    "func pack": "the same; which files it takes: tests/unit/project/test_package.py",
    "make lock UPGRADE=--upgrade": "it changes the pins, by design; `make lock` is run",
    "git remote add upstream <the address you cloned from>": "your clone's, not ours",
    "git fetch upstream": "the same",
    "git merge upstream/main": "the same",
    ".venv/bin/python -m scripts.with_app_settings python -m shared.cli doctor"
    " --endpoint <BOT_ENDPOINT>": "needs Azure; tests/unit/project/test_with_app_settings.py",
    'curl https://<BOT_DOMAIN>/admin/functions/expiry_timer -H "x-functions-key: $MASTER_KEY"'
    " -H 'Content-Type: application/json' -d '{}'": "needs Azure; it is run without a key",
    "python -m scripts.install": "what `make install` runs",
    "python -m scripts.teams_package": "what `make teams-package` runs",
    "python -m scripts.local_host --like-flex": "`make test-like-flex` starts it",
    "make test-like-flex": ".github/workflows/test.yml",
    "git checkout HEAD~1 && azd deploy": "needs Azure",
    "python -m shared.cli": "no command yet, its name",
    "git clone <this repository> && cd <its folder>": "a clone is what runs this",
    "make install": "what every target does first",
    "make check": "a part of `make test`, which is run",
    "make lint": "the same",
    "curl <HEALTH_PAGE>": "needs Azure; test_doctor.py asks the same page of a bot that runs here",
    'curl -H "x-functions-key: $KEY" <STATUS_PAGE> -o status.html': "the same, of the status page",
}


def commands_run_by(test: str) -> list[str]:
    """The commands that are listed with this test."""
    return [command for command, where in RUN.items() if where == test]


def documented() -> dict[str, set[str]]:
    """The commands of all pages, without comments, and where each is."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
        prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
        lines = "" if page.name in RUN_AS_A_WHOLE else "".join(blocks).replace("\\\n", " ")
        commands = [
            " ".join(re.sub(r"(^|\s+)#.*", "", line).split()) for line in lines.splitlines()
        ]
        code = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
        for command in filter(None, [*commands, *filter(BEGINS.match, code)]):
            found.setdefault(command, set()).add(page.name)
    return found


def test_every_documented_command_is_listed_and_every_listed_one_is_documented() -> None:
    commands = documented()
    unlisted = {
        command: pages
        for command, pages in commands.items()
        if command not in {*RUN, *NOT_RUN} and not NEEDS_AZURE.match(command)
    }
    assert unlisted == {}
    assert {*RUN, *NOT_RUN} - set(commands) == set()


@pytest.mark.parametrize("place", sorted({*RUN.values(), *RUN_AS_A_WHOLE.values()}))
def test_what_is_said_to_run_a_command_exists(place: str) -> None:
    file, _, test = place.partition("::")
    if test:
        assert re.search(
            rf"^(async )?def {test}\(", (ROOT / "tests/e2e" / file).read_text(), re.MULTILINE
        )
        return
    workflow = (ROOT / file).read_text()
    commands = [command for command, where in RUN.items() if where == file]
    # `make bench` is `python -m benchmarks`, which runs the parts.
    parts = {command for command in commands if command.startswith("python -m benchmarks")}
    for command in set(commands) - parts:
        assert re.search(
            rf"(run: |- |/){re.escape(command)}( PYTHON=|$)", workflow, re.MULTILINE
        ), command


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files in a folder of their own, with what `make install` installs."""
    folder = tmp_path_factory.mktemp("clone")
    clone_into(folder)
    return folder


def environment(**settings: str) -> dict[str, str]:
    """That of a terminal with the virtual environment activated, and these settings."""
    path = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {**kept, "PATH": path, "TEAMSAPPTESTER_BROWSER": "none", **settings}


async def output_of(command: str, clone: Path, settings: Mapping[str, str]) -> str:
    """Run a command to its end, which must be a good one."""
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=clone,
        env=environment(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@asynccontextmanager
async def running(
    command: str, clone: Path, settings: Mapping[str, str], ready: Callable[[], bool]
) -> AsyncIterator[None]:
    """Start a command as in a terminal of its own; it is killed in the end."""
    with (clone / "terminal.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command),
            cwd=clone,
            env=environment(**settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await until(lambda: ready() or process.returncode is not None)
        assert process.returncode is None, (clone / "terminal.log").read_text()
        yield
    finally:
        # At once, as nothing of it is needed any more. How Ctrl-C ends a run: test_local_run.py.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture(scope="module")
async def by_hand(clone: Path) -> AsyncIterator[dict[str, str]]:
    """The bot as the README starts it by hand, on ports that are free; the settings it has."""
    first_port, port = free_ports(3), free_port()
    copy, storage, host, chat = (command for command, where in RUN.items() if where == BY_HAND)
    settings = {
        **settings_on(azurite.connection_string(first_port)),
        "ExpiryPolicy": "warn_before = []",  # the timer of these tests comes too seldom to warn
        "PORT": str(port),
        "CHAT_PORT": str(run.PLAYGROUND_PORT + 200),
    }
    await output_of(copy, clone, settings)
    for service, offset in ("blob", 0), ("queue", 1), ("table", 2):
        storage += f" --{service}Port {first_port + offset}"
    chat = chat.replace("7071", str(port)) + f" -p {settings['CHAT_PORT']}"
    async with (
        running(storage, clone, settings, lambda: azurite.answers(first_port)),
        running(host, clone, settings, lambda: run.answers(port, "/admin/host/status")),
        running(
            chat, clone, settings, lambda: run.answers(int(settings["CHAT_PORT"]), "/_debug/ping")
        ),
    ):
        yield settings


async def test_the_bot_is_started_by_hand(by_hand: dict[str, str], clone: Path) -> None:
    assert (clone / "local.settings.json").exists()
    assert run.answers(int(by_hand["PORT"]), "/api/health/live")


@pytest.mark.parametrize("command", commands_run_by(ASKED))
async def test_a_running_bot_is_asked(by_hand: dict[str, str], clone: Path, command: str) -> None:
    bot = f"http://localhost:{by_hand['PORT']}"
    asked = re.sub(r"https://<name>\.azurewebsites\.net|http://localhost:7071", bot, command)
    asked = asked.replace("curl ", "curl --fail --silent --show-error ")
    assert "Traceback" not in await output_of(asked, clone, by_hand)


@pytest.mark.parametrize("command", ["make status", *commands_run_by(FROM_FILE)])
async def test_the_settings_of_a_local_run_are_taken_from_its_file(
    by_hand: dict[str, str], clone: Path, command: str
) -> None:
    file = clone / "local.settings.json"
    before = file.read_text()
    content = json.loads(before)
    content["Values"] |= by_hand
    try:
        file.write_text(json.dumps(content))
        said = await output_of(command, clone, {})
    finally:
        file.write_text(before)
    assert "overdue" in said or "ok    storage" in said


def policy_of_the_docs(folder: Path) -> tuple[Path, str]:
    """The first policy of its page as a file, and the page."""
    page = (ROOT / "docs/policy.md").read_text("utf-8")
    policy, *_ = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    file = folder / "expiry_policy.toml"
    file.write_text(policy)
    return file, page


async def test_the_policy_of_the_docs_is_checked(tmp_path: Path) -> None:
    file, page = policy_of_the_docs(tmp_path)
    command = f"PYTHONPATH={ROOT} " + next(each for each in RUN if " check expiry_" in each)
    said = await output_of(command, tmp_path, {})
    assert f"```text\n{said}```" in page
    wrong = file.read_text().replace('after = "8h"', 'afer = "8h"').replace("false", '"no"')
    file.write_text(wrong)
    said = await output_of(f"! {command}", tmp_path, {})
    assert f"```text\n{said}```" in page


async def test_the_policy_comes_as_base64_to_azd(tmp_path: Path) -> None:
    file, page = policy_of_the_docs(tmp_path)
    azd = tmp_path / "azd"
    azd.write_text('#!/bin/sh\nprintf %s "$4"\n')
    azd.chmod(0o755)
    (command,) = re.findall(r"^azd env set EXPIRY_POLICY .*$", page, re.MULTILINE)
    said = await output_of(f"PATH={tmp_path}:$PATH; {command}", tmp_path, {})
    form, _, text = said.partition(":")
    assert (form, b64decode(text)) == ("base64", file.read_bytes())


async def test_the_pauses_of_a_query_are_simulated(tmp_path: Path) -> None:
    _, page = policy_of_the_docs(tmp_path)
    # The columns of the query, with the header that an export has.
    columns = re.findall(r"(\w+) = (?:sum|tostring|tolong)\(", page)
    assert sorted(columns) == ["channel", "ended", "pauses", "seconds", "type"]
    pauses = [
        ("user", 600, 20000),
        ("user", 3000, 200),
        ("user", 30000, 21),
        ("expiry", 28860, 310),
    ]
    whose = {"channel": "msteams", "type": "personal"}
    lines = [
        {**whose, "ended": ended, "seconds": seconds, "pauses": number}
        for ended, seconds, number in pauses
    ]
    with (tmp_path / "pauses.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, columns, quoting=csv.QUOTE_ALL)
        table.writeheader()
        table.writerows(lines)
    command = next(each for each in RUN if " simulate " in each)
    said = await output_of(f"PYTHONPATH={ROOT} {command}", tmp_path, {})
    assert f"```text\n{said}```" in page


@pytest.mark.parametrize("command", commands_run_by(HERE))
async def test_it_runs(clone: Path, command: str) -> None:
    settings = {
        "BOT_ID": "3f1c2b70-6d0e-4c3a-9a53-0d5a0f6c1b2e",
        "BOT_DOMAIN": "my-bot.azurewebsites.net",
    }
    await output_of(command, clone, settings)
