"""What goes over the wire to a channel, and what comes of every kind of answer."""

import asyncio
import gc
import gzip
import json
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from botbuilder.schema import (
    Activity,
    ActivityTypes,
    Attachment,
    CardAction,
    ChannelAccount,
    ConversationAccount,
    ConversationParameters,
    Entity,
    HeroCard,
    Mention,
    SuggestedActions,
)
from botframework.connector.aio import ConnectorClient as SdkConnectorClient
from botframework.connector.auth import MicrosoftAppCredentials

from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import TokenSource
from shared.connector.hosts import PUBLIC_HOSTS, KnownHosts
from shared.connector.notices import NoticeSender
from shared.connector.operations import ConnectorClient
from shared.connector.service_urls import ServiceUrls
from shared.domain.reference import Reference
from shared.expiry.notice import Verdict
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation, no_limits
from tests.connect_proxy import ConnectProxy
from tests.fake_channel import Answer, FakeChannel, until
from tests.fixed_token import TOKEN, FixedToken

CONVERSATION = "a-conversation"


@pytest.fixture
async def nameless() -> AsyncIterator[Connector]:
    """The connector of a bot without an app id."""
    connector = Connector(TokenSource(app_id=""))
    yield connector
    await connector.close()


def message(conversation_id: str = CONVERSATION, **fields: Any) -> Activity:
    return Activity(
        type=ActivityTypes.message,
        text="hello",
        conversation=ConversationAccount(id=conversation_id),
        **fields,
    )


Operation = Callable[[Any], Coroutine[Any, Any, Any]]

OPERATIONS: list[tuple[Operation, str, str]] = [
    (
        lambda c: c.conversations.create_conversation(
            ConversationParameters(bot=ChannelAccount(id="b"), topic_name="t")
        ),
        "POST",
        "",
    ),
    (
        lambda c: c.conversations.send_to_conversation("c/1", message()),
        "POST",
        "/c%2F1/activities",
    ),
    (
        lambda c: c.conversations.reply_to_activity("c/1", "a/2", message()),
        "POST",
        "/c%2F1/activities/a%2F2",
    ),
    (
        lambda c: c.conversations.update_activity("c/1", "a/2", message()),
        "PUT",
        "/c%2F1/activities/a%2F2",
    ),
    (
        lambda c: c.conversations.delete_activity("c/1", "a/2"),
        "DELETE",
        "/c%2F1/activities/a%2F2",
    ),
    (lambda c: c.conversations.get_conversation_members("c/1"), "GET", "/c%2F1/members"),
    (
        lambda c: c.conversations.get_conversation_member("c/1", "u/3"),
        "GET",
        "/c%2F1/members/u%2F3",
    ),
    (lambda c: c.conversations.get_conversation_paged_members("c/1"), "GET", "/c%2F1/pagedmembers"),
    (
        lambda c: c.conversations.get_conversation_paged_members("c/1", 5, "next&page"),
        "GET",
        "/c%2F1/pagedmembers?pageSize=5&continuationToken=next%26page",
    ),
    (
        lambda c: c.conversations.get_activity_members("c/1", "a/2"),
        "GET",
        "/c%2F1/activities/a%2F2/members",
    ),
]


def sdk_client(channel: FakeChannel) -> SdkConnectorClient:
    return SdkConnectorClient(MicrosoftAppCredentials("", ""), base_url=channel.service_url)


@pytest.mark.parametrize(("operation", "method", "path"), OPERATIONS)
async def test_every_operation_asks_and_returns_what_the_sdks_does(
    channel: FakeChannel, nameless: Connector, operation: Operation, method: str, path: str
) -> None:
    sdk = sdk_client(channel)
    theirs = await operation(sdk)
    await sdk.__aexit__(None, None, None)
    ours = await operation(ConnectorClient(nameless, channel.service_url))
    reference, request = channel.requests
    assert (request.method, request.path) == (method, f"/channel/v3/conversations{path}")
    assert (request.method, request.path, request.body) == (
        reference.method,
        reference.path,
        reference.body,
    )
    assert type(ours) is type(theirs)
    if method == "GET":  # the others' results hold the number of the request
        assert ours == theirs


