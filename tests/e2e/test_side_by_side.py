"""The same bot on the SDK's own adapters and here: the channel gets the same.

Bots of the shapes of Microsoft's samples are told the same, over HTTP, and what comes of it is
compared: the requests to the channel and to the token service, in their order, and the answers to
what the channel sent. These differ on purpose, and are not compared:

- Here messages are held back until the turn is saved. Typing, requests that ask or begin something,
  and messages to other conversations go out at once, as on the SDK's adapters. So both kinds are
  compared apart.
- Teams' tenant, on CloudAdapter: it loses it, because it reads only `tenantID`, which nobody sends.
  Here replies and new conversations name their tenant, as on the older adapter.
"""

import gc
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession
from botframework.connector.auth import ChannelValidation

from tests.bots import (
    booking_bot,
    cards_bot,
    echo_bot,
    greeting_bot,
    notebook_bot,
    older_bot,
    reaching_bot,
    sign_in_bot,
    streaming_bot,
    survey_bot,
    teams_bot,
    tracing_bot,
    translating_bot,
)
from tests.e2e.running_bot import running_bot, settings_on
from tests.fake_channel import Received
from tests.fake_sign_in import CLIENTS_TOKEN, CODE, USERS_TOKEN, WITH_IDENTITY, FakeSignIn
from tests.offline_login import log_in_offline
from tests.sdk_bot import cloud_adapter, older_adapter, sdk_bot

CONVERSATION, APP_ID = "a conversation", reaching_bot.APP_ID


# Before the app is loaded: it knows the fake's keys and token service, and logs in at once.
@dataclass(frozen=True)
class Shape:
    """A bot, and what it is told, in order.

    Attributes:
        told: texts, or what differs from a plain message.
        fields: of all activities.
        adapter: makes the SDK's, of a channel and an app id.
        app_id: of the bot; with one, tokens are checked and shown.
    """

    bot: ModuleType
    told: Sequence[str | dict[str, Any]]
    fields: dict[str, Any] = field(default_factory=dict)
    adapter: Callable[[FakeSignIn, str], Any] = cloud_adapter
    app_id: str = ""

    @property
    def left_out(self) -> frozenset[str]:
        """Names of fields that are not compared."""
        return frozenset(
            {"timestamp", "tenantId"} if self.adapter is cloud_adapter else {"timestamp"}
        )


def invoke(name: str, value: Any) -> dict[str, Any]:
    return {"type": "invoke", "name": name, "value": value}


def joined(**member: str) -> dict[str, Any]:
    return {"type": "conversationUpdate", "membersAdded": [member, {"id": "the-bot"}]}


EMULATOR = {
    "channelId": "emulator",
    "locale": "en-US",
    "localTimestamp": "2026-03-01T12:00:00+01:00",
    "localTimezone": "Europe/Berlin",
    "timestamp": "2026-03-01T11:00:00.000Z",
    "textFormat": "plain",
    "channelData": {"clientActivityID": "1"},
    "entities": [{"type": "ClientCapabilities", "requiresBotState": True, "supportsTts": True}],
}
TEAMS: dict[str, Any] = {
    "channelId": "msteams",
    "conversation": {"id": CONVERSATION, "tenantId": "contoso", "conversationType": "personal"},
    "channelData": {"tenant": {"id": "contoso"}},
}
TEAM: dict[str, Any] = TEAMS | {
    "channelData": {"tenant": {"id": "contoso"}, "team": {"id": "19:team"}}
}
MENTION = {"type": "mention", "mentioned": {"id": "the-bot"}, "text": "<at>Bot</at>"}
CARD_ANSWER = {"value": {"choice": 1, "name": "Ada"}}
PICTURE = {"contentType": "image/png", "contentUrl": "https://files.example/1", "name": "1.png"}

