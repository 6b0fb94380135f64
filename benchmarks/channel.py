"""A fake channel and login service in a process of its own, so that its CPU is not counted.

As a module it is what the benchmarks start; as `python -m benchmarks.channel` it is that process.
"""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import certifi

from tests.fake_channel import Answer, FakeChannel

APP_ID = "00000000-0000-4000-8000-000000000001"
APP_PASSWORD = "benchmark"


@dataclass(frozen=True, slots=True)
class Channel:
    """What a client of the fake needs to know.

    Attributes:
        login_url: of the login service, over TLS.
        service_url: of the channel, over TLS.
        plain_service_url: of the same channel without TLS.
        channel_keys_url: without TLS, like the next; keys are fetched once a day.
        emulator_keys_url: see above.
        bearer: an Authorization header that the channel may send to the bot.
        certificate: of the fake's authority, PEM.
    """

    login_url: str
    service_url: str
    plain_service_url: str
    channel_keys_url: str
    emulator_keys_url: str
    bearer: str
    certificate: str


@contextmanager
def running_channel(*, delay_seconds: float = 0) -> Iterator[Channel]:
    """Start the fake, which takes so long to accept a message or give a token.

    This process's `requests` trust its certificate until the end.
    """
    command = [sys.executable, "-m", "benchmarks.channel", str(delay_seconds)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fake,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert fake.stdin
        assert fake.stdout
        channel = Channel(**json.loads(fake.stdout.readline()))
        bundle = Path(folder) / "bundle.pem"
        # The public authorities stay in: loading them is part of what a TLS session costs.
        bundle.write_text(Path(certifi.where()).read_text() + channel.certificate)
        os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
        try:
            yield channel
        finally:
            del os.environ["REQUESTS_CA_BUNDLE"]
            fake.stdin.close()  # it ends with its standard input


def ssl_context() -> ssl.SSLContext:
    """A context that trusts what `requests` trusts while the fake runs."""
    return ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])


async def _serve(delay_seconds: float) -> None:
    async with FakeChannel(tls=True) as fake, FakeChannel() as plain:
        assert fake.authority
        for each in (fake, plain):
            each.default_answers = [Answer(201, {"id": "1"}, delay_seconds=delay_seconds)]
        token = {"token_type": "Bearer", "access_token": "token", "expires_in": 3600}
        fake.login_answers = [Answer(200, token, delay_seconds=delay_seconds)]
        channel = Channel(
            login_url=fake.url,
            service_url=fake.service_url,
            plain_service_url=plain.service_url,
            channel_keys_url=plain.channel_keys_url,
            emulator_keys_url=plain.emulator_keys_url,
            bearer=f"Bearer {fake.token(app_id=APP_ID)}",
            certificate=fake.authority.cert_pem.bytes().decode(),
        )
        print(json.dumps(asdict(channel)), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(delay_seconds=float(sys.argv[1])))