RICH = message(
    id="activity-1",
    timestamp=datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC),
    from_property=ChannelAccount(id="bot", name="Bot", role="bot"),
    recipient=ChannelAccount(id="user", aad_object_id="aad"),
    locale="de-DE",
    importance="high",
    members_added=[],
    channel_data={"kept": None, "nested": {"list": [1, None, "ü"], "card": HeroCard(title="t")}},
    value=0,
    suggested_actions=SuggestedActions(
        to=["user"], actions=[CardAction(type="imBack", title="Bus", value="Bus")]
    ),
    attachments=[
        Attachment(content_type="x/card", content={"n": None, "body": [1, None]}),
        Attachment(content_type="x/hero", content=HeroCard(title="t", buttons=[CardAction()])),
        Attachment(content_type="image/png", content_url="https://example/p.png"),
    ],
    entities=[Mention(mentioned=ChannelAccount(id="user"), text="<at>u</at>", type="mention")],
)


@pytest.mark.parametrize("activity", [message(), RICH, Activity()], ids=["plain", "rich", "empty"])
async def test_an_activitys_wire_form_is_the_sdks(
    channel: FakeChannel, nameless: Connector, activity: Activity
) -> None:
    sdk = sdk_client(channel)
    await sdk.conversations.send_to_conversation(CONVERSATION, activity)
    await sdk.__aexit__(None, None, None)
    client = ConnectorClient(nameless, channel.service_url)
    await client.conversations.send_to_conversation(CONVERSATION, activity)
    theirs, ours = channel.sent_to(CONVERSATION)
    assert ours == theirs


@pytest.mark.parametrize("others", [{}, {"tenantId": "contoso"}, {"tenantId": "fabrikam"}])
async def test_a_tenant_goes_out_once_under_the_channels_name(
    channel: FakeChannel, client: ConnectorClient, others: dict[str, str]
) -> None:
    activity = message()
    activity.conversation.tenant_id = "contoso"
    activity.conversation.additional_properties = others
    await client.send(activity)
    (sent,) = channel.sent_to(CONVERSATION)
    assert sent["conversation"] == {"id": CONVERSATION, "tenantId": "contoso"}


