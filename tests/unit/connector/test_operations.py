"""Operations that bots use beside sending: they ask and return what those of the SDK do."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from botbuilder.core import BotAdapter, TurnContext
from botbuilder.core.teams import TeamsInfo
from botbuilder.schema import Activity, AttachmentData, ConversationAccount
from botbuilder.schema.teams import (
    MeetingNotificationBase,
    TeamDetails,
    TeamsMeetingParticipant,
    TeamsPagedMembersResult,
)
from botframework.connector.aio import ConnectorClient as SdkConnectorClient
from botframework.connector.auth import MicrosoftAppCredentials
from botframework.connector.teams import TeamsConnectorClient

from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.operations import ConnectorClient
from tests.fake_channel import Answer, FakeChannel
from tests.fixed_token import TOKEN

Operation = Callable[[Any], Coroutine[Any, Any, Any]]

MEMBERS = {"members": [{"id": "29:ada", "userPrincipalName": "ada@example.com"}]}
UPLOAD = AttachmentData(type="text/plain", name="a.txt", original_base64=bytearray(b"\0\xff ab"))

OPERATIONS: list[tuple[Operation, Any]] = [
    (lambda c: c.conversations.get_conversations(), {"conversations": [{"id": "a"}]}),
    (lambda c: c.conversations.get_conversations("next&page"), {"continuationToken": "x"}),
    (lambda c: c.conversations.get_teams_conversation_paged_members("c/1"), MEMBERS),
    (lambda c: c.conversations.get_teams_conversation_paged_members("c/1", 5, "n"), MEMBERS),
    (lambda c: c.conversations.delete_conversation_member("c/1", "u/3"), {}),
    (lambda c: c.conversations.send_conversation_history("c/1", []), {"id": "7"}),
    (
        lambda c: c.conversations.send_conversation_history(
            "c/1", [Activity(type="message", text="earlier")]
        ),
        {"id": "7"},
    ),
    (lambda c: c.conversations.upload_attachment("c/1", UPLOAD), {"id": "7"}),
    (
        lambda c: c.attachments.get_attachment_info("a/1"),
        {"name": "a.txt", "type": "text/plain", "views": [{"viewId": "original", "size": 3}]},
    ),
]


@pytest.mark.parametrize(("operation", "answer"), OPERATIONS)
async def test_it_asks_and_returns_what_the_sdks_does(
    channel: FakeChannel, client: ConnectorClient, operation: Operation, answer: Any
) -> None:
    channel.default_answers = channel.answers["c/1"] = [Answer(200, answer)]
    sdk = SdkConnectorClient(MicrosoftAppCredentials("", ""), base_url=channel.service_url)
    theirs = await operation(sdk)
    await sdk.__aexit__(None, None, None)
    ours = await operation(client)
    reference, request = channel.requests
    assert (request.method, request.path) == (reference.method, reference.path)
    assert request.body == reference.body
    assert type(ours) is type(theirs)
    assert ours == theirs


@pytest.mark.parametrize(
    ("operation", "answer", "request_line"),
    [
        (lambda c: c.teams.get_team_details("19:t"), {"id": "19:t"}, "GET /v3/teams/19%3At"),
        (
            lambda c: c.teams.get_teams_channels("19:t"),
            {"conversations": [{"id": "19:c"}]},
            "GET /v3/teams/19%3At/conversations",
        ),
        (
            lambda c: c.teams.fetch_meeting("m/="),
            {"details": {"id": "m"}},
            "GET /v1/meetings/m%2F%3D",
        ),
        (
            lambda c: c.teams.fetch_participant("m", "p", "t"),
            {"user": {"id": "29:ada"}, "meeting": {"role": "Organizer"}},
            "GET /v1/meetings/m/participants/p?tenantId=t",
        ),
        (
            lambda c: c.teams.send_meeting_notification(
                "m",
                MeetingNotificationBase(type="targeted"),
            ),
            {},
            "POST /v1/meetings/m/notification",
        ),
    ],
)
async def test_what_teams_alone_has(
    channel: FakeChannel,
    client: ConnectorClient,
    operation: Operation,
    answer: Any,
    request_line: str,
) -> None:
    channel.default_answers = [Answer(200, answer)]
    result = await operation(client)
    (request,) = channel.requests
    assert f"{request.method} {request.path}" == request_line.replace(" /", " /channel/")
    assert request.authorization == f"Bearer {TOKEN}"
    assert result.serialize() == answer


async def test_further_headers_go_along_but_none_takes_the_tokens_place(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    headers = {"authorization": "Bearer another", "X-Trace": "7", "accept": "application/pdf"}
    await client.conversations.get_conversation_members("c/1", custom_headers=headers)
    (request,) = channel.requests
    assert request.authorization == f"Bearer {TOKEN}"
    assert request.headers["x-trace"] == "7"
    assert request.headers["accept"] == "application/pdf"


async def test_a_file_comes_in_chunks(channel: FakeChannel, client: ConnectorClient) -> None:
    content = bytes(range(256)) * 8192  # more than an answer in JSON may have
    channel.default_answers = [Answer(200, content)]
    chunks = [chunk async for chunk in await client.attachments.get_attachment("a/1", "original")]
    assert b"".join(chunks) == content
    assert channel.requests[0].path == "/channel/v3/attachments/a%2F1/views/original"


async def test_a_file_read_on_another_loop_comes_over_the_connections_of_this_one(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    channel.default_answers = [Answer(200, b"content")]

    async def read() -> bytes:
        file = await client.attachments.get_attachment("a", "v")
        return b"".join([chunk async for chunk in file])

    first_of_all = await asyncio.to_thread(lambda: asyncio.run(read()))
    assert (first_of_all, await read()) == (b"content", b"content")
    assert len({request.connection for request in channel.requests}) == 1


@pytest.mark.parametrize(
    ("answer", "words"), [(Answer(404, {"error": {"code": "Gone"}}), "404 'Gone"), (None, "no ans")]
)
async def test_a_file_that_does_not_come_is_an_error(
    channel: FakeChannel, client: ConnectorClient, answer: Answer | None, words: str
) -> None:
    channel.default_answers = [answer or Answer(200, b"x", drop=True)]
    with pytest.raises(ConnectorError, match=words):
        [chunk async for chunk in await client.attachments.get_attachment("a", "v")]


@pytest.mark.parametrize("url", ["https://evil.example/", "http://smba.trafficmanager.net/"])
async def test_no_operation_shows_a_stranger_the_token(connector: Connector, url: str) -> None:
    client = ConnectorClient(connector, url)
    with pytest.raises(ConnectorError, match="token stays here"):
        await client.teams.get_team_details("t")
    with pytest.raises(ConnectorError, match="token stays here"):
        [chunk async for chunk in await client.attachments.get_attachment("a", "v")]
    blocking = TeamsConnectorClient(client.config.credentials, client.config.base_url)
    with pytest.raises(CredentialError, match="token stays here"):
        await asyncio.to_thread(blocking.teams.get_team_details, "t")


# TeamsInfo, as bots call it. It may block, so it runs in a thread here.


def in_teams(client: ConnectorClient) -> TurnContext:
    adapter: Any = None
    context = TurnContext(
        adapter or BotAdapterOfNobody(),
        Activity(
            type="message",
            service_url=client.service_url,
            conversation=ConversationAccount(id="19:talk"),
            channel_data={"team": {"id": "19:team"}, "meeting": {"id": "m"}, "tenant": {"id": "t"}},
        ),
    )
    context.turn_state[BotAdapter.BOT_CONNECTOR_CLIENT_KEY] = client
    return context


class BotAdapterOfNobody(BotAdapter):
    """Sends nothing."""

    async def send_activities(self, *_: Any) -> Any: ...
    async def update_activity(self, *_: Any) -> Any: ...
    async def delete_activity(self, *_: Any) -> Any: ...


@pytest.mark.parametrize(
    ("ask", "answer", "kind"),
    [
        (TeamsInfo.get_team_details, {"id": "19:team"}, TeamDetails),
        (TeamsInfo.get_team_channels, {"conversations": [{"id": "19:c"}]}, list),
        (TeamsInfo.get_paged_members, MEMBERS, TeamsPagedMembersResult),
        (TeamsInfo.get_paged_team_members, MEMBERS, TeamsPagedMembersResult),
        (
            lambda context: TeamsInfo.get_meeting_participant(context, participant_id="p"),
            {"user": {"id": "29:ada"}},
            TeamsMeetingParticipant,
        ),
    ],
)
async def test_teams_info_works(
    channel: FakeChannel, client: ConnectorClient, ask: Operation, answer: Any, kind: type
) -> None:
    channel.default_answers = channel.answers["19:team"] = [Answer(200, answer)]
    found = await asyncio.to_thread(lambda: asyncio.run(ask(in_teams(client))))
    assert isinstance(found, kind)
    assert channel.requests[0].authorization == f"Bearer {TOKEN}"
