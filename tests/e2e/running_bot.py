"""A bot in a process of its own, users who chat with it, and a way to let time pass."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from scripts import cosmos, processes
from shared.domain.identity import ConversationKey, user_hash
from shared.storage.table_account import Tables
from shared.storage.table_budget import TableBudget
from shared.storage.tables import AzureTable, Operation, Row
from tests.bots import survey_bot
from tests.fake_channel import FakeChannel, until
from tests.hosts import START_SECONDS, RunningHost, start_host

NEVER = "0 0 0 1 1 *"  # a schedule that fires on New Year only: the tests sweep by hand
EXPIRED, WELCOME_BACK = "expired", "Welcome back!"

# A host looks for modules in the folder that it serves.
_OUR_FOLDER = f"import sys; sys.path.append({str(processes.ROOT)!r})\n"
# Before the app is loaded: in the place of all that an author puts into shared/bot.
_BOT = """
import shared.bot
import {module} as its_bot
for name in ("STATE_TYPES", "create_bot", "EFFECTS", "MIDDLEWARE", "on_turn_error"):
    vars(shared.bot).pop(name, None)
    if hasattr(its_bot, name):
        setattr(shared.bot, name, getattr(its_bot, name))
sys.modules["shared.hooks"] = its_bot  # it has the hooks, if there are any
"""

_conversation_numbers = itertools.count(1)


def settings_on(storage: str, **changed: str) -> dict[str, str]:
    """The environment of a bot with tables of its own, but for what is changed."""
    return {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "AzureWebJobsStorage": storage,
        "ConversationsTable": f"c{uuid4().hex}",
        "UsersTable": f"u{uuid4().hex}",
        "TableShards": "4",
        "ExpireAfterSeconds": "600",
        "ExpirySchedule": NEVER,
        "StateApi": "key",
        **changed,
    }


def in_cosmos(endpoint: str, **changed: str) -> dict[str, str]:
    """What is changed for a bot with its state in containers of its own."""
    return {
        "StateStore": "cosmos",
        "CosmosDbEndpoint": endpoint,
        "CosmosDbAuthKey": cosmos.KEY,
        "CosmosDbTimeToLive": "700",
        "CosmosDbConversationStateContainerId": f"conversations-{uuid4().hex}",
        "CosmosDbUserStateContainerId": f"users-{uuid4().hex}",
        **changed,
    }


class RunningBot:
    """The functions of this project, served by a host."""

    def __init__(self, host: RunningHost, http: ClientSession) -> None:
        self._host = host
        self._http = http
        self.url = f"http://127.0.0.1:{host.port}"

    async def wait_until_ready(self, path: str = "/api/health/live") -> None:
        """Wait for the app to answer."""

        def is_served() -> bool:
            if self._host.process.poll() is not None:
                return True
            answer = processes.get(self._host.port, path)
            return answer is not None and answer.status != HTTPStatus.NOT_FOUND

        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(is_served):  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(0.05)
        assert self._host.process.poll() is None, self.log

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return self._host.log

    async def post(self, *, token: str = "", **request: Any) -> tuple[int, Any]:
        """POST to /api/messages; returns the status, and the body if it is JSON."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._http.post(
            f"{self.url}/api/messages", headers=headers | request.pop("headers", {}), **request
        ) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if is_json else answer.text())

    async def start_sweep(self) -> None:
        """Start a sweep now."""
        async with self._http.post(
            f"{self.url}/admin/functions/expiry_timer", json={"input": ""}
        ) as answer:
            assert answer.status == 202

    async def sweep(self) -> str:
        """Run a sweep to its end; returns its report as it was logged."""
        earlier = self._reports()
        await self.start_sweep()
        await until(lambda: len(self._reports()) > len(earlier))
        return self._reports()[-1]

    def _reports(self) -> list[str]:
        return re.findall(r"sweep: ((?!sweep: |so far).*, \d+ requests.*)", self.log)

    def kill(self) -> None:
        """As `kill -9` does, or a machine that goes down."""
        self._host.kill()


@asynccontextmanager
async def running_bot(
    settings: Mapping[str, str],
    folder: Path,
    *,
    bot: ModuleType | None = survey_bot,
    changes: str = "",
    queues: Mapping[str, Any] | None = None,
    may_fail: bool = False,
    starts: bool = True,
    options: str = "",
    first: str = "",
    root: Path = processes.ROOT,
) -> AsyncIterator[RunningBot]:
    """Start a bot with these settings and no others; stop it in the end.

    Args:
        settings: see `settings_on`.
        folder: for its files; a local.settings.json in the project's own must not reach the tests.
        bot: a module of tests/bots; None is the bot of shared/bot, whatever that is.
        changes: Python to run before the app is loaded, for what no setting can change.
        queues: what is changed in extensions.queues of host.json.
        may_fail: the test makes a function raise.
        starts: whether the app does; if not, only its health answers.
        options: of the stand-in for the host.
        first: Python to run before everything else, for where modules come from.
        root: where function_app.py is, which goes with these modules.
    """
    host = json.loads((processes.ROOT / "host.json").read_text())
    host["extensions"]["queues"].update(queues or {})
    (folder / "host.json").write_text(json.dumps(host))
    real_app = (root / "function_app.py").read_text()
    its_bot = _BOT.format(module=bot.__name__) if bot else ""
    (folder / "function_app.py").write_text(_OUR_FOLDER + first + its_bot + changes + real_app)
    host_process = start_host(folder, settings, options=options)
    connector, timeout = TCPConnector(limit=0), ClientTimeout(total=60)
    try:
        async with ClientSession(connector=connector, timeout=timeout) as http:
            running = RunningBot(host_process, http)
            await running.wait_until_ready("/api/health/live" if starts else "/api/health")
            yield running
    finally:
        # In a thread: a bot that is stopped may still want an answer from the fake channel.
        await asyncio.to_thread(host_process.stop)
    # Whatever a test looked at, no request and no sweep may have failed unexpectedly.
    assert may_fail or "Traceback" not in running.log, running.log


