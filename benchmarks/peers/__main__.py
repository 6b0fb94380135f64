"""The same turn on this project, by hand, and on living SDKs: `make bench-peers`.

Each is a process of its own; the channel, the login service and the storage are others. Rounds take
turns, and a ratio is the median of those of the rounds: so they share what else the machine does.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from statistics import mean, median

from benchmarks.connector.channel import APP_ID, APP_PASSWORD, Channel, running_channel
from benchmarks.peers.work import Setting
from benchmarks.report import note, progress, ratio, table
from benchmarks.start.cold_start import (
    Start,
    compare,
    echo_bot,
    first_message,
    settings_of,
    this_bot,
)
from benchmarks.turn.cpu import DIALOG, message
from scripts import azurite, processes
from scripts.install import fingerprint
from tests.fake_channel import Answer
from tests.ports import free_ports

ROUNDS = 9
DIALOGS = 10  # a round
STARTS = 7

_NAMES = {
    "botbuilder.core": "microsoft_agents.hosting.core",
    "botbuilder.dialogs": "microsoft_agents.hosting.dialogs",
    "botbuilder.schema": "microsoft_agents.activity",
    "botframework.connector": "microsoft_agents.activity",
    "BotState": "AgentState",
    "save_changes": "save",
}
_VERSIONS = """
import importlib.metadata, platform
print(f"Python {platform.python_version()}", *(
    f"{each.name} {each.version}" for each in importlib.metadata.distributions()
    if each.name.startswith(("microsoft-", "msal", "aiohttp", "httpx", "PyJWT"))
), sep=", ")
"""


@dataclass
class Worker:
    """A process that takes turns, and what each round has cost: pairs of CPU and wall ms."""

    name: str
    process: "subprocess.Popen[str]"
    rounds: list[list[tuple[float, float]]]

    def take(self, bodies: Sequence[bytes]) -> list[tuple[float, float]]:
        """The CPU and wall milliseconds of a turn for each body."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([body.decode() for body in bodies]) + "\n")
        self.process.stdin.flush()
        return [(cpu, wall) for cpu, wall in json.loads(self.process.stdout.readline())]