TEAMS_TOLD = (
    "hello",
    "me",
    "members",
    "mention",
    {"text": "<at>Bot</at> hello", "entities": [MENTION]},
    {"text": "update", "replyToId": "a-card"},
    {"text": "delete", "replyToId": "a-card"},
    invoke("task/fetch", {"data": {"form": 1}, "context": {"theme": "dark"}}),
    invoke("task/submit", {"data": {"name": "Ada"}}),
    invoke("composeExtension/query", {"commandId": "find", "parameters": [{"value": "two"}]}),
    invoke("composeExtension/submitAction", {"commandId": "new", "data": {"name": "Ada"}}),
    invoke(
        "fileConsent/invoke",
        {"action": "accept", "uploadInfo": {"name": "a.txt", "contentUrl": "https://f.example"}},
    ),
    invoke("fileConsent/invoke", {"action": "neither"}),
    invoke("tab/fetch", {"tabContext": {"tabEntityId": "1"}}),
    {
        "type": "event",
        "name": "application/vnd.microsoft.meetingStart",
        "value": {"Id": "m", "Title": "The weekly"},
    },
)
SIGN_IN_TOLD = (
    "hello",
    "not a code",
    "hello",
    CODE,
    "again",
    "logout",
    "hello",
    {"type": "event", "name": "tokens/response", "value": {"token": USERS_TOKEN}},
)
SIGN_IN_TEAMS_TOLD = (
    "hello",
    invoke("signin/verifyState", {"state": "000000"}),
    invoke("signin/verifyState", {"state": CODE}),
    "logout",
    "hello",
    invoke(
        "signin/tokenExchange",
        {"id": "1", "connectionName": sign_in_bot.CONNECTION, "token": "of somebody else"},
    ),
    invoke(
        "signin/tokenExchange",
        {"id": "2", "connectionName": sign_in_bot.CONNECTION, "token": CLIENTS_TOKEN},
    ),
    "logout",
)

