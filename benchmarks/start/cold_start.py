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
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.connector.channel import Channel, running_channel
from benchmarks.report import progress, ratio, table
from scripts import azurite, processes

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
_EAGER = "import botbuilder.dialogs"  # as if nobody had deferred its recognizers


def _answered(statements: str, settings: dict[str, str], message: bytes) -> tuple[float, float]:
    """Wall ms until the message was answered, and CPU ms of the whole process."""
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", statements],
        cwd=processes.ROOT,
        env=os.environ | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(message)
        process.stdin.close()
        line = process.stdout.readline()
        wall = time.perf_counter() - start
        process.stdout.read()
    assert line == b"answered\n", line
    assert process.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return 1000 * wall, 1000 * spent


def _message(channel: Channel, number: int) -> bytes:
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


def _measure(channel: Channel, storage: str, folder: Path) -> None:
    settings = {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsStorage": storage,
        "TableShards": "4",
        "ExpireAfterSeconds": "1800",
        "ExpirySchedule": "0 * * * * *",
    }
    uncompiled = settings | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder)}
    ours, before = _OURS.format(first=""), _OURS.format(first=_EAGER)
    variants = {
        "* this bot": (ours, settings, RUNS),
        "  before: every recognizer imported": (before, settings, RUNS),
        "  echo bot, no storage": (_ECHO, settings, RUNS),
        "* this bot, without compiled files": (ours, uncompiled, 1),
        "  echo bot, without compiled files": (_ECHO, uncompiled, 1),
    }
    _answered(ours, settings, _message(channel, 0))  # creates the tables, compiles what is new
    figures: dict[str, Sequence[float]] = {}
    number = 0
    for name, (statements, environment, runs) in variants.items():
        progress(f"  {name.strip(' *')}")
        taken = []
        for _ in range(runs):
            number += 1
            taken.append(_answered(statements, environment, _message(channel, number)))
        figures[name] = [median(each) for each in zip(*taken, strict=True)]
    wall, cpu = figures["* this bot"]
    table(
        f"Cold start: fresh process to its first answered message (median of {RUNS} runs;"
        " one without compiled files)",
        ("", "wall ms", "ratio", "CPU ms", "ratio"),
        [
            [name, its_wall, ratio(its_wall, wall), its_cpu, ratio(its_cpu, cpu)]
            for name, (its_wall, its_cpu) in figures.items()
        ],
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, running_channel() as running:
        storage_folder = Path(temporary) / "azurite"
        storage_folder.mkdir()
        first_port = azurite.free_ports()
        emulator = azurite.start(storage_folder, first_port)
        try:
            _measure(running, azurite.connection_string(first_port), Path(temporary) / "none")
        finally:
            processes.stop(emulator)
