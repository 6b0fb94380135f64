"""For whoever runs the bot: `python -m shared.cli doctor | status | poison list|replay|drop`.

Reads the app's settings from the environment. `doctor` checks the configuration and says what to
do about each failure; its exit code is 1 if there is one. `status` says how expiry is doing.
`poison` is about messages of the fan-out that failed too often: `list` shows them, `replay` puts
them back into the queue, `drop` deletes them.
"""

import argparse
import asyncio
import sys

from shared.app import build_app
from shared.connector.credentials import TokenSource
from shared.conversations import StorageUnavailableError
from shared.doctor import Finding, examine
from shared.fan_out import Queue, poison_name
from shared.settings import SettingsError, read_settings
from shared.storage.queues import Queues
from shared.storage.tables import Tables

_HIDDEN_SECONDS = 60  # from others who do the same at the time


def main() -> None:
    """Read the command line and do it.

    Raises:
        SystemExit: a setting is wrong or the storage cannot be reached, in one line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m shared.cli",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    poison = commands.add_parser("poison", help="messages of the fan-out that failed too often")
    poison.add_argument("action", choices=["list", "replay", "drop"])
    poison.set_defaults(run=lambda given: _poison(given.action))
    doctor = commands.add_parser("doctor", help="check the configuration")
    doctor.add_argument("--endpoint", default="", help="the bot's messaging endpoint, to be asked")
    doctor.set_defaults(run=lambda given: _doctor(given.endpoint))
    commands.add_parser("status", help="how expiry is doing").set_defaults(run=lambda _: _status())
    arguments = parser.parse_args()
    try:
        asyncio.run(arguments.run(arguments))
    except (SettingsError, StorageUnavailableError) as error:
        sys.exit(str(error))


async def _poison(action: str) -> None:
    settings = read_settings()
    if not settings.storage_connection.get_secret_value() and not settings.storage_queue_endpoint:
        raise SettingsError("AzureWebJobsStorage__queueServiceUri is missing")
    async with Queues.of(settings) as queues:
        poison = queues.queue(poison_name(settings.expiry_queue))
        if action == "list":
            await _list(poison)
        else:
            back_to = queues.queue(settings.expiry_queue) if action == "replay" else None
            await _empty(poison, back_to)


async def _doctor(endpoint: str) -> None:
    try:
        settings = read_settings()
    except SettingsError as error:
        _say(str(Finding("FAIL", "settings", str(error), "set them as the README's table says")))
        sys.exit(1)
    _say(str(Finding("ok", "settings", "all are there and well formed")))
    tokens = TokenSource(
        app_id=settings.microsoft_app_id,
        app_password=settings.microsoft_app_password.get_secret_value(),
        app_type=settings.microsoft_app_type,
        tenant_id=settings.microsoft_app_tenant_id,
    )
    failed = False
    async with Tables.of(settings) as tables:
        async for finding in examine(settings, tables, tokens, endpoint):
            _say(str(finding))
            failed = failed or finding.level == "FAIL"
    if failed:
        sys.exit(1)


async def _status() -> None:
    async with build_app(read_settings()) as app:
        status = await app.status()
    _, headline = status.verdict
    _say(headline)
    for name, count in {"overdue": status.overdue, **status.waiting}.items():
        _say(f"{name:>14} {count:7,}")
    _say(f"{'dead letters':>14} {status.dead_letters:7,}")


async def _list(poison: Queue) -> None:
    messages = await poison.peek()
    for message in messages:
        _say(f"{message.id} {message.text!r}")
    _say(f"{len(messages)} shown of about {await poison.count()}")


async def _empty(poison: Queue, back_to: Queue | None) -> None:
    done = "replayed" if back_to else "dropped"
    count = 0
    while message := await poison.receive(_HIDDEN_SECONDS):
        if back_to:
            await back_to.put(message.text)
        await poison.delete(message)  # last: a crash before may replay it twice, never lose it
        _say(f"{message.id} {message.text!r} {done}")
        count += 1
    _say(f"{count} {done}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