@contextmanager
def running(
    name: str, setting: Setting, command: Sequence[str | Path], environment: dict[str, str]
) -> Iterator[Worker]:
    """Start a worker; it ends with its standard input."""
    with subprocess.Popen(
        command,
        cwd=processes.ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        process.stdin.write(json.dumps(asdict(setting)) + "\n")
        process.stdin.flush()
        yield Worker(name, process, [])


def _install() -> Path:
    """Their packages, in an environment of their own; returns its interpreter."""
    venv = processes.ROOT / ".venv-peers"
    requirements = Path(__file__).parent / "requirements.txt"
    stamp, wanted = venv / ".installed", fingerprint(requirements)
    python = venv / "bin/python"
    if not stamp.exists() or stamp.read_text() != wanted:
        progress("installing the other SDKs into .venv-peers: a minute, once")
        processes.run([sys.executable, "-m", "venv", "--clear", venv])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        processes.run([*pip, "--require-hashes", "-r", str(requirements)])
        stamp.write_text(wanted)
    return python


def rename_sample(folder: Path) -> None:
    """Write the sample as a bot of the Agents SDK: its imports renamed, nothing else changed."""
    for name in ("shared", "shared/bot", "shared/bot/sample", "shared/authors"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    # Here it is noted for the expiry, which that SDK does not have.
    (folder / "shared/authors/__init__.py").write_text("def end_conversation(context): pass\n")
    for file in (processes.ROOT / "shared/bot/sample").glob("*.py"):
        text = re.sub("|".join(_NAMES), lambda found: _NAMES[found[0]], file.read_text())
        (folder / "shared/bot/sample" / file.name).write_text(text)


def setting_of(channel: Channel, app_id: str = APP_ID) -> Setting:
    """The fake as the workers see it. Its tokens are JWTs, because the Teams SDK reads its own."""
    token = channel.bearer.removeprefix("Bearer ")
    document = {"token_type": "Bearer", "access_token": token, "expires_in": 3600}
    channel.fake.set(login_answers=[Answer(200, document)])
    return Setting(
        app_id=app_id,
        app_password=APP_PASSWORD,
        bearer=channel.bearer if app_id else "",
        login_url=channel.cloud.login_url,
        login_tenant=channel.cloud.login_tenant,
        url=channel.fake.url,
        keys_url=f"{channel.fake.url}/keys",
    )


def _bodies(service_url: str, dialogs: int, first: int) -> list[bytes]:
    return [
        message(service_url, f"conversation-{first + number}", text)
        for number in range(dialogs)
        for text in DIALOG
    ]


def _measure(workers: Sequence[Worker], channel: Channel) -> None:
    for worker in workers:  # keys, tokens, connections, the recognizers' first calls
        worker.take(_bodies(channel.service_url, 3, 0))
        _check(worker.name, channel)
    for number in range(ROUNDS):
        progress(f"  round {number + 1} of {ROUNDS}")
        for worker in workers if number % 2 else workers[::-1]:
            bodies = _bodies(channel.service_url, DIALOGS, 100 + number * DIALOGS)
            worker.rounds.append(worker.take(bodies))
            channel.fake.reset()
            setting_of(channel)


def _check(name: str, channel: Channel) -> None:
    """All have said the same."""
    said = [each.body["text"] for each in channel.fake.record().requests]
    assert len(said) == 3 * 8, (name, len(said))
    assert said[-1].startswith("Your profile is kept: Ada travels by car, is 36"), (name, said)
    channel.fake.reset()
    setting_of(channel)


def _show(title: str, workers: Sequence[Worker]) -> None:
    def of_round(costs: Sequence[tuple[float, float]], which: int, kind: str) -> float:
        firsts, later = (
            costs[:: len(DIALOG)],
            [cost for at, cost in enumerate(costs) if at % len(DIALOG)],
        )
        chosen = {"all": costs, "first": firsts, "later": later}[kind]
        return mean(cost[which] for cost in chosen)

    rows: list[list[object]] = []
    ours = workers[0]
    for worker in workers:
        row: list[object] = [worker.name]
        for which, kind in ((0, "all"), (0, "first"), (0, "later"), (1, "all")):
            figures = [of_round(costs, which, kind) for costs in worker.rounds]
            ratios = [
                figure / of_round(costs, which, kind)
                for figure, costs in zip(figures, ours.rounds, strict=True)
            ]
            row += [median(figures), "" if worker is ours else ratio(median(ratios), 1)]
        rows.append(row)
    columns = ("", "CPU ms", "ratio", "first", "ratio", "later", "ratio", "wall ms", "ratio")
    table(title, columns, rows)


def _show_cold_starts(
    channel: Channel, storage: str, interpreter: Sequence[str | Path], environment: dict[str, str]
) -> None:
    setting = json.dumps(asdict(setting_of(channel, app_id=""))).encode()

    def given(body: bytes) -> bytes:
        return setting + b"\n" + json.dumps([body.decode()]).encode() + b"\n"

    def peer(module: str) -> Start:
        return Start([*interpreter, f"benchmarks.peers.{module}"], environment, given)

    progress("cold start")
    starts = {
        "* this project: dialog, Table Storage": this_bot(settings_of(storage)),
        "  Agents SDK: its dialogs, in memory": peer("agents"),
        "  Teams SDK: dialog by hand, in memory": peer("teams"),
        "  old SDK: echo, no storage": echo_bot(settings_of(storage)),
    }
    messages = (first_message(channel, number) for number in count())
    compare(starts, messages, 1)  # creates the tables, compiles what is new
    table(
        f"Cold start, no app id: fresh process to its first answered message; median of {STARTS}",
        ("", "wall ms", "ratio", "CPU ms", "ratio"),
        compare(starts, messages, STARTS),
    )
    channel.fake.reset()
    setting_of(channel)


def main() -> None:
    """Print the tables."""
    python = _install()
    print(
        subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True).stdout
    )
    print("Lines with * are this project's. ratio: how many times worse the alternative is.")
    with ExitStack() as running_things:
        folder = Path(running_things.enter_context(tempfile.TemporaryDirectory()))
        rename_sample(folder / "sample")
        first_port = free_ports(3)
        (folder / "azurite").mkdir()
        emulator = azurite.start(folder / "azurite", first_port)
        running_things.callback(processes.stop, emulator)
        channel = running_things.enter_context(running_channel(default_answers=[]))
        bundle = os.environ["REQUESTS_CA_BUNDLE"]
        environment = {
            "SSL_CERT_FILE": bundle,
            "PYTHONPATH": f"{folder / 'sample'}{os.pathsep}{processes.ROOT}",
        }
        in_memory = setting_of(channel)
        in_tables = replace(in_memory, storage=azurite.connection_string(first_port))
        here: list[str | Path] = [sys.executable, "-m"]
        there: list[str | Path] = [python, "-P", "-m"]
        _show_cold_starts(
            channel, in_tables.storage, there, {"PYTHONPATH": environment["PYTHONPATH"]}
        )
        for title, setting, kinds in (
            (
                "state in memory",
                in_memory,
                (
                    ("* this project", here, "ours"),
                    ("  the floor, by hand", here, "floor"),
                    ("  Teams SDK, dialog by hand", there, "teams"),
                    ("  Agents SDK, its dialogs", there, "agents"),
                ),
            ),
            (
                "state in Table Storage (Azurite)",
                in_tables,
                (("* this project", here, "ours"), ("  the floor, by hand", here, "floor")),
            ),
        ):
            progress(title)
            with ExitStack() as started:
                workers = [
                    started.enter_context(
                        running(
                            name,
                            setting,
                            [*interpreter, f"benchmarks.peers.{module}"],
                            environment if interpreter is there else {},
                        )
                    )
                    for name, interpreter, module in kinds
                ]
                _measure(workers, channel)
            _show(
                f"A turn of the sample dialog over TLS, {title}; median of {ROUNDS} rounds", workers
            )
    note("first, later: CPU of the first message of a conversation, and of the others.")


if __name__ == "__main__":
    main()
