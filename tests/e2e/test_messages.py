"""POST /api/messages over real HTTP: every status, and what the bot does about a deaf channel."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts import azurite, processes
from tests.bots.survey_bot import AGE, NAME, TRANSPORT
from tests.e2e.running_bot import RunningBot, User, running_bot, settings_on
from tests.e2e.state_client import StateClient, path_to
from tests.fake_channel import Answer, FakeChannel, SigningKey, unsigned_token

APP_ID = "00000000-0000-0000-0000-00000000b07a"
TOO_LARGE = json.dumps({"text": "x" * 2**20}).encode()
JSON = {"Content-Type": "application/json"}

# The channels' signing keys are the fake's.
OTHER_KEYS = """
from botframework.connector.auth import AuthenticationConstants
AuthenticationConstants.TO_BOT_FROM_CHANNEL_OPENID_METADATA_URL = {url!r}
"""


@pytest.fixture(scope="module")
async def guarded_bot(
    channel: FakeChannel, storage_connection_string: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBot]:
    """A bot with an app id, so that it asks for tokens; the fake channel's are good."""
    identity = {"MicrosoftAppId": APP_ID, "MicrosoftAppPassword": "no secret"}
    settings = settings_on(storage_connection_string, **identity)
    folder = tmp_path_factory.mktemp("guarded")
    changes = OTHER_KEYS.format(url=channel.channel_keys_url)
    async with running_bot(settings, folder, changes=changes) as bot:
        yield bot


@pytest.fixture
def user(bot: RunningBot, channel: FakeChannel) -> User:
    return User(bot, channel)


async def test_what_is_sent_in_chunks_is_told_to_send_its_length(
    bot: RunningBot, state: StateClient
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"data": 1, '
        yield b'"type": "message"}'

    path = path_to("user", "", "in chunks")
    for status, answer in (
        await bot.post(data=chunks(), headers=JSON),
        await state.send("POST", path, chunks()),
    ):
        assert status == 411
        assert "Content-Length" in answer["error"]["message"]
    assert await state.get(path) == (None, "*")


async def test_a_request_with_every_fault_is_refused_for_the_first_of_them(
    guarded_bot: RunningBot, channel: FakeChannel
) -> None:
    no_activity = b'{"type": "message"}'
    activity = User(guarded_bot, channel).activity(text="hello")
    text, false = {"Content-Type": "text/plain"}, JSON | {"Authorization": "Bearer a.b.c"}
    true = JSON | {"Authorization": f"Bearer {channel.token(app_id=APP_ID)}"}
    assert (await guarded_bot.post(data=TOO_LARGE[:-1], headers=text))[0] == 415
    assert (await guarded_bot.post(data=TOO_LARGE[:-1], headers=JSON))[0] == 413
    assert (await guarded_bot.post(data=no_activity[:-1], headers=JSON))[0] == 401
    assert (await guarded_bot.post(data=no_activity[:-1], headers=false))[0] == 400
    assert (await guarded_bot.post(data=no_activity, headers=false))[0] == 401
    assert (await guarded_bot.post(data=no_activity, headers=true))[0] == 400
    assert (await guarded_bot.post(json=activity))[0] == 401


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"type": None}, "type"),
        ({"channelId": None}, "channelId"),
        ({"serviceUrl": ""}, "serviceUrl"),
        ({"conversation": {}}, "conversation.id"),
        ({"conversation": None}, "conversation.id"),
        ({"from": {"name": "Ada"}}, "from.id"),
        ({"from": None}, "from.id"),
        ({"type": 1}, "type"),
        ({"text": ["hello"]}, "text"),
        ({"conversation": "c"}, "conversation"),
        ({"conversation": {"id": {"$ne": ""}}}, "conversation.id"),
        ({"from": {"id": 7}}, "from.id"),
        ({"recipient": []}, "recipient"),
        ({"attachments": {}}, "attachments"),
        ({"attachments": [{"contentType": 5}]}, "attachments[0].contentType"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 1700000000}, "timestamp"),
        ({"channelId": "a|b"}, "channelId"),
        ({"conversation": {"id": "x" * 5000}}, "conversation.id"),
    ],
)
async def test_an_activity_with_a_bad_field_is_refused_and_the_field_named(
    user: User, changed: dict[str, Any], named: str
) -> None:
    status, answer = await user.bot.post(json=user.activity(**changed))
    assert status == 400
    assert named in answer["error"]["message"]
    assert user.heard == []


@pytest.mark.parametrize(
    "changed",
    [
        {"localTimestamp": "2018-04-03T15:04:34 09:00"},
        {"localTimestamp": "2026-13-45T00:00:00Z"},
        {"localTimestamp": ""},
        {"localTimestamp": "2025-12-02T24:00:00Z"},
        {"timestamp": "2025-12-02T24:00:00Z"},
        {"timestamp": ""},
        {"expiration": ""},
        {"expiration": 0},
        {"channelData": {"note": "lone \ud83d", "\udc00": 1}},
        {"value": ["\ud800"]},
        {"summary": {"a": 1}, "importance": 3, "historyDisclosed": "no"},
        {"entities": [None, 5, {"type": 7}]},
    ],
)
async def test_a_field_that_nobody_reads_never_costs_the_message(
    user: User, changed: dict[str, Any]
) -> None:
    assert TRANSPORT in (await user.say("hello", **changed))[0]
    assert NAME in (await user.say("Bus", **changed))[0]


