"""Cold start: from the start of a fresh process to its first answered message.

The bot of this project, with Azurite as its storage, beside an echo bot of azure-functions and
botbuilder-core alone, without storage. Both answer a channel on this machine.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks.connector.channel import Channel, running_channel
from benchmarks.report import progress, ratio, table
from scripts import azurite, processes
from tests.ports import free_ports

RUNS = 5

_OURS = """
import asyncio, sys
{first}
import function_app
from azure.functions import HttpRequest
from messages_function import messages
from shared.app import close_app

async def main():
    body = sys.stdin.buffer.read()
    headers = {{"content-type": "application/json"}}
    request = HttpRequest(
        method="POST", url="/api/messages", headers=headers, params={{}}, body=body
    )
    assert (await messages(request)).status_code == 200
    print("answered", flush=True)
    await close_app()

asyncio.run(main())
"""
_ECHO = """
import asyncio, json, sys
import azure.functions as func
from botbuilder.core import (
    ActivityHandler, BotFrameworkAdapter, BotFrameworkAdapterSettings, TurnContext
)
from botbuilder.schema import Activity

app = func.FunctionApp()
adapter = BotFrameworkAdapter(BotFrameworkAdapterSettings("", ""))

class Echo(ActivityHandler):
    async def on_message_activity(self, context: TurnContext):
        await context.send_activity(context.activity.text)

@app.route(route="messages", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def messages(req: func.HttpRequest) -> func.HttpResponse:
    activity = Activity().deserialize(req.get_json())
    await adapter.process_activity(activity, "", Echo().on_turn)
    return func.HttpResponse(status_code=200)

async def main():
    headers = {"content-type": "application/json"}
    request = func.HttpRequest(
        method="POST", url="/api/messages", headers=headers, params={}, body=sys.stdin.buffer.read()
    )
    assert (await messages(request)).status_code == 200
    print("answered", flush=True)

asyncio.run(main())
"""
# A machine behind a proxy names its authorities. An app on Azure does not, and need not read them.
_TRUST = {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}
_EAGER = "import botbuilder.dialogs"  # as if nobody had deferred its recognizers


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started: its command, its environment, and how it is given a message."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    given: Callable[[bytes], bytes] = bytes


def answered(start_of: Start, message: bytes) -> tuple[float, float]:
    """Wall ms until the process has written a line, and CPU ms of all of it."""
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(
        start_of.command,
        cwd=processes.ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name not in _TRUST},
            **start_of.environment,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(start_of.given(message))
        process.stdin.close()
        line = process.stdout.readline()
        wall = time.perf_counter() - start
        process.stdout.read()
    assert line, "it has not answered"
    assert process.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return 1000 * wall, 1000 * spent


def first_message(channel: Channel, number: int) -> bytes:
    """A message of a new conversation, without TLS and token."""
    return json.dumps(
        {
            "type": "message",
            "id": f"m{number}",
            "text": "hello",
            "channelId": "test",
            "serviceUrl": channel.plain_service_url,
            "conversation": {"id": f"cold-start-{number}"},
            "from": {"id": "user"},
            "recipient": {"id": "bot"},
        }
    ).encode()


def settings_of(storage: str) -> dict[str, str]:
    """What this project's app needs."""
    return {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsStorage": storage,
        "TableShards": "4",
        "ExpireAfterSeconds": "1800",
        "ExpirySchedule": "0 * * * * *",
    }


def this_bot(environment: Mapping[str, str], first: str = "") -> Start:
    """This project's app; `first` is run before it."""
    return Start([sys.executable, "-c", _OURS.format(first=first)], environment)


def echo_bot(environment: Mapping[str, str]) -> Start:
    """The bare echo bot."""
    return Start([sys.executable, "-c", _ECHO], environment)


def compare(
    starts: Mapping[str, Start], messages: Iterator[bytes], rounds: int
) -> list[list[object]]:
    """Rows of medians; the ratios, to the first, are medians of those of the rounds."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
    for number in range(rounds):
        progress(f"  round {number + 1} of {rounds}")
        for name, start in starts.items():
            taken[name].append(answered(start, next(messages)))
    base = taken[next(iter(starts))]
    rows: list[list[object]] = []
    for name, figures in taken.items():
        row: list[object] = [name]
        for which in range(2):
            pairs = zip(figures, base, strict=True)
            row.append(median(figure[which] for figure in figures))
            row.append(ratio(median(one[which] / other[which] for one, other in pairs), 1))
        rows.append(row)
    return rows


def _measure(channel: Channel, storage: str, folder: Path) -> None:
    settings = settings_of(storage)
    uncompiled = settings | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder)}
    messages = (first_message(channel, number) for number in count())
    answered(this_bot(settings), next(messages))  # creates the tables, compiles what is new
    starts = {
        "* this bot": this_bot(settings),
        "  before: every recognizer imported": this_bot(settings, _EAGER),
        "  echo bot, no storage": echo_bot(settings),
    }
    rows = compare(starts, messages, RUNS)
    bare = {
        "* this bot, without compiled files": this_bot(uncompiled),
        "  echo bot, without compiled files": echo_bot(uncompiled),
    }
    rows += compare(bare, messages, 1)
    table(
        f"Cold start: fresh process to its first answered message (median of {RUNS} runs;"
        " one without compiled files)",
        ("", "wall ms", "ratio", "CPU ms", "ratio"),
        rows,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, running_channel() as running:
        storage_folder = Path(temporary) / "azurite"
        storage_folder.mkdir()
        first_port = free_ports(3)
        emulator = azurite.start(storage_folder, first_port)
        try:
            _measure(running, azurite.connection_string(first_port), Path(temporary) / "none")
        finally:
            processes.stop(emulator)
