"""The fake channel in a process of its own: for whole bots, and where its CPU must not be counted.

    with FakeChannelProcess(tls=True, limits=RateLimits()) as channel:
        channel.set(pattern_answers={"bad-.*": [Answer(403)]})
        ...
        channel.record()

What can be set are the attributes of `FakeChannel` of the same names. It speaks HTTP, in JSON:
POST /control/set, GET /control/record?since=, POST /control/reset, POST /control/token.
As `python -m tests.channel_process SETTINGS` it is that process; it ends with its standard input.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Self
from urllib.request import ProxyHandler, Request, build_opener

from aiohttp import web

from shared.connector.cloud import Cloud
from tests.fake_channel import Answer, FakeChannel, Received
from tests.rate_limits import RateLimits

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Record:
    """What the fake received.

    Attributes:
        requests: to the connector.
        login_requests: the forms that came to the token endpoints.
        breaches: of the rate limits, by "tenant" and "thread".
    """

    requests: list[Received]
    login_requests: list[dict[str, str]]
    breaches: dict[str, int]


class FakeChannelProcess:
    """Starts the fake and speaks to it. Its calls block, for a millisecond or two.

    Args:
        tls: whether it speaks TLS, besides plain HTTP.
        settings: what to set before it starts, as `set` does.

    Attributes:
        url: over TLS, if it has that.
        plain_url: without.
        certificate: of its authority, PEM; empty without TLS.
        cloud: the public cloud, with the fake's login service and keys.
    """

    def __init__(self, *, tls: bool = False, **settings: Any) -> None:
        self._start_with = {"tls": tls, "set": _as_json(settings)}
        self._opener = build_opener(ProxyHandler({}))
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.channel_process", json.dumps(self._start_with)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        address = json.loads(self._process.stdout.readline())
        self.url: str = address["url"]
        self.plain_url: str = address["plain_url"]
        self.certificate: str = address["certificate"]
        self.cloud = Cloud(**address["cloud"])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its standard input
        self._folder.cleanup()

    @property
    def service_url(self) -> str:
        """What activities of this channel have as their serviceUrl."""
        return f"{self.url}/channel/"

    def certificate_file(self) -> Path:
        """A file with the certificate of its authority, there until the end."""
        path = Path(self._folder.name) / "authority.pem"
        path.write_text(self.certificate)
        return path

    def set(self, **settings: Any) -> None:
        """Set attributes of the fake: answers, limits, token_lifetime_seconds, ..."""
        self._call("set", _as_json(settings))

    def reset(self) -> None:
        """Forget what was received and set."""
        self._call("reset", {})

    def record(self, since: int = 0) -> Record:
        """What was received so far, but for the first so many requests to the connector."""
        record = self._call(f"record?since={since}")
        requests = [Received(**request) for request in record["requests"]]
        return Record(requests, record["login_requests"], record["breaches"])

    def token(self, **options: Any) -> str:
        """A token as the channel would show it to the bot; see `FakeChannel.token`."""
        return str(self._call("token", options))

    def _call(self, what: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.plain_url}/control/{what}", data)
        with self._opener.open(request, timeout=30) as answer:
            return json.load(answer)


def _as_json(settings: Any) -> Any:
    if is_dataclass(settings) and not isinstance(settings, type):
        return _as_json(asdict(settings))
    if isinstance(settings, Mapping):
        return {name: _as_json(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [_as_json(item) for item in settings]
    return settings.decode() if isinstance(settings, bytes) else settings


class _ControlledChannel(FakeChannel):
    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/control/set", self._set)
        app.router.add_post("/control/reset", self._reset)
        app.router.add_get("/control/record", self._record)
        app.router.add_post("/control/token", self._sign)
        super().add_routes(app)

    def change(self, settings: Mapping[str, Any]) -> None:
        """Set attributes, given as JSON."""
        for name, value in settings.items():
            if not hasattr(self, name):
                raise web.HTTPBadRequest(text=f"there is no {name!r} to set")
            setattr(self, name, _read(name, value))

    async def _set(self, request: web.Request) -> web.Response:
        self.change(await request.json())
        return web.json_response(None)

    async def _reset(self, _: web.Request) -> web.Response:
        fresh = FakeChannel()
        for name in (*_RECORDED, *_ANSWERS, *_OTHERS):
            setattr(self, name, getattr(fresh, name))
        return web.json_response(None)

    async def _record(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        return web.json_response(
            {
                "requests": [asdict(received) for received in self.requests[since:]],
                "login_requests": self.login_requests,
                "breaches": dict(self.limits.breaches) if self.limits else {},
            }
        )

    async def _sign(self, request: web.Request) -> web.Response:
        return web.json_response(self.token(**await request.json()))


_RECORDED = ("requests", "login_requests", "keys_requests")
_ANSWERS = ("answers", "pattern_answers", "default_answers", "login_answers", "keys_answers")
_OTHERS = ("limits", "keys", "app_certificate", "token_lifetime_seconds")


def _read(name: str, value: Any) -> Any:
    """An attribute's value of its JSON."""
    if name == "limits":
        return value and RateLimits(value["per_second"], value["burst"], value["windows"])
    if name in {"answers", "pattern_answers"}:
        return {key: [Answer(**answer) for answer in answers] for key, answers in value.items()}
    return [Answer(**answer) for answer in value] if name in _ANSWERS else value


async def _serve(tls: bool, settings: Mapping[str, Any]) -> None:
    async with _ControlledChannel(tls=tls) as channel:
        channel.change(settings)
        certificate = channel.authority.cert_pem.bytes().decode() if channel.authority else ""
        address = {
            "url": channel.url,
            "plain_url": channel.plain_url,
            "certificate": certificate,
            "cloud": asdict(channel.cloud),
        }
        sys.stdout.write(json.dumps(address) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(_serve(given["tls"], given["set"]))
