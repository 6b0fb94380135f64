"""The tests' fake channel and login service, in a process of its own: its CPU is not counted."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi

from shared.connector.cloud import Cloud
from tests.channel_process import FakeChannelProcess
from tests.fake_channel import Answer

APP_ID = "00000000-0000-4000-8000-000000000001"
APP_PASSWORD = "benchmark"


@dataclass(frozen=True, slots=True)
class Channel:
    """What a client of the fake needs to know.

    Attributes:
        fake: to change what it answers, and to see what came.
        cloud: its login service and its keys.
        service_url: of the channel, over TLS.
        plain_service_url: of the same channel without TLS.
        bearer: an Authorization header that the channel may send to the bot.
    """

    fake: FakeChannelProcess
    cloud: Cloud
    service_url: str
    plain_service_url: str
    bearer: str


@contextmanager
def running_channel(*, delay_seconds: float = 0, **settings: Any) -> Iterator[Channel]:
    """Start the fake, which takes so long to accept a message or give a token.

    This process's `requests` trust its certificate until the end.

    Args:
        delay_seconds: before each answer.
        settings: of `FakeChannelProcess`.
    """
    token = {"token_type": "Bearer", "access_token": "token", "expires_in": 3600}
    answers = {
        "default_answers": [Answer(201, {"id": "1"}, delay_seconds=delay_seconds)],
        "login_answers": [Answer(200, token, delay_seconds=delay_seconds)],
    }
    with (
        FakeChannelProcess(tls=True, **answers | settings) as fake,
        tempfile.TemporaryDirectory() as folder,
    ):
        bundle = Path(folder) / "bundle.pem"
        # The public authorities stay in: loading them is part of what a TLS session costs.
        bundle.write_text(Path(certifi.where()).read_text() + fake.certificate)
        before = os.environ.get("REQUESTS_CA_BUNDLE")
        os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
        try:
            yield Channel(
                fake=fake,
                cloud=fake.cloud,
                service_url=fake.service_url,
                plain_service_url=f"{fake.plain_url}/channel/",
                bearer=f"Bearer {fake.token(app_id=APP_ID)}",
            )
        finally:
            del os.environ["REQUESTS_CA_BUNDLE"]
            if before is not None:
                os.environ["REQUESTS_CA_BUNDLE"] = before


def ssl_context() -> ssl.SSLContext:
    """A context that trusts what `requests` trusts while the fake runs."""
    return ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
