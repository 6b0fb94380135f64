"""The floor: the turn of the sample dialog by hand, on aiohttp, PyJWT and the tables' REST API.

It makes the requests that this project makes, with rows and replies of the same size, and nothing
else: no framework, no model of an activity, no second attempt, no answer to a copy, no limits, no
errors. Nobody should run it. It says what the requests alone cost.
"""

import base64
import hashlib
import hmac
import json
import os
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from yarl import URL

from benchmarks.peers import profile
from benchmarks.peers.work import Setting, TakeTurn

_PADDING = 250  # bytes: the dialogs of the sample keep more than what this one needs
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json; charset=utf-8"}


@asynccontextmanager
async def floor_app(setting: Setting) -> AsyncIterator[TakeTurn]:
    """The bot; its state is in memory, or in two new tables of the account in `setting.storage`."""
    trust = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE"))
    async with ClientSession(
        connector=TCPConnector(ssl=trust), cookie_jar=DummyCookieJar()
    ) as session:
        rows: _Memory | _Tables = _Memory()
        if setting.storage:
            rows = _Tables(session, setting.storage)
            await rows.create()
        bot = _Bot(session, setting, rows)
        yield bot.take


class _Bot:
    def __init__(self, session: ClientSession, setting: Setting, rows: "_Memory | _Tables") -> None:
        self._session = session
        self._setting = setting
        self._rows = rows
        self._checked: dict[bytes, dict[str, Any]] = {}
        self._headers: dict[str, str] = {}

    async def take(self, body: bytes, bearer: str) -> None:
        activity = json.loads(body)
        if self._setting.app_id:
            await self._check(bearer, activity)
        conversation, user = activity["conversation"]["id"], activity["from"]["id"]
        partition = f"s{zlib.crc32(conversation.encode()) % 64:03}"
        key = f"c|{hashlib.sha256(conversation.encode()).hexdigest()[:32]}"
        row = await self._rows.get(partition, key)
        state = {} if row is None else json.loads(_unpacked(row["State00"]))
        state.pop("padding", None)
        before = dict(state)
        replies = profile.answer(state, activity["text"])
        if before and not state:  # the profile is kept
            await self._rows.get(_hash(user), "user")
            columns = {"Form": 1, "State00": _packed(before), "State00@odata.type": "Edm.Binary"}
            await self._rows.insert(_hash(user), "user", columns)
        columns = _columns(activity, row, state, replies)
        await self._write(partition, key, row, columns, is_over=not state)
        for reply in replies:
            await self._send(activity, reply)

    async def _check(self, bearer: str, activity: dict[str, Any]) -> None:
        digest = hashlib.sha256(bearer.encode()).digest()
        claims = self._checked.get(digest)
        if claims is None or claims["exp"] < time.time():
            async with self._session.get(self._setting.keys_url) as answer:
                keys = {key["kid"]: jwt.PyJWK(key) for key in (await answer.json())["keys"]}
            token = bearer.removeprefix("Bearer ")
            claims = self._checked[digest] = jwt.decode(
                token,
                keys[jwt.get_unverified_header(token)["kid"]],
                algorithms=["RS256"],
                audience=self._setting.app_id,
                issuer="https://api.botframework.com",
            )
        assert claims["serviceurl"] == activity["serviceUrl"]

    async def _write(
        self,
        partition: str,
        key: str,
        row: dict[str, Any] | None,
        columns: dict[str, Any],
        *,
        is_over: bool,
    ) -> None:
        if row and not is_over:
            await self._rows.replace(partition, key, columns, row["odata.etag"])
            return
        due = f"d|{int(time.time()) + 1800}|{key[2:]}|{columns['SessionId']}"
        if row is None:
            await self._rows.upsert(
                next(iter(json.loads(columns["Users"]))), f"in|{key[2:]}", {"Form": 1}
            )
        etag = row["odata.etag"] if row else None
        await self._rows.transaction(partition, key, columns, etag, due)

    async def _send(self, activity: dict[str, Any], reply: profile.Reply) -> None:
        body = {
            "type": "message",
            "serviceUrl": activity["serviceUrl"],
            "channelId": activity["channelId"],
            "from": activity["recipient"],
            "conversation": activity["conversation"],
            "recipient": activity["from"],
            "locale": activity["locale"],
            "replyToId": activity["id"],
        } | reply
        conversation, id_ = quote(activity["conversation"]["id"], ""), quote(activity["id"], "")
        url = f"{activity['serviceUrl']}v3/conversations/{conversation}/activities/{id_}"
        headers = self._headers or await self._get_token()
        async with self._session.post(
            URL(url, encoded=True), data=json.dumps(body).encode(), headers=headers
        ) as answer:
            assert answer.status == 201
            json.loads(await answer.read())

    async def _get_token(self) -> dict[str, str]:
        self._headers = dict(_HEADERS)
        if self._setting.app_id:
            form = {
                "grant_type": "client_credentials",
                "client_id": self._setting.app_id,
                "client_secret": self._setting.app_password,
                "scope": "https://api.botframework.com/.default",
            }
            login = f"{self._setting.login_url}/{self._setting.login_tenant}"
            async with self._session.post(f"{login}/oauth2/v2.0/token", data=form) as answer:
                self._headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        return self._headers