@dataclass
class User:
    """Someone who chats with a bot through the fake channel, in a conversation of their own.

    Attributes:
        fields: of the activity, over those of a plain message.
    """

    bot: RunningBot
    channel: FakeChannel
    conversation: str = field(default_factory=lambda: f"conversation-{next(_conversation_numbers)}")
    fields: dict[str, Any] = field(default_factory=dict)
    token: str = ""

    def activity(self, **changed: Any) -> dict[str, Any]:
        """A message as the channel hands it over, but for what is changed."""
        return {
            "type": "message",
            "id": uuid4().hex,
            "channelId": "test",
            "serviceUrl": self.channel.service_url,
            "conversation": {"id": self.conversation},
            "from": {"id": f"user of {self.conversation}"},
            "recipient": {"id": "the-bot"},
            **self.fields,
            **changed,
        }

    @property
    def heard(self) -> list[str]:
        """All that the channel was given to show, in order."""
        return [body.get("text") for body in self.channel.sent_to(self.conversation)]

    async def send(self, text: str, **changed: Any) -> int:
        """Write to the bot; returns the HTTP status that the channel got."""
        activity = self.activity(text=text, **changed)
        status, _ = await self.bot.post(json=activity, token=self.token)
        return status

    async def say(self, text: str, **changed: Any) -> list[str]:
        """Write to the bot; returns what the user heard since."""
        before = len(self.heard)
        assert await self.send(text, **changed) == 200
        return self.heard[before:]

    async def say_all(self, *texts: str) -> str:
        """Write several messages, each after the answer to the last; returns the last answer."""
        for text in texts:
            (*_, answer) = await self.say(text)
        return answer


class StoredRows:
    """What is in the tables of a bot, past its process."""

    def __init__(self, tables: Tables, settings: Mapping[str, str]) -> None:
        self.conversations = tables.table(settings["ConversationsTable"])
        self.users = tables.table(settings["UsersTable"])
        self._shards = [f"s{number:03d}" for number in range(int(settings["TableShards"]))]

    async def keys(self, kind: str = "") -> list[str]:
        """The row keys of one kind (`c`, `d`, `p`), or of all rows but the control row."""
        return [row.key for row in await self._rows(kind)]

    async def sessions(self) -> set[str]:
        """The ids of the sessions that there are."""
        found = set()
        for row in await self._rows("c|"):
            whole = await self.conversations.get(row.partition, row.key)
            if whole:
                found.add(whole.columns["SessionId"])
        return found

    async def let_time_pass(self, **duration: float) -> None:
        """Make every conversation older, as if nothing had happened for so long.

        Takes the arguments of a timedelta. A bot at rest keeps its times in its tables only.
        """
        passed = timedelta(**duration)
        await asyncio.gather(*(self._age(row, passed) for row in await self._rows()))
        budget = TableBudget(self.conversations)
        for told in (await budget.rows()).told:  # replies that were many are long ago
            await budget.remove(told)

    async def let_time_pass_for(self, user: str, **duration: float) -> None:
        """Make the row of a user of the channel `test` older too."""
        row = await self.users.get(user_hash("test", user), "user")
        assert row
        await _make_older(self.users, row, timedelta(**duration))

    async def kinds(self, conversations: Iterable[str]) -> dict[str, str]:
        """The kinds of rows there are of each conversation, in their order."""
        keys = await self.keys()
        hashes = {name: ConversationKey("test", name).hash for name in conversations}
        return {
            name: "".join(key[0] for key in keys if hash_ in key) for name, hash_ in hashes.items()
        }

    async def delete_all(self) -> None:
        """Delete all rows but the control row."""
        for row in await self._rows():
            await self.conversations.write([Operation("delete", row)])

    async def _rows(self, kind: str = "") -> list[Row]:
        return [
            row
            for shard in self._shards
            async for page in self.conversations.query(shard, kind, "~", ["RowKey"])
            for row in page
            if row.key.startswith(kind)
        ]

    async def _age(self, row: Row, passed: timedelta) -> None:
        if row.key.startswith("x|"):
            return  # its key is made of its times; it does nothing that time would change
        if row.key.startswith("d|"):
            kind, due, rest = row.key.split("|", 2)
            earlier = f"{kind}|{int(due) - int(passed.total_seconds()):010d}|{rest}"
            older = await _older(self.conversations, row, passed)
            insert = Operation("insert", replace(older, key=earlier))
            await self.conversations.write([Operation("delete", row), insert])
            return
        await _make_older(self.conversations, row, passed)


async def _make_older(table: AzureTable, row: Row, passed: timedelta) -> None:
    await table.write([Operation("replace", await _older(table, row, passed))])


async def _older(table: AzureTable, row: Row, passed: timedelta) -> Row:
    whole = await table.get(row.partition, row.key)
    assert whole
    columns = {
        # A plain datetime: the SDK's own kind would be written as the text it was read from.
        name: datetime.fromtimestamp((value - passed).timestamp(), UTC)
        if isinstance(value, datetime)
        else value
        for name, value in whole.columns.items()
    }
    if columns.get("Kept"):  # its time is in JSON
        kept = json.loads(str(columns["Kept"]))
        until = (datetime.fromisoformat(kept["until"]) - passed).isoformat()
        columns["Kept"] = json.dumps({**kept, "until": until})
    return replace(whole, columns=columns)
