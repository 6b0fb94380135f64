"""Whole bots and a channel in another process: over TLS, in another cloud, at its limits."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.connector.certificate import read_certificate
from tests.certificates import a_certificate
from tests.channel_process import FakeChannelProcess
from tests.e2e.running_bot import running_bot, settings_on
from tests.rate_limits import RateLimits

APP_ID = "00000000-0000-0000-0000-00000000b07a"


def message(channel: FakeChannelProcess, **fields: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "id": uuid4().hex,
        "text": "hello",
        "channelId": "test",
        "serviceUrl": channel.service_url,
        "conversation": {"id": "talk"},
        "from": {"id": "ann"},
        "recipient": {"id": "the-bot"},
        **fields,
    }


# OpenSSL's variable and that of requests: what looks at one only must be told of the other.
@pytest.mark.parametrize("authorities", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_a_bot_of_azure_government_with_a_certificate_and_a_private_authority(
    storage_connection_string: str, tmp_path: Path, authorities: str
) -> None:
    pem = a_certificate()
    (tmp_path / "bot.pem").write_bytes(pem)
    with FakeChannelProcess(tls=True, app_certificate=read_certificate(pem).public) as channel:
        settings = settings_on(
            storage_connection_string,
            MicrosoftAppId=APP_ID,
            MicrosoftAppType="SingleTenant",
            MicrosoftAppTenantId="contoso.example",
            MicrosoftAppCertificatePath=str(tmp_path / "bot.pem"),
            ChannelService="https://botframework.azure.us",
            ToChannelFromBotLoginUrl=f"{channel.url}/MicrosoftServices.onmicrosoft.us",
            ToBotFromChannelOpenIdMetadataUrl=channel.cloud.channel_keys_url,
            **{authorities: str(channel.certificate_file())},
        )
        async with running_bot(settings, tmp_path) as bot:
            foreign = channel.token(app_id=APP_ID)
            assert (await bot.post(json=message(channel), token=foreign))[0] == 401
            token = channel.token(app_id=APP_ID, claims={"iss": "https://api.botframework.us"})
            assert (await bot.post(json=message(channel), token=token))[0] == 200
        record = channel.record()
    (asked,) = record.login_requests
    assert asked["tenant"] == "contoso.example"
    assert asked["scope"] == "https://api.botframework.us/.default"
    assert {request.authorization for request in record.requests} == {"Bearer bot-token-1"}
    assert {request.status for request in record.requests} == {201}


async def test_a_reply_waits_for_a_channel_that_limits(
    storage_connection_string: str, tmp_path: Path
) -> None:
    with FakeChannelProcess(limits=RateLimits(windows=((1, 1),))) as channel:
        async with running_bot(settings_on(storage_connection_string), tmp_path) as bot:
            for text in ("hello", "car"):
                assert (await bot.post(json=message(channel, text=text)))[0] == 200
        record = channel.record()
    statuses = [request.status for request in record.requests]
    assert statuses.count(429) == record.breaches["thread"] > 0
    accepted = [request.body["text"] for request in record.requests if request.status == 201]
    assert len(accepted) == len(set(accepted)) == statuses.count(201)
    assert statuses[-1] == 201