def _columns(
    activity: dict[str, Any],
    row: dict[str, Any] | None,
    state: dict[str, Any],
    replies: list[profile.Reply],
) -> dict[str, Any]:
    """The columns of a conversation's row, as this project has them."""
    now = datetime.now(UTC)
    recent = json.loads(row["Recent"]) if row else []
    recent = [*recent, [_hash(activity["id"])[:16], os.urandom(8).hex()]][-16:]
    reference = {
        "channelId": activity["channelId"],
        "serviceUrl": activity["serviceUrl"],
        "user": {"id": activity["from"]["id"], "role": "user"},
        "bot": {"id": activity["recipient"]["id"], "role": "bot"},
        "conversation": activity["conversation"],
    }
    return {
        "ConversationKey": f"{activity['channelId']}|{activity['conversation']['id']}",
        "SessionId": row["SessionId"] if row else os.urandom(8).hex(),
        "Status": "active",
        "LastAccessed": now.isoformat().replace("+00:00", "Z"),
        "LastAccessed@odata.type": "Edm.DateTime",
        "Reference": json.dumps(reference),
        "Locale": activity["locale"],
        "StateVersion": recent[-1][1],
        "Recent": json.dumps(recent),
        "Users": json.dumps({_hash(activity["from"]["id"]): ["", 'W/"1"']}),
        "State00": _packed(state | {"padding": os.urandom(_PADDING).hex()}),
        "State00@odata.type": "Edm.Binary",
        "Replies00": _packed(replies),
        "Replies00@odata.type": "Edm.Binary",
        "Form": 1,
    }


