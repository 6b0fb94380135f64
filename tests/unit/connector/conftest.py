"""A fake channel, and a connector with an identity: what several modules here send with."""

from collections.abc import AsyncIterator

import pytest

from shared.connector.client import Connector
from shared.connector.operations import ConnectorClient
from tests.fake_channel import FakeChannel
from tests.fixed_token import FixedToken


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        yield channel


@pytest.fixture
async def connector() -> AsyncIterator[Connector]:
    connector = Connector(FixedToken())
    yield connector
    await connector.close()


@pytest.fixture
def client(channel: FakeChannel, connector: Connector) -> ConnectorClient:
    return ConnectorClient(connector, channel.service_url)