SHAPES = {
    "echo": Shape(echo_bot, ("one", "two", {"type": "typing"})),
    "expected replies": Shape(echo_bot, ("one",), {"deliveryMode": "expectReplies"}),
    "survey": Shape(survey_bot, ("hello", "Bus", "Ada", "old", "36", "again")),
    "all three states": Shape(notebook_bot, ("one", "two", "keep", "compare")),
    "cards": Shape(
        cards_bot,
        ("hero", "adaptive", "all", "picture", "?", CARD_ANSWER, {"attachments": [PICTURE]}),
    ),
    "emulator": Shape(tracing_bot, (joined(id="ann", name="Ann"), "one", "break", "two"), EMULATOR),
    "dialogs, emulator": Shape(booking_bot, ("hello", "a journey", "Paris", "cancel"), EMULATOR),
    "greeter": Shape(
        greeting_bot,
        (
            joined(id="ann", name="Ann"),
            "hello",
            "again",
            joined(id="bob", name="Bob"),
            {"type": "messageReaction", "reactionsAdded": [{"type": "like"}]},
            {"type": "conversationUpdate", "membersRemoved": [{"id": "bob"}]},
        ),
    ),
    "booking": Shape(
        booking_bot,
        (
            joined(id="ann", name="Ann"),
            "a journey",
            "Paris",
            "help",
            "third",
            "first",
            "yes",
            "another",
            "cancel",
            "hello",
        ),
    ),
    "translating": Shape(
        translating_bot,
        ("hello", {"text": "hello", "locale": "sdrawkcab"}, {"type": "typing"}, "hello"),
    ),
    # Not by updates: here the first chunk and its first update are one message.
    "stream, kept id": Shape(streaming_bot, ("streamId", "card", "first", "second")),
    "teams": Shape(teams_bot, TEAMS_TOLD, TEAMS),
    "teams, older adapter": Shape(teams_bot, TEAMS_TOLD, TEAMS, older_adapter),
    "a team": Shape(
        teams_bot,
        (
            "team",
            "members",
            joined(id="29:bob", name="Bob"),
            {
                "type": "conversationUpdate",
                "channelData": TEAM["channelData"]
                | {"eventType": "channelRenamed", "channel": {"id": "19:c", "name": "News"}},
            },
        ),
        TEAM,
        older_adapter,
    ),
    "reaching": Shape(
        reaching_bot,
        ("remember", {"text": "tell", "conversation": {"id": "another"}}, "begin"),
        app_id=APP_ID,
    ),
    "reaching in Teams": Shape(
        reaching_bot,
        ("remember", {"text": "tell", "conversation": {"id": "another"}}, "begin", "channel"),
        TEAMS,
        app_id=APP_ID,
    ),
    "older adapter": Shape(
        older_bot,
        ("hello", "members", "sender", "channel", "client"),
        TEAMS,
        older_adapter,
        APP_ID,
    ),
    "sign-in": Shape(sign_in_bot, SIGN_IN_TOLD, app_id=APP_ID),
    "sign-in in Teams": Shape(sign_in_bot, SIGN_IN_TEAMS_TOLD, TEAMS, app_id=APP_ID),
    "sign-in, older adapter": Shape(
        sign_in_bot, (*SIGN_IN_TOLD, *SIGN_IN_TEAMS_TOLD), TEAMS, older_adapter, APP_ID
    ),
}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the SDK closes no connection
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_the_channel_gets_the_same(
    shape: Shape,
    storage_connection_string: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in_offline(monkeypatch.setattr)
    # The older adapter writes its channel's keys there.
    monkeypatch.setattr(ChannelValidation, "open_id_metadata_endpoint", None)
    there = await told_there(shape)
    gc.collect()  # or its connections would be closed, with a warning, in some later test
    here = await told_here(shape, settings_on(storage_connection_string), tmp_path)
    assert any(each["held"] or each["answer"][1] for each in there), "nothing to compare"
    assert HTTPStatus.INTERNAL_SERVER_ERROR not in [each["answer"][0] for each in there]
    assert here == there


async def told_there(shape: Shape) -> list[Any]:
    """What the SDK's adapter makes of it."""
    async with FakeSignIn() as channel:
        adapter = shape.adapter(channel, shape.app_id)
        async with sdk_bot(shape.bot, adapter) as url:
            return await tell(shape, url, channel)


async def told_here(shape: Shape, settings: dict[str, str], folder: Path) -> list[Any]:
    """What we make of it."""
    async with FakeSignIn() as channel:
        changes = ""
        if shape.app_id:
            settings |= {"MicrosoftAppId": shape.app_id, "MicrosoftAppPassword": "no secret"}
            changes = WITH_IDENTITY.format(channel=channel)
        raises = shape.bot is tracing_bot  # on purpose: the log has its traceback
        async with running_bot(
            settings, folder, bot=shape.bot, changes=changes, may_fail=raises
        ) as bot:
            return await tell(shape, bot.url, channel)


async def tell(shape: Shape, url: str, channel: FakeSignIn) -> list[Any]:
    """Tells the bot all of it; returns what comes of each activity."""
    seen = []
    headers = {}
    if shape.app_id:
        headers["Authorization"] = f"Bearer {channel.token(app_id=shape.app_id)}"
    async with ClientSession(f"{url}/", headers=headers) as http:
        for number, words in enumerate(shape.told):
            activity = {
                "type": "message",
                "id": f"said-{number}",
                "channelId": "test",
                "serviceUrl": channel.service_url,
                "conversation": {"id": CONVERSATION},
                "from": {"id": "ann", "name": "Ann"},
                "recipient": {"id": "the-bot", "name": "Bot"},
                **shape.fields,
                **({"text": words} if isinstance(words, str) else words),
            }
            begun, asked = len(channel.requests), len(channel.asked)
            async with http.post("api/messages", json=activity) as answer:
                is_json = answer.content_type == "application/json"
                body = await answer.json() if is_json else None
            requests = channel.requests[begun:]
            held = [each for each in requests if is_held(each, activity["conversation"]["id"])]
            outcome = {
                "told": words,
                "answer": [answer.status, body],
                "held": [compared(each) for each in held],
                "at once": [compared(each) for each in requests if each not in held],
                "token service": channel.asked[asked:],
            }
            seen.append(plain(outcome, channel, shape.left_out))
    return seen


def is_held(request: Received, conversation: str) -> bool:
    """Whether the request is a message of the turn itself."""
    is_message = "/activities" in request.path and request.method != "GET"
    is_typing = request.body and request.body.get("type") == "typing"
    return is_message and not is_typing and request.conversation_id == conversation


def compared(request: Received) -> list[Any]:
    return [request.method, request.path, bool(request.authorization), request.body]


def plain(value: Any, channel: FakeSignIn, left_out: frozenset[str]) -> Any:
    """JSON without what differs from run to run: addresses, times, ids that are given.

    The SDK's traces of a dialog's state, for the Emulator, have addresses of objects in them.
    """
    text = json.dumps(value).replace(channel.url, "channel").replace("tenantID", "tenantId")
    text = re.sub(r"activity-\d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "an-id", text)
    text = re.sub(r"0x[0-9a-f]{8,}", "0x", text)
    return json.loads(
        text,
        object_hook=lambda fields: {n: item for n, item in fields.items() if n not in left_out},
    )