class _Memory:
    """Rows in a dictionary."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}

    async def get(self, partition: str, key: str) -> dict[str, Any] | None:
        return self._rows.get((partition, key))

    async def upsert(self, partition: str, key: str, columns: dict[str, Any]) -> None:
        self._rows[partition, key] = columns | {"odata.etag": os.urandom(8).hex()}

    insert = upsert

    async def replace(self, partition: str, key: str, columns: dict[str, Any], etag: str) -> None:
        assert self._rows[partition, key]["odata.etag"] == etag
        await self.upsert(partition, key, columns)

    async def transaction(
        self, partition: str, key: str, columns: dict[str, Any], etag: str | None, due: str
    ) -> None:
        del etag
        await self.upsert(partition, key, columns)
        await self.upsert(partition, due, {"Form": 1})


class _Tables:
    """Rows in Table Storage, with Shared Key Lite."""

    def __init__(self, session: ClientSession, connection: str) -> None:
        parts = dict(part.split("=", 1) for part in connection.split(";"))
        self._session = session
        self._account = parts["AccountName"]
        self._key = base64.b64decode(parts["AccountKey"])
        self._endpoint = parts["TableEndpoint"]
        self._path = urlsplit(self._endpoint).path
        self._rows, self._lists = f"floor{os.getpid()}", f"floorlists{os.getpid()}"

    async def create(self) -> None:
        for table in (self._rows, self._lists):
            body = json.dumps({"TableName": table}).encode()
            await self._request("POST", "Tables", body)

    async def get(self, partition: str, key: str) -> dict[str, Any] | None:
        status, answer = await self._request("GET", self._entity(partition, key))
        return json.loads(answer) if status == 200 else None

    async def insert(self, partition: str, key: str, columns: dict[str, Any]) -> None:
        body = {"PartitionKey": partition, "RowKey": key, **columns}
        await self._request("POST", self._table(partition), json.dumps(body).encode())

    async def upsert(self, partition: str, key: str, columns: dict[str, Any]) -> None:
        body = {"PartitionKey": partition, "RowKey": key, **columns}
        await self._request("PUT", self._entity(partition, key), json.dumps(body).encode())

    async def replace(self, partition: str, key: str, columns: dict[str, Any], etag: str) -> None:
        body = {"PartitionKey": partition, "RowKey": key, **columns}
        await self._request("PUT", self._entity(partition, key), json.dumps(body).encode(), etag)

    async def transaction(
        self, partition: str, key: str, columns: dict[str, Any], etag: str | None, due: str
    ) -> None:
        batch, changes = f"batch_{os.urandom(8).hex()}", f"changeset_{os.urandom(8).hex()}"
        lines = [f"--{batch}", f"Content-Type: multipart/mixed; boundary={changes}", ""]
        for row_key, its, tag in ((key, columns, etag), (due, {"Form": 1}, None)):
            body = {"PartitionKey": partition, "RowKey": row_key, **its}
            lines += [
                f"--{changes}",
                "Content-Type: application/http",
                "Content-Transfer-Encoding: binary",
                "",
                f"PUT {self._endpoint}/{self._entity(partition, row_key)} HTTP/1.1",
                "Content-Type: application/json",
                "Accept: application/json;odata=minimalmetadata",
                *([f"If-Match: {tag}"] if tag else []),
                "",
                json.dumps(body),
            ]
        lines += [f"--{changes}--", f"--{batch}--", ""]
        kind = f"multipart/mixed; boundary={batch}"
        status, answer = await self._request(
            "POST", "$batch", "\r\n".join(lines).encode(), kind=kind
        )
        assert status == 202, answer
        assert b"HTTP/1.1 4" not in answer, answer

    def _table(self, partition: str) -> str:
        return self._rows if partition.startswith("s") else self._lists

    def _entity(self, partition: str, key: str) -> str:
        keys = f"PartitionKey='{quote(partition, '')}',RowKey='{quote(key, '')}'"
        return f"{self._table(partition)}({keys})"

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        etag: str = "",
        kind: str = "application/json",
    ) -> tuple[int, bytes]:
        date = formatdate(usegmt=True)
        signed = f"{date}\n/{self._account}{self._path}/{path}".encode()
        digest = hmac.digest(self._key, signed, "sha256")
        headers = {
            "x-ms-date": date,
            "x-ms-version": "2019-02-02",
            "DataServiceVersion": "3.0",
            "Accept": "application/json;odata=minimalmetadata",
            "Content-Type": kind,
            "Authorization": f"SharedKeyLite {self._account}:{base64.b64encode(digest).decode()}",
        }
        if etag:
            headers["If-Match"] = etag
        url = URL(f"{self._endpoint}/{path}", encoded=True)
        async with self._session.request(method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            assert answer.status < 300 or answer.status == 404, content
            return answer.status, content


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _packed(value: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