async def test_properties_that_the_schema_does_not_know_are_kept(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    entity = Entity.deserialize({"type": "https://schema.org/Message", "citation": [{"a": 1}]})
    await client.send(message(entities=[entity]))
    (sent,) = channel.sent_to(CONVERSATION)
    assert sent["entities"] == [{"type": "https://schema.org/Message", "citation": [{"a": 1}]}]


async def test_a_reply_goes_to_the_activity_it_answers(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    response = await client.send(message(reply_to_id="42"))
    assert channel.requests[0].path.endswith(f"/{CONVERSATION}/activities/42")
    assert response.id == "activity-1"


async def test_what_answers_nothing_goes_to_the_end_of_the_conversation(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    await client.send(message())
    assert channel.requests[0].path.endswith(f"/{CONVERSATION}/activities")


@pytest.mark.parametrize(
    "conversation_id",
    ["a/b", "a\\b", "a#b", "a?b", "a%b", "a%2Fb", "a b", "a+b", "a;b=c", "ü", "😀", "a\nb", "~a.b"],
)
async def test_ids_of_any_shape_arrive_whole(
    channel: FakeChannel, client: ConnectorClient, conversation_id: str
) -> None:
    await client.send(message(conversation_id))
    assert channel.requests[0].conversation_id == conversation_id
    assert channel.requests[0].path.count("/") == 5


@pytest.mark.parametrize("end", ["", "/", "//"])
async def test_a_service_url_may_end_in_a_slash_or_not(
    channel: FakeChannel, connector: Connector, end: str
) -> None:
    await ConnectorClient(connector, f"{channel.url}/amer/tenant{end}").send(message())
    assert channel.requests[0].path == f"/amer/tenant/v3/conversations/{CONVERSATION}/activities"


async def test_the_token_goes_along(channel: FakeChannel, client: ConnectorClient) -> None:
    await client.send(message())
    assert channel.requests[0].authorization == f"Bearer {TOKEN}"


async def test_without_an_app_id_no_token_goes_along(
    channel: FakeChannel, nameless: Connector
) -> None:
    await ConnectorClient(nameless, channel.service_url).send(message())
    assert channel.requests[0].authorization is None


@pytest.mark.parametrize(
    "service_url",
    [
        "",
        None,
        "smba.trafficmanager.net/amer",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://[::1",
        "https://host:port/",
        "https://user:password@host/",
        "https://host/?query",
        "https://host/#fragment",
        "urn:botframework:websocket:1",
    ],
)
async def test_what_is_no_web_address_is_an_error_at_once(
    connector: Connector, service_url: Any
) -> None:
    with pytest.raises(ConnectorError, match="service URL") as caught:
        await ConnectorClient(connector, service_url).send(message())
    assert caught.value.status is None


async def test_a_token_never_travels_unencrypted(connector: Connector) -> None:
    with pytest.raises(ConnectorError, match="not https"):
        await ConnectorClient(connector, "http://smba.example/amer").send(message())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_ones_own_machine_needs_no_encryption(
    channel: FakeChannel, connector: Connector, host: str
) -> None:
    await ConnectorClient(connector, channel.url.replace("127.0.0.1", host)).send(message())
    assert len(channel.requests) == 1


async def test_a_bot_without_an_app_id_has_nothing_to_encrypt(nameless: Connector) -> None:
    with pytest.raises(ConnectorError, match=r"no answer from host\.invalid"):
        await ConnectorClient(nameless, "http://host.invalid/").send(message())


async def test_channels_are_reached_over_tls() -> None:
    async with FakeChannel(tls=True) as channel:
        connector = Connector(FixedToken(), ssl_context=channel.ssl_context)
        await ConnectorClient(connector, channel.service_url).send(message())
        await connector.close()
        assert channel.requests[0].authorization == f"Bearer {TOKEN}"


async def test_a_channel_with_an_unknown_certificate_gets_nothing(connector: Connector) -> None:
    async with FakeChannel(tls=True) as channel:
        with pytest.raises(ConnectorError, match="Certificate") as caught:
            await ConnectorClient(connector, channel.service_url).send(message())
        assert channel.requests == []
        assert not caught.value.connection_failed  # another attempt would not help


async def test_all_service_urls_share_connections(
    channel: FakeChannel, connector: Connector
) -> None:
    for tenant in range(5):
        await ConnectorClient(connector, f"{channel.url}/{tenant}").send(message())
    assert channel.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(body={"error": {"code": "BotNotInRoster", "message": "gone"}}), "BotNotInRoster"),
        (Answer(body={"error": {"code": 17}}), "17"),
        (Answer(body={"error": {}}), None),
        (Answer(body={"error": "text"}), None),
        (Answer(body=[]), None),
        (Answer(body=b"<html></html>", headers={"Content-Type": "text/html"}), None),
        (Answer(body=b"", headers={"Content-Type": "application/json"}), None),
        (Answer(body=b"\xff\xfe", headers={"Content-Type": "application/json"}), None),
    ],
    ids=["json", "number", "no code", "text", "list", "html", "empty", "not utf-8"],
)
async def test_a_refusal_keeps_its_status_whatever_its_body(
    channel: FakeChannel, client: ConnectorClient, status: int, answer: Answer, code: str | None
) -> None:
    channel.answers[CONVERSATION] = [replace(answer, status=status)]
    with pytest.raises(ConnectorError, match=str(status)) as caught:
        await client.send(message())
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(channel.requests) == 1  # nothing is retried


async def test_an_error_says_little_and_never_the_token(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    text = f"you sent {TOKEN}\n" + "x" * 10_000
    channel.answers[CONVERSATION] = [Answer(400, {"error": {"code": "Bad", "message": text}})]
    with pytest.raises(ConnectorError) as caught:
        await client.send(message())
    assert len(str(caught.value)) < 250
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    channel: FakeChannel, client: ConnectorClient, status: int
) -> None:
    async with FakeChannel() as elsewhere:
        channel.answers[CONVERSATION] = [
            Answer(status, headers={"Location": elsewhere.service_url})
        ]
        with pytest.raises(ConnectorError) as caught:
            await client.send(message())
        assert caught.value.status == status
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Fri, 01 Jan 2021 00:00:00 GMT", 0),
        ("Fri, 99 Jan 2021 00:00:00 GMT", None),
    ],
)
async def test_retry_after_is_read_as_seconds(
    channel: FakeChannel, client: ConnectorClient, value: str, seconds: float | None
) -> None:
    channel.answers[CONVERSATION] = [Answer(429, headers={"Retry-After": value})]
    with pytest.raises(ConnectorError) as caught:
        await client.send(message())
    assert caught.value.retry_after_seconds == seconds


