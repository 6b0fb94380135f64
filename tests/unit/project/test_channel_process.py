"""The fake channel as a process: what it is told from outside is what it does."""

from collections import Counter
from collections.abc import Iterator

import pytest
from botbuilder.schema import Activity, ConversationAccount

from shared.connector.client import Connector, ConnectorError
from shared.connector.credentials import TokenSource
from shared.connector.operations import ConnectorClient
from tests.channel_process import FakeChannelProcess
from tests.fake_channel import Answer
from tests.rate_limits import RateLimits

pytestmark = pytest.mark.slow  # each of them starts processes


@pytest.fixture(scope="module")
def process() -> Iterator[FakeChannelProcess]:
    with FakeChannelProcess() as process:
        yield process


@pytest.fixture
def channel(process: FakeChannelProcess) -> FakeChannelProcess:
    process.reset()
    return process


async def send(channel: FakeChannelProcess, conversation: str, times: int = 1) -> Counter[object]:
    """Send some messages; returns what came of them: None, a status, or "no answer"."""
    connector = Connector(TokenSource(app_id=""), total_timeout_seconds=5)
    client = ConnectorClient(connector, channel.service_url)
    outcomes: Counter[object] = Counter()
    for _ in range(times):
        try:
            await client.send(
                Activity(
                    type="message",
                    conversation=ConversationAccount(id=conversation, tenant_id="contoso"),
                )
            )
            outcomes[None] += 1
        except ConnectorError as error:
            outcomes[error.status or "no answer"] += 1
    await connector.close()
    return outcomes


async def test_answers_are_told_apart_by_conversation_and_by_pattern(
    channel: FakeChannelProcess,
) -> None:
    channel.set(
        answers={"bad-1": [Answer(404)]},
        pattern_answers={"bad-.*": [Answer(403, "<html></html>")], "gone": [Answer(drop=True)]},
    )
    for conversation, outcome in (
        ("bad-1", 404),
        ("bad-2", 403),
        ("not-bad-3", None),
        ("gone", "no answer"),
    ):
        assert await send(channel, conversation) == {outcome: 1}
    channel.reset()
    assert await send(channel, "bad-1") == {None: 1}


async def test_an_answer_may_come_to_a_part_of_the_requests_only(
    channel: FakeChannelProcess,
) -> None:
    channel.set(default_answers=[Answer(503, chance=0.5)])
    outcomes = await send(channel, "talk", times=60)
    assert set(outcomes) == {None, 503}


async def test_everything_received_is_on_record_with_its_outcome(
    channel: FakeChannelProcess,
) -> None:
    channel.set(limits=RateLimits(windows=((600, 2),)))
    assert await send(channel, "talk", times=3) == {None: 2, 429: 1}
    record = channel.record()
    assert [request.status for request in record.requests] == [201, 201, 429]
    assert record.breaches == {"thread": 1}
    times = [request.at for request in record.requests]
    assert times == sorted(times)
    assert [request.status for request in channel.record(since=2).requests] == [429]


async def test_a_tenants_limit_holds_across_conversations(channel: FakeChannelProcess) -> None:
    channel.set(limits=RateLimits(per_second=0.001, burst=1))
    assert await send(channel, "one") == {None: 1}
    assert await send(channel, "two") == {429: 1}
    assert channel.record().breaches == {"tenant": 1}