async def test_flags_may_be_strings_and_names_may_hold_lone_surrogates(user: User) -> None:
    conversation = {"id": user.conversation, "isGroup": "false", "name": "\ud83d"}
    sender = {"id": "ann", "name": "Ann \ud83d", "role": "user"}
    assert TRANSPORT in (await user.say("hello", conversation=conversation, **{"from": sender}))[0]


@pytest.mark.parametrize("missing", ["type", "channelId", "serviceUrl", "conversation", "from"])
async def test_a_field_that_is_left_out_is_named(user: User, missing: str) -> None:
    activity = user.activity()
    del activity[missing]
    status, answer = await user.bot.post(json=activity)
    assert status == 400
    assert missing in answer["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b'{"type": NaN', b"[" * 100_000],
)
async def test_a_body_that_is_no_json_object_is_refused(bot: RunningBot, body: bytes) -> None:
    assert (await bot.post(data=body, headers=JSON))[0] == 400


async def test_other_methods_are_not_found(bot: RunningBot) -> None:
    answer = processes.get(int(bot.url.rpartition(":")[2]), "/api/messages")
    assert answer is not None
    assert answer.status == 404


@pytest.mark.parametrize(
    "odd", ["\ud800", "a\udfffb", "\x00", "\x07\x1b", "\r\n\t", "\u2028", "🙂", "%2F%00"]
)
async def test_odd_characters_are_answered_or_refused(user: User, odd: str) -> None:
    everywhere = {
        "text": odd,
        "locale": odd,
        "conversation": {"id": f"{user.conversation}{odd}", "name": odd},
        "from": {"id": f"user{odd}", "name": odd},
        "channelData": {odd: odd},
    }
    status, _ = await user.bot.post(json=user.activity(**everywhere))
    assert status == (400 if "\ud800" <= max(odd) <= "\udfff" else 200)
    for place, value in everywhere.items():
        status, _ = await user.bot.post(json=user.activity(**{place: value}))
        assert status in (200, 400)


@pytest.mark.parametrize("shape", ["a/b", "a\\b", "a#b", "a?b", "🙂", "%2F", "..", "x" * 2000])
async def test_ids_of_any_shape_chat(bot: RunningBot, channel: FakeChannel, shape: str) -> None:
    conversation = f"{shape}" if len(shape) > 1000 else f"{shape} in messages"
    user = User(bot, channel, conversation, {"from": {"id": f"{shape}"[:2000]}})
    first = await user.say("hello")
    second = await user.say("Car")
    assert TRANSPORT in first[0]
    assert NAME in second[0]
    assert [len(first), len(second)] == [1, 1]


async def test_a_recipient_may_be_absent(user: User) -> None:
    activity = user.activity(text="hello")
    del activity["recipient"]
    assert (await user.bot.post(json=activity))[0] == 200
    await user.say("Car", recipient=None)
    await user.say("Ada", recipient={})
    transport, name, age = user.heard
    assert TRANSPORT in transport
    assert NAME in name
    assert AGE in age


async def test_expect_replies_are_in_the_answer_and_not_sent(user: User) -> None:
    activity = user.activity(text="hello", deliveryMode="expectReplies")
    status, answer = await user.bot.post(json=activity)
    assert status == 200
    (reply,) = answer["activities"]
    assert TRANSPORT in reply["text"]
    assert user.heard == []
    (name,) = await user.say("Car")  # it was saved all the same
    assert NAME in name


async def test_the_bot_of_shared_bot_takes_a_message_whichever_it_is(
    settings: dict[str, str], channel: FakeChannel, tmp_path: Path
) -> None:
    # What it says, and whether it has here all that it needs, is its author's business.
    async with running_bot(settings, tmp_path, bot=None, may_fail=True) as bot:
        assert await User(bot, channel).send("hello") == 200


async def test_an_invoke_the_bot_does_not_know_is_not_implemented(user: User) -> None:
    status, _ = await user.bot.post(json=user.activity(type="invoke", name="not/known"))
    assert status == 501
    assert user.heard == []


@pytest.mark.parametrize(
    "kind", ["conversationUpdate", "installationUpdate", "typing", "event", "endOfConversation"]
)
async def test_other_activities_are_taken_without_a_word(user: User, kind: str) -> None:
    assert (await user.bot.post(json=user.activity(type=kind)))[0] == 200
    assert user.heard == []


async def test_a_reply_that_cannot_be_delivered_leaves_the_turn_saved(
    bot: RunningBot, channel: FakeChannel
) -> None:
    async def chat(name: str, failure: Answer) -> None:
        user = User(bot, channel, f"deaf: {name}")
        channel.answers[user.conversation] = [failure, Answer(201, {"id": "1"})]
        assert await user.send("hello") == 200
        (name_question,) = await user.say("Bus")
        assert NAME in name_question

    failures = {
        "forbidden": Answer(403, {"error": {"code": "BotDisabled", "message": "no"}}),
        "broken": Answer(500),
        "a proxy": Answer(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        "too many": Answer(429, headers={"Retry-After": "3600"}),
        "our token": Answer(401),
        "cut off": Answer(drop=True),
    }
    await asyncio.gather(*(chat(name, failure) for name, failure in failures.items()))


async def test_a_channel_that_is_not_there_leaves_the_turn_saved(user: User) -> None:
    nowhere = ["http://127.0.0.1:1/", "ftp://127.0.0.1/", "not a url", "http://[", "http://a b/"]
    for address in nowhere:
        somewhere = {"conversation": {"id": f"{user.conversation} at {address}"}}
        assert await user.send("hello", serviceUrl=address, **somewhere) == 200
        expecting = user.activity(text="Car", deliveryMode="expectReplies", **somewhere)
        _, answer = await user.bot.post(json=expecting)
        assert NAME in answer["activities"][0]["text"]


async def test_a_token_of_the_channel_opens_the_door(
    guarded_bot: RunningBot, channel: FakeChannel
) -> None:
    user = User(guarded_bot, channel, token=channel.token(app_id=APP_ID))
    status, answer = await guarded_bot.post(
        json=user.activity(text="hello", channelId="test", deliveryMode="expectReplies"),
        token=user.token,
    )
    assert status == 200
    assert TRANSPORT in answer["activities"][0]["text"]


@pytest.mark.parametrize(
    "fault",
    [
        {"claims": {"aud": "another-bot"}},
        {"claims": {"aud": None}},
        {"claims": {"iss": "https://elsewhere.example"}},
        {"claims": {"iss": None}},
        {"claims": {"serviceurl": "https://elsewhere.example/"}},
        {"claims": {"serviceurl": None}},
        {"expires_in_seconds": -3600},
        {"key": SigningKey("first-key")},
        {"key": SigningKey("unknown-key")},
        {"headers": {"kid": None}},
    ],
    # The same in every process: the repr of a key has its address.
    ids=lambda fault: str({n: getattr(value, "key_id", value) for n, value in fault.items()}),
)
async def test_a_signed_token_with_a_fault_is_refused(
    guarded_bot: RunningBot, channel: FakeChannel, fault: dict[str, Any]
) -> None:
    user = User(guarded_bot, channel, token=channel.token(app_id=APP_ID, **fault))
    assert await user.send("hello") == 401


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        "a.b",
        "a.b.c",
        "e30.e30.",
        "é.é.é",
        unsigned_token({"alg": "none", "typ": "JWT"}, {"iss": "https://api.botframework.com"}),
        unsigned_token({"alg": "HS256", "kid": "first-key"}, {"aud": APP_ID}),
        unsigned_token([], []),
        unsigned_token({"alg": "RS256", "kid": 7}, "text"),
    ],
)
async def test_what_is_no_signed_token_is_refused(
    guarded_bot: RunningBot, channel: FakeChannel, token: str
) -> None:
    user = User(guarded_bot, channel, token=token)
    assert await user.send("hello") == 401
    assert user.heard == []


