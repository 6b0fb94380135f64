"""The order of the checks: what costs more comes later."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.connector import reception
from shared.connector.authentication import InboundAuthentication, UnauthorizedError
from shared.connector.inbound import MAX_BODY_BYTES, BadRequestError
from tests.fake_channel import FakeChannel

APP_ID = "00000000-0000-0000-0000-00000000b07a"


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        yield channel


def message(channel: FakeChannel, **fields: Any) -> bytes:
    given = {
        "type": "message",
        "channelId": "msteams",
        "serviceUrl": channel.service_url,
        "conversation": {"id": "c"},
        "from": {"id": "u"},
    }
    return json.dumps(given | fields).encode()


async def outcome(channel: FakeChannel, body: bytes, **headers: str) -> int:
    authentication = InboundAuthentication(app_id=APP_ID, cloud=channel.cloud)
    given = {"content-type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        await reception.receive(authentication, given, body)
    except BadRequestError as error:
        return error.status
    except UnauthorizedError:
        return 401
    return 200


@pytest.mark.parametrize(
    "authorization", ["", "Basic a.b.c", "Bearer", "Bearer a.b", "Bearer é.b.c"]
)
@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 1_000, b'{"attachments": [{}, {}]}'])
async def test_without_a_token_the_body_is_not_parsed(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch, body: bytes, authorization: str
) -> None:
    monkeypatch.setattr(reception, "json_object", None)
    assert await outcome(channel, body, authorization=authorization) == 401


async def test_with_a_false_token_a_large_body_is_not_parsed(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = channel.token(app_id=APP_ID)[:-9] + "AAAAAAAAA"
    unknown = channel.token(app_id=APP_ID, headers={"kid": "made-up"})
    large = message(channel, text="x" * reception.PARSED_FOR_ANYBODY_BYTES)
    good = channel.token(app_id=APP_ID)
    assert await outcome(channel, large, authorization=f"Bearer {good}") == 200
    assert await outcome(channel, large[:-1], authorization=f"Bearer {good}") == 400
    for token in (forged, unknown):
        # A small one is parsed first: to its sender the form of the body is wrong, too.
        assert await outcome(channel, b"{", authorization=f"Bearer {token}") == 400
    monkeypatch.setattr(reception, "json_object", None)
    for token in (forged, unknown):
        for body in (large, large[:-1], b"[" * 20_000):
            assert await outcome(channel, body, authorization=f"Bearer {token}") == 401


async def test_with_a_false_token_the_fields_are_not_read(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "activity_of", None)
    token = channel.token(app_id=APP_ID, headers={"kid": "made-up"})
    for _ in range(5):
        body = message(channel, attachments=[{}] * 20_000)
        assert await outcome(channel, body, authorization=f"Bearer {token}") == 401


@pytest.mark.parametrize("field", ["channelId", "serviceUrl"])
@pytest.mark.parametrize("value", [None, "", 5, ["msteams"]])
async def test_what_the_token_is_compared_with_is_named_to_its_holder_only(
    channel: FakeChannel, field: str, value: object
) -> None:
    body = message(channel, **{field: value})
    token = channel.token(app_id=APP_ID)
    assert await outcome(channel, body, authorization=f"Bearer {token}") == 400
    assert await outcome(channel, body, authorization=f"Bearer {token[:-9]}AAAAAAAAA") == 401


@pytest.mark.parametrize(
    ("length", "status"),
    [(str(MAX_BODY_BYTES + 1), 413), ("9" * 5_000, 401), ("-1", 401), ("x", 401), ("", 401)],
)
async def test_the_length_in_the_headers_counts_if_it_is_one(
    channel: FakeChannel, length: str, status: int
) -> None:
    assert await outcome(channel, b"{}", content_length=length) == status
    assert await outcome(channel, b"x" * (MAX_BODY_BYTES + 1), content_length=length) == 413


async def test_a_good_request_is_taken(channel: FakeChannel) -> None:
    token = channel.token(app_id=APP_ID)
    assert await outcome(channel, message(channel), authorization=f"Bearer {token}") == 200
