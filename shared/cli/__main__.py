"""For the operator: `python -m shared.cli doctor | status | explain | policy | ...`.

The commands read the app's settings from the environment. `doctor` checks the configuration and
says what to do about each failure; its exit code is 1 if there is one. `status` says how expiry is
doing. `explain` says why a conversation expires when it does, and `conversations` which ones expire
next. `policy check` reads a policy file and says what holds for which conversations; `policy
schema` prints the file's JSON schema. `simulate` says what other timeouts would have done to the
pauses of real users; see docs/policy.md. `export` writes everything that is stored about one user
as JSON. `poison` handles messages of the fan-out and of the inbox that failed too often: `list`
shows them, `replay` puts them back into their queue, `drop` deletes them. `dead-letters` handles
notices that could not be delivered: `list` shows them, `replay` makes them due again, `drop`
deletes them; see docs/sending.md.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from shared.app import build_app
from shared.cli import dead_letters, policies
from shared.cli.doctor import Finding, examine
from shared.cli.explain import Explain
from shared.cli.simulate import simulate
from shared.connector.cloud import cloud_of
from shared.connector.credentials import token_source
from shared.connector.limits_file import read_limits
from shared.domain.errors import StoreError
from shared.domain.times import utc_now
from shared.expiry.fan_out import Queue, poison_name
from shared.loaded_bot import BotError, load_bot
from shared.log_lines import make_log_lines_safe, printable
from shared.settings import SettingsError, read_settings
from shared.settings.policy_file import duration
from shared.state.export import Exports
from shared.storage.queues import Queues
from shared.storage.stores import open_stores
from shared.texts.texts_file import read_texts
from shared.turn.replies import unpacked_json

_HIDDEN_SECONDS = 60  # from another command that does the same at the same time


def main() -> None:
    """Read the command line and run the command.

    Raises:
        SystemExit: a setting is wrong or the storage cannot be reached, in one line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m shared.cli",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    poison = commands.add_parser("poison", help="messages of queues that failed too often")
    poison.set_defaults(run=lambda arguments: _poison(arguments.action))
    poison.add_argument("action", choices=["list", "replay", "drop"])
    dead = commands.add_parser("dead-letters", help="notices that could not be delivered")
    dead.set_defaults(run=_dead_letters)
    actions = dead.add_subparsers(required=True, dest="action")
    actions.add_parser("list", help="show all, one on each line")
    for action, what in ("replay", "make due again"), ("drop", "delete"):
        does = actions.add_parser(action, help=f"{what} those named, or --all")
        which = does.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", nargs="*", default=[], metavar="id", help="as `list` shows it")
        which.add_argument("--all", action="store_true")
        if action == "drop":
            which.add_argument(
                "--older-than", type=_days, metavar="DAYS", help="those dead for longer"
            )
    doctor = commands.add_parser("doctor", help="check the configuration")
    doctor.add_argument("--endpoint", default="", help="the bot's messaging endpoint, to check it")
    doctor.set_defaults(run=lambda arguments: _doctor(arguments.endpoint))
    status = commands.add_parser("status", help="how expiry is doing")
    status.set_defaults(run=lambda _: _status())
    policy = commands.add_parser("policy", help="when conversations expire, and who is told")
    about_policy = policy.add_subparsers(required=True)
    check = about_policy.add_parser("check", help="what holds, or what is wrong with the file")
    check.add_argument("file", nargs="?", default="", help="instead of the setting ExpiryPolicy")
    check.set_defaults(run=lambda arguments: policies.check(arguments.file, _say))
    schema = about_policy.add_parser("schema", help="the JSON schema of the file, for editors")
    schema.set_defaults(run=lambda _: policies.print_schema(_say))
    explain = commands.add_parser("explain", help="why a conversation expires when it does")
    explain.add_argument("channel_id", metavar="channelId", help="as in activities")
    explain.add_argument("conversation_id", metavar="conversationId", help="as in activities")
    explain.set_defaults(
        run=lambda arguments: _explain(
            lambda about: about.one(arguments.channel_id, arguments.conversation_id)
        )
    )
    conversations = commands.add_parser("conversations", help="which conversations expire next")
    conversations.add_argument(
        "--limit", type=_positive, default=20, metavar="N", help="so many (20)"
    )
    conversations.set_defaults(
        run=lambda arguments: _explain(lambda about: about.next_ones(arguments.limit))
    )
    simulation = commands.add_parser("simulate", help="what other timeouts would have done")
    simulation.add_argument("file", metavar="POLICY_FILE", help="the file of ExpiryPolicy")
    simulation.add_argument(
        "--from", required=True, type=Path, metavar="FILE", dest="pauses", help="a CSV of pauses"
    )
    simulation.add_argument(
        "--regret", type=_time, default="30m", metavar="TIME", help="who is back so soon (30m)"
    )
    simulation.set_defaults(
        run=lambda arguments: simulate(arguments.file, arguments.pauses, arguments.regret, _say)
    )
    export = commands.add_parser("export", help="everything that is stored about one user, as JSON")
    export.add_argument(
        "channel_id", metavar="channelId", help="the channel's id, as in activities"
    )
    export.add_argument("user_id", metavar="userId", help="the user's id there (from.id)")
    export.set_defaults(run=lambda arguments: _export(arguments.channel_id, arguments.user_id))
    arguments = parser.parse_args()
    make_log_lines_safe()
    try:
        asyncio.run(arguments.run(arguments))
    except (SettingsError, StoreError, BotError) as error:
        sys.exit(printable(str(error)))


