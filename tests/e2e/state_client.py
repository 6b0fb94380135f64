"""Requests to /api/v3/botstate/... as curl sends them, and every row that is stored."""

import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from azure.data.tables.aio import TableServiceClient
from yarl import URL

from tests.e2e.running_bot import RunningBot, User

KINDS = ("user", "conversation", "private")


class StateClient:
    """A back office that reads and writes the bot's data."""

    def __init__(self, bot: RunningBot, http: ClientSession) -> None:
        self._http = http
        self._base = f"{bot.url}/api/v3/botstate"

    async def send(
        self,
        method: str,
        path: str,
        content: bytes | str | AsyncIterator[bytes] = b"",
        headers: Mapping[str, str] = {},
    ) -> tuple[int, Any]:
        """Send a request to exactly this path; returns the status, and the body as JSON."""
        url = URL(f"{self._base}/{path}", encoded=True)
        json_type = {"Content-Type": "application/json"}
        async with self._http.request(
            method, url, data=content, headers=json_type | dict(headers)
        ) as answer:
            body = await answer.text()
            return answer.status, json.loads(body) if body else None

    async def get(self, path: str) -> tuple[Any, str]:
        """The data and their eTag."""
        status, body = await self.send("GET", path)
        assert status == 200, body
        assert body.keys() == {"data", "eTag"}
        return body["data"], body["eTag"]

    async def save(self, path: str, data: Any, etag: str | None = None) -> int:
        """Save data; returns the status."""
        body = {"data": data} if etag is None else {"data": data, "eTag": etag}
        status, _ = await self.send("POST", path, json.dumps(body))
        return status

    async def erase(self, path: str) -> dict[str, int]:
        """Delete a user's data; returns the receipt."""
        status, receipt = await self.send("DELETE", path)
        assert status == 200, receipt
        counts: dict[str, int] = receipt
        return counts


@asynccontextmanager
async def state_client(bot: RunningBot) -> AsyncIterator[StateClient]:
    """A client of the bot."""
    connector, timeout = TCPConnector(limit=0), ClientTimeout(total=60)
    async with ClientSession(connector=connector, timeout=timeout) as http:
        yield StateClient(bot, http)


def path_of(kind: str, user: User) -> str:
    """Where the data of that kind are that the bot has when this user writes to it."""
    return path_to(kind, user.conversation, user.activity()["from"]["id"])


def path_to(kind: str, conversation_id: str, user_id: str) -> str:
    """The path with percent-encoded ids."""
    users = f"users/{quote(user_id, safe='')}"
    conversations = f"conversations/{quote(conversation_id, safe='')}"
    return (
        "test/"
        + {
            "user": users,
            "conversation": conversations,
            "private": f"{conversations}/{users}",
        }[kind]
    )


def query_to(kind: str, conversation_id: str, user_id: str) -> str:
    """The path with placeholders, and the ids as query parameters."""
    ids = {"channelId": "test", "conversationId": conversation_id, "userId": user_id}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in ids.items())
    return f"{path_to(kind, '-', '-')}?{query}"


async def all_rows(connection_string: str, *tables: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """Every row of the tables by its keys, with its ETag, past the project's own store."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    async with TableServiceClient.from_connection_string(connection_string) as service:
        for table in tables:
            async for entity in service.get_table_client(table).list_entities():
                key = (table, entity["PartitionKey"], entity["RowKey"])
                rows[key] = {**entity, "etag": entity.metadata["etag"]}
    return rows


def text_of(row: Mapping[str, Any]) -> str:
    """All that a row says: keys and columns, with what is compressed in it unpacked."""
    chunks = {name: value for name, value in row.items() if isinstance(value, bytes)}
    packed: dict[str, bytes] = {}
    for name in sorted(chunks):
        packed[name[:-2]] = packed.get(name[:-2], b"") + chunks[name]
    unpacked = {name: zlib.decompress(value).decode() for name, value in packed.items()}
    others = {name: str(value) for name, value in row.items() if name not in chunks}
    return " ".join(f"{name}={value}" for name, value in {**others, **unpacked}.items())