async def test_retry_after_may_be_a_date_to_come(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    channel.answers[CONVERSATION] = [Answer(503, headers={"Retry-After": date})]
    with pytest.raises(ConnectorError) as caught:
        await client.send(message())
    assert caught.value.retry_after_seconds is not None
    assert 3000 < caught.value.retry_after_seconds <= 3600


async def test_no_retry_after_is_none(channel: FakeChannel, client: ConnectorClient) -> None:
    channel.answers[CONVERSATION] = [Answer(429)]
    with pytest.raises(ConnectorError) as caught:
        await client.send(message())
    assert caught.value.retry_after_seconds is None


async def test_a_dropped_connection_is_no_answer(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    channel.answers[CONVERSATION] = [Answer(drop=True)]
    with pytest.raises(ConnectorError, match="no answer") as caught:
        await client.send(message())
    assert caught.value.status is None
    assert caught.value.connection_failed
    assert len(channel.requests) == 1


async def test_a_refused_connection_is_no_answer(connector: Connector) -> None:
    async with FakeChannel() as gone:
        pass
    with pytest.raises(ConnectorError, match="no answer") as caught:
        await ConnectorClient(connector, gone.service_url).send(message())
    assert caught.value.status is None
    assert caught.value.connection_failed


@pytest.mark.parametrize("status", [201, 403, 503])
async def test_an_answer_that_breaks_off_keeps_its_status(
    channel: FakeChannel, client: ConnectorClient, status: int
) -> None:
    channel.answers[CONVERSATION] = [Answer(status, {"id": "1"}, cut=True)]
    if status == 201:
        assert (await client.send(message())).id == ""
        return
    with pytest.raises(ConnectorError) as caught:
        await client.send(message())
    assert caught.value.status == status
    assert not caught.value.connection_failed


async def test_a_channel_that_hangs_is_given_up(channel: FakeChannel) -> None:
    connector = Connector(FixedToken(), total_timeout_seconds=0.3)
    channel.answers["hanging"] = [Answer(hang=True)]
    with pytest.raises(ConnectorError, match=r"within 0\.3 seconds") as caught:
        await ConnectorClient(connector, channel.service_url).send(message("hanging"))
    assert caught.value.status is None
    assert not caught.value.connection_failed
    await connector.close()


async def test_a_connection_that_takes_too_long_to_open_has_failed(channel: FakeChannel) -> None:
    connector = Connector(FixedToken(), connect_timeout_seconds=1e-9)
    with pytest.raises(ConnectorError, match="no answer") as caught:
        await ConnectorClient(connector, channel.service_url).send(message())
    assert caught.value.connection_failed
    await connector.close()


async def test_channels_that_hang_do_not_hold_up_the_others(
    channel: FakeChannel, client: ConnectorClient
) -> None:
    channel.answers["hanging"] = [Answer(hang=True)]
    hanging = [asyncio.create_task(client.send(message("hanging"))) for _ in range(50)]
    await until(lambda: len(channel.requests) == 50)
    await client.send(message())
    assert not any(task.done() for task in hanging)
    for task in hanging:
        task.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200),
        Answer(202, b"<html></html>", {"Content-Type": "text/html"}),
        Answer(204),
        Answer(200, []),
        Answer(200, {"id": None}),
    ],
    ids=["empty", "html", "204", "a list", "null id"],
)
async def test_a_success_without_an_id_is_a_success(
    channel: FakeChannel, client: ConnectorClient, answer: Answer
) -> None:
    channel.answers[CONVERSATION] = [answer]
    assert (await client.send(message())).id == ""


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"id": {}}', b"[7]"])
async def test_members_that_cannot_be_read_are_an_error(
    channel: FakeChannel, client: ConnectorClient, body: bytes
) -> None:
    channel.answers[CONVERSATION] = [Answer(200, body)]
    with pytest.raises(ConnectorError):
        await client.conversations.get_conversation_members(CONVERSATION)


@pytest.mark.parametrize(
    "activity",
    [message("lone surrogate \ud800"), message(timestamp="not a date")],
    ids=["id", "field"],
)
async def test_what_cannot_be_written_is_not_sent(
    channel: FakeChannel, client: ConnectorClient, activity: Activity
) -> None:
    with pytest.raises(ConnectorError, match="cannot be sent"):
        await client.send(activity)
    assert channel.requests == []