async def test_without_storage_nothing_is_sent_and_the_channel_may_try_again(
    channel: FakeChannel, storage_connection_string: str, tmp_path: Path
) -> None:
    connection_string, first_port = on_other_ports(storage_connection_string)
    settings = settings_on(connection_string)
    async with running_bot(settings, tmp_path) as bot:
        user = User(bot, channel)
        with azurite_at(first_port, tmp_path):
            await user.say("hello")
        async with running_bot(settings, tmp_path) as started_without:
            other_user = User(started_without, channel)
            statuses = await asyncio.gather(user.send("Car"), other_user.send("hello"))
            assert set(statuses) == {503}
            assert len(user.heard) == 1
            assert other_user.heard == []
            with azurite_at(first_port, tmp_path):
                assert NAME in (await user.say("Car"))[0]
                assert TRANSPORT in (await other_user.say("hello"))[0]


def on_other_ports(connection_string: str) -> tuple[str, int]:
    """The connection string of an Azurite that is not started yet, and its first port."""
    ports = re.findall(r":(\d+)/", connection_string)
    for port in ports:
        # Azurites of test runs start at every tenth port and take three: the fifth is free.
        connection_string = connection_string.replace(f":{port}/", f":{int(port) + 5}/")
    return connection_string, int(ports[0]) + 5


@contextmanager
def azurite_at(first_port: int, folder: Path) -> Iterator[None]:
    process = azurite.start(folder / "azurite", first_port)
    try:
        yield
    finally:
        processes.stop(process)