def _days(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 4):  # noqa: PLR2004 - 27 years
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return int(text)


def _time(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m or 8h") from None


def _positive(text: str) -> int:
    if not (text.isdecimal() and 0 < len(text) <= 4 and int(text)):  # noqa: PLR2004 - at most 9999
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 9999")
    return int(text)


async def _poison(action: str) -> None:
    settings = read_settings()
    if not settings.storage.has_queues:
        raise SettingsError("AzureWebJobsStorage__queueServiceUri is missing")
    async with Queues.of(settings.storage) as queues:
        for name in settings.expiry.queue, settings.long_turns.inbox:
            poison = queues.queue(poison_name(name))
            _say(f"{poison_name(name)}:")
            if action == "list":
                await _list(poison)
            else:
                await _empty(poison, queues.queue(name) if action == "replay" else None)


async def _doctor(endpoint: str) -> None:
    try:
        settings = read_settings()
        read_limits(settings.sending)
        read_texts(settings.texts.file)
    except SettingsError as error:
        _say(str(Finding("FAIL", "settings", str(error), "set them as the README's table says")))
        sys.exit(1)
    _say(str(Finding("ok", "settings", "all are there and well formed")))
    cloud = cloud_of(settings.cloud, settings.identity)
    tokens = token_source(settings.identity, cloud, settings.network.ca_file)
    failed = False
    async with open_stores(settings) as stores:
        async for finding in examine(settings, stores, tokens, endpoint):
            _say(str(finding))
            failed = failed or finding.level == "FAIL"
    if failed:
        sys.exit(1)


async def _status() -> None:
    async with build_app(read_settings()) as app:
        status = await app.health.status()
    _, headline = status.verdict
    _say(headline)
    for name, count in status.by_time_left.items():
        _say(f"{name:>14} {count:7,}")
    _say(f"{'dead letters':>14} {status.dead_letters:7,}")
    if status.inbox:
        _say(f"{'in the inbox':>14} {status.inbox.waiting:7,}")


async def _explain(ask: Callable[[Explain], Awaitable[None]]) -> None:
    settings = read_settings()
    if settings.expires_by_time_to_live_alone:
        raise SettingsError("nothing is tracked: CosmosDbTimeToLive alone ends what is idle")
    async with open_stores(settings) as stores:
        async with stores.ready():
            store = stores.for_sweeps()
        is_notice_on = settings.expiry.notice == "on"
        await ask(Explain(store, settings.policy, is_notice_on, utc_now(), _say))


async def _export(channel_id: str, user_id: str) -> None:
    load_bot()  # state may hold instances of the classes that it lists
    async with open_stores(read_settings()) as stores, stores.ready():
        exports = Exports(stores.for_turns(), now=utc_now, replies=unpacked_json)
        # As it comes: nobody has to hold all of it. It is ASCII, without control characters.
        async for piece in exports.of_user(channel_id, user_id):
            sys.stdout.write(piece)


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


async def _dead_letters(arguments: argparse.Namespace) -> None:
    settings = read_settings()
    async with open_stores(settings) as stores:
        async with stores.ready():
            store = stores.for_sweeps()
        if arguments.action == "list":
            await dead_letters.show(store, _say)
            return
        # Not those that die from now on: a replayed notice may die again at once.
        age = timedelta(days=getattr(arguments, "older_than", None) or 0)
        selection = dead_letters.Selection(frozenset(arguments.ids) or None, utc_now() - age)
        if arguments.action == "replay":
            await dead_letters.replay(store, selection, utc_now, _say)
        else:
            await dead_letters.drop(store, selection, _say)


def _say(line: str) -> None:
    # A line holds what rows and channels say. A finding's advice is a second line of our own.
    shown = "\n".join(printable(each) for each in line.split("\n"))
    sys.stdout.write(f"{shown}\n")


if __name__ == "__main__":
    main()