async def test_a_proxy_of_the_environment_is_used(
    channel: FakeChannel, nameless: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", channel.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    await ConnectorClient(nameless, "http://behind-the-proxy.example/").send(message())
    assert channel.requests[0].path.startswith("http://behind-the-proxy.example/v3/")


async def test_the_notices_of_all_sweeps_share_connections() -> None:
    async with FakeChannel(tls=True) as channel:
        connector = Connector(FixedToken(), ssl_context=channel.ssl_context)
        bot = BotInMemory(FunctionBot(count_in_conversation))
        for conversation in ("one", "two"):
            await bot.say(conversation={"id": conversation}, serviceUrl=channel.service_url)
            bot.clock.sleep(200)
            report = await bot.sweep(NoticeSender(connector, ServiceUrls(), no_limits()))
            assert report.notified == 1
        await connector.close()
        assert [each.conversation_id for each in channel.requests] == ["one", "two"]
        assert channel.connections == 1


async def test_https_goes_through_a_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeChannel(tls=True) as channel, ConnectProxy(channel.url) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        hosts = KnownHosts(["channel.example"], loopback=True)
        connector = Connector(FixedToken(), ssl_context=channel.ssl_context, hosts=hosts)
        await ConnectorClient(connector, "https://channel.example/amer").send(message())
        await ConnectorClient(connector, channel.service_url).send(message())
        await connector.close()
        assert proxy.asked == ["channel.example:443"]
        assert [request.authorization for request in channel.requests] == [f"Bearer {TOKEN}"] * 2


async def test_closing_leaves_nothing_behind() -> None:
    async with FakeChannel(tls=True) as channel:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            connector = Connector(FixedToken(), ssl_context=channel.ssl_context)
            client = ConnectorClient(connector, channel.service_url)
            await asyncio.gather(*(client.send(message()) for _ in range(5)))
            channel.answers["hanging"] = [Answer(hang=True)]
            hanging = asyncio.create_task(client.send(message("hanging")))
            await until(lambda: len(channel.requests) == 6)
            await connector.close()
            with pytest.raises(ConnectorError):
                await hanging
            del connector, client, hanging
            gc.collect()
    assert [str(warning.message) for warning in seen] == []


async def test_a_netrc_file_does_not_get_in_the_way(
    channel: FakeChannel,
    client: ConnectorClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await client.send(message())
    assert channel.requests[0].authorization == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.trafficmanager.net",
        "smba.trafficmanager.net.evil.example",
        "botframework.com.evil.example",
        "evilbotframework.com",
        "169.254.169.254",
    ],
)
async def test_the_token_goes_to_known_hosts_only(connector: Connector, host: str) -> None:
    with pytest.raises(ConnectorError, match="AllowedServiceHosts"):
        await ConnectorClient(connector, f"https://{host}/").send(message())


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("smba.trafficmanager.net", True),
        ("SMBA.trafficmanager.net.", True),
        ("europe.directline.botframework.com", True),
        ("smba.infra.gcc.teams.microsoft.com", True),
        ("bot.private.example", True),
        ("a.private.example", False),
        ("a.b.wild.example", True),
        ("wild.example", False),
        ("127.0.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_known_hosts_are_the_channels_and_those_that_are_added(host: str, is_known: bool) -> None:
    hosts = KnownHosts([*PUBLIC_HOSTS, "bot.private.example", "*.wild.example"])
    assert hosts.has(host) is is_known


def test_this_machine_is_known_in_development() -> None:
    hosts = KnownHosts([], loopback=True)
    assert all(hosts.has(host) for host in ("127.0.0.1", "localhost", "::1"))


async def test_production_sends_no_token_to_this_machine(channel: FakeChannel) -> None:
    connector = Connector(FixedToken(), hosts=KnownHosts(PUBLIC_HOSTS))
    with pytest.raises(ConnectorError, match="AllowedServiceHosts"):
        await ConnectorClient(connector, channel.service_url).send(message())
    await connector.close()
    assert channel.requests == []


@pytest.mark.parametrize("is_anonymous", [True, False])
async def test_an_address_that_nobody_vouches_for_gets_no_token(
    channel: FakeChannel, connector: Connector, *, is_anonymous: bool
) -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    await bot.say(serviceUrl=channel.service_url)
    row = await bot.row()
    assert row is not None
    assert row.reference is not None
    assert row.reference.is_anonymous  # the bot in memory has no app id
    stored = Reference.from_json(row.reference.to_json())
    reference = replace(stored, is_anonymous=is_anonymous)
    await NoticeSender(connector, ServiceUrls(), no_limits())(replace(row, reference=reference))
    (request,) = channel.requests
    assert (request.authorization is None) is is_anonymous


async def test_a_401_of_an_anonymous_address_does_not_stop_the_sweep(
    channel: FakeChannel, connector: Connector
) -> None:
    channel.default_answers = [Answer(401)]
    bot = BotInMemory(FunctionBot(count_in_conversation))
    await bot.say(serviceUrl=channel.service_url)
    row = await bot.row()
    assert row is not None
    result = await NoticeSender(connector, ServiceUrls(), no_limits())(row)
    assert result.verdict is Verdict.DEAD


@pytest.mark.parametrize("identifier", [".", ".."])
async def test_dots_in_ids_are_no_steps_in_the_path(
    channel: FakeChannel, client: ConnectorClient, identifier: str
) -> None:
    await client.send(message(identifier))
    (request,) = channel.requests
    escaped = identifier.replace(".", "%2E")
    assert request.path == f"/channel/v3/conversations/{escaped}/activities"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"id": "1"}' + b" " * 2**20, b"{", b"\xff"])
