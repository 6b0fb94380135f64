"""The article's story with Microsoft's Agents Playground as the client: chat, silence, notice."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from scripts import processes, run
from shared.storage.table_account import Tables
from tests.bots.survey_bot import NAME, TRANSPORT
from tests.e2e.running_bot import (
    EXPIRED,
    WELCOME_BACK,
    RunningBot,
    StoredRows,
    in_cosmos,
    running_bot,
    settings_on,
)
from tests.fake_channel import until

FIRST_PORT, LAST_PORT = 26300, 26400  # below the ephemeral ports, as it cannot choose one itself


class Chat:
    """The Playground's personal chat, through the interface its own page uses."""

    def __init__(self, http: ClientSession, conversation: str, user: str) -> None:
        self._http = http
        self._conversation = conversation
        self._user = user
        self.shown: list[str] = []

    async def say(self, text: str) -> None:
        message = {"type": "text", "text": text, "textFormat": "plain", "from": {"id": self._user}}
        path = f"/_conversation/v1/conversations/{self._conversation}/messages"
        async with self._http.post(path, json=message) as answer:
            assert answer.status == 200

    async def listen(self, stream: ClientWebSocketResponse[bool]) -> None:
        """Note what the page would show, until the stream ends."""
        async for event in stream:
            happened: dict[str, Any] = event.json()
            if happened["action"] == "createMessage":
                self.shown.append(happened["message"]["text"])


def start_playground(bot: RunningBot, port: int, folder: Path) -> subprocess.Popen[bytes]:
    address = f"{bot.url}/api/messages"
    command = ["node", str(run.PLAYGROUND), "start", "-e", address, "-c", "msteams"]
    return subprocess.Popen(
        [*command, "-p", str(port), "--disable-telemetry"],
        cwd=folder,  # it writes a log into its working folder
        env={**os.environ, "TEAMSAPPTESTER_BROWSER": "none"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


@asynccontextmanager
async def playground(bot: RunningBot, folder: Path) -> AsyncIterator[str]:
    """A Playground that speaks to a bot; its address."""
    port = next(port for port in range(FIRST_PORT, LAST_PORT) if run.is_free(port))
    process = start_playground(bot, port, folder)
    try:
        await until(lambda: run.answers(port, "/_debug/ping"))
        yield f"http://localhost:{port}"
    finally:
        await asyncio.to_thread(processes.stop, process)


@asynccontextmanager
async def personal_chat(playground: str) -> AsyncIterator[Chat]:
    """The chat of a Playground at an address."""
    async with ClientSession(playground) as http:
        async with http.get("/_internal/v1/config") as answer:
            config = (await answer.json())["config"]
        chat = Chat(http, config["personalChat"]["id"], config["currentUser"]["id"])
        async with (
            http.ws_connect("/_ws_conversation/v1/conversations/stream") as stream,
            asyncio.TaskGroup() as listening,
        ):
            listening.create_task(chat.listen(stream))
            yield chat
            await stream.close()


@pytest.fixture(params=["tables", "cosmos"])
def settings(request: pytest.FixtureRequest, storage_connection_string: str) -> dict[str, str]:
    often = {"ExpireAfterSeconds": "4", "ExpirySchedule": "* * * * * *"}
    if request.param == "cosmos":
        often |= in_cosmos(request.getfixturevalue("cosmos_endpoint"))
    return settings_on(storage_connection_string, **often)


async def test_after_a_silence_the_notice_comes_by_itself_and_the_next_message_starts_over(
    azure_tables: Tables, settings: dict[str, str], tmp_path: Path
) -> None:
    rows = StoredRows(azure_tables, settings)
    async with (
        running_bot(settings, tmp_path) as bot,
        playground(bot, tmp_path) as address,
        personal_chat(address) as chat,
    ):
        await chat.say("hello")
        await until(lambda: len(chat.shown) == 1)
        await chat.say("Bus")
        await until(lambda: len(chat.shown) == 2)
        assert len(await rows.keys("c|")) == 1

        await until(lambda: len(chat.shown) == 3)  # nobody writes meanwhile
        await until(lambda: "notified 1" in bot.log)
        assert await rows.keys() == []

        await chat.say("hello again")
        await until(lambda: len(chat.shown) == 4)

    transport, name, notice, transport_again = chat.shown
    assert TRANSPORT in transport
    assert NAME in name
    assert EXPIRED in notice
    assert transport_again == transport
    assert not any(WELCOME_BACK in text for text in chat.shown)
