"""Whole bots and a channel in another process: over TLS, in another cloud, at its limits."""

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.certificate import read_certificate
from shared.storage.table_account import Tables
from tests.certificates import a_certificate
from tests.channel_process import FakeChannelProcess
from tests.e2e.running_bot import EXPIRED, RunningBot, StoredRows, running_bot, settings_on
from tests.fake_channel import Answer, until
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


async def idle_in_teams(
    bot: RunningBot, channel: FakeChannelProcess, rows: StoredRows, count: int
) -> None:
    """So many conversations of one tenant, all of them due."""
    at_once = asyncio.Semaphore(10)

    async def say_hello(number: int) -> None:
        async with at_once:
            assert (await bot.post(json=in_teams(channel, f"talk {number}")))[0] == 200

    await asyncio.gather(*(say_hello(number) for number in range(count)))
    await rows.let_time_pass(seconds=610)


def in_teams(channel: FakeChannelProcess, conversation: str) -> dict[str, Any]:
    where = {"id": conversation, "tenantId": "contoso"}
    return message(channel, channelId="msteams", conversation=where)


async def test_notices_keep_within_the_channels_limit_and_a_reply_goes_before_them(
    storage_connection_string: str, azure_tables: Tables, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(
        "[msteams]\ntenant = [20, 1]\nthread = [[7, 1]]\n[other]\nservice_url = [20, 1]\n"
    )
    settings = settings_on(storage_connection_string, SendingLimits=str(limits))
    with FakeChannelProcess() as channel:
        async with running_bot(settings, tmp_path) as bot:
            await idle_in_teams(bot, channel, StoredRows(azure_tables, settings), 70)
            channel.set(limits=RateLimits(per_second=20, burst=20))
            greetings = len(channel.record().requests)
            sweep = asyncio.create_task(bot.sweep())
            await until(lambda: len(channel.record(greetings).requests) > 10)
            assert (await bot.post(json=in_teams(channel, "chat")))[0] == 200
            assert "expired 70, notified 70," in await sweep
        record = channel.record(greetings)
    assert record.breaches == {}
    sent = [request.conversation_id for request in record.requests]
    assert len(sent) == 71
    assert sent[-1] != "chat"


async def test_requests_that_hang_hold_up_no_others_and_are_tried_again(
    storage_connection_string: str, azure_tables: Tables, tmp_path: Path
) -> None:
    settings = settings_on(storage_connection_string)
    give_up_after_3_s = """
from shared.connector.client import Connector
Connector.__init__.__kwdefaults__["total_timeout_seconds"] = 3
"""
    with FakeChannelProcess() as channel:
        async with running_bot(settings, tmp_path, changes=give_up_after_3_s) as bot:
            rows = StoredRows(azure_tables, settings)
            await idle_in_teams(bot, channel, rows, 100)
            channel.set(pattern_answers={"talk .*": [Answer(hang=True, chance=0.1)]})
            counts = re.match(
                r"looked at 100, expired 100, notified (\d+), retried later (\d+), notice failures",
                await bot.sweep(),
            )
            assert counts
            told, hung = map(int, counts.groups())
            assert told + hung == 100
            assert hung > 4  # enough in a row at the end to be taken for a channel that is down
            assert "a service URL does not answer" not in bot.log
            channel.set(pattern_answers={})
            await rows.let_time_pass(seconds=15)
            assert f"looked at {hung}, notified {hung}," in await bot.sweep()
        texts = [request.body["text"] for request in channel.record().requests]
    assert sum(EXPIRED in text for text in texts) == 100 + hung