async def test_a_message_that_was_taken_is_sent_whatever_the_answers_body(
    channel: FakeChannel, client: ConnectorClient, body: bytes
) -> None:
    channel.default_answers = [Answer(200, body)]
    assert (await client.send(message())).id == ""


@pytest.mark.parametrize(
    "error", [{"code": [[[[1]]]]}, {"code": {"a": 1}}, {"code": "x" * 100_000, "message": [1]}]
)
async def test_a_refusals_words_are_short(
    channel: FakeChannel, client: ConnectorClient, error: dict[str, Any]
) -> None:
    channel.default_answers = [Answer(403, {"error": error})]
    with pytest.raises(ConnectorError) as caught:
        await client.send(message())
    assert len(caught.value.code or "") <= 200
    assert len(str(caught.value)) < 300


async def test_answers_are_not_unpacked(channel: FakeChannel, client: ConnectorClient) -> None:
    packed = gzip.compress(json.dumps({"id": "1"}).encode())
    channel.default_answers = [Answer(200, packed, {"Content-Encoding": "gzip"})]
    assert (await client.send(message())).id == ""


async def test_one_host_that_hangs_leaves_room_for_the_others(channel: FakeChannel) -> None:
    connector = Connector(FixedToken(), connection_limit=4)
    channel.answers["hanging"] = [Answer(hang=True)]
    client = ConnectorClient(connector, channel.service_url)
    hanging = [asyncio.create_task(client.send(message("hanging"))) for _ in range(8)]
    await until(lambda: len(channel.requests) == 2)
    async with FakeChannel() as other:
        await ConnectorClient(connector, other.service_url).send(message())
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await connector.close()


# Other event loops


async def test_a_send_from_another_loop_or_thread_is_carried_over(
    connector: Connector, channel: FakeChannel
) -> None:
    client = ConnectorClient(connector, channel.service_url)

    def send(text: str) -> str:
        message = Activity(type=ActivityTypes.message, text=text)
        sent = asyncio.run(client.conversations.send_to_conversation(CONVERSATION, message))
        return str(sent.id)

    ids = [await asyncio.to_thread(send, "first of all")]
    message = Activity(type=ActivityTypes.message, text="in between")
    await client.conversations.send_to_conversation(CONVERSATION, message)
    ids += await asyncio.gather(*(asyncio.to_thread(send, f"{n}") for n in range(5)))
    heard = [body["text"] for body in channel.sent_to(CONVERSATION)]
    assert heard[:2] == ["first of all", "in between"]
    assert sorted(heard[2:]) == list("01234")
    assert all(ids)


async def test_an_error_reaches_the_other_loop(
    connector: Connector,
) -> None:
    nobody = ConnectorClient(connector, "http://127.0.0.1:9/")

    def send() -> None:
        asyncio.run(nobody.conversations.delete_activity(CONVERSATION, "7"))

    with pytest.raises(ConnectorError, match="no answer"):
        await asyncio.to_thread(send)
