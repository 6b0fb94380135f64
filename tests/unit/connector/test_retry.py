"""Which replies are sent again, when, and for how long; on a clock that only sleeping moves."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import Activity

from shared.connector.client import ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.retry import Retries
from tests.bot_in_memory import BotInMemory, FakeConnector, FunctionBot

SECONDS = 8


class Channel:
    """Gives the answers it is told to, then succeeds; remembers when it was asked."""

    def __init__(self, *answers: Exception) -> None:
        self.now = 100.0
        self.asked_at: list[float] = []
        self._answers = list(answers)

    async def send(self) -> None:
        self.asked_at.append(self.now)
        if self._answers:
            raise self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def retries(self) -> Retries:
        return Retries(SECONDS, clock=lambda: self.now, sleep=self.sleep)


class OnceUnwilling(Channel):
    """Succeeds at the second attempt."""

    async def send(self) -> None:
        self.asked_at.append(self.now)
        if len(self.asked_at) == 1:
            raise self._answers[0]


@pytest.mark.parametrize("status", [408, 412, 429, 502, 503, 504])
async def test_a_reply_that_was_not_taken_now_is_sent_again(status: int) -> None:
    channel = OnceUnwilling(ConnectorError("not now", status=status))
    await channel.retries.begin().call(channel.send)
    assert len(channel.asked_at) == 2


async def test_a_reply_whose_connection_failed_is_sent_again() -> None:
    channel = OnceUnwilling(ConnectorError("no answer", connection_failed=True))
    await channel.retries.begin().call(channel.send)
    assert len(channel.asked_at) == 2


@pytest.mark.parametrize(
    "error",
    [
        *(ConnectorError("no", status=status) for status in (400, 401, 403, 404, 409, 413, 500)),
        ConnectorError("no answer within 10 seconds"),
        CredentialError("no token"),
        TypeError("a bug"),
    ],
    ids=repr,
)
async def test_what_would_not_help_is_not_done(error: Exception) -> None:
    channel = Channel(error)
    with pytest.raises(type(error)) as caught:
        await channel.retries.begin().call(channel.send)
    assert caught.value is error
    assert len(channel.asked_at) == 1


async def test_attempts_end_in_time_with_the_last_error() -> None:
    channel = Channel(ConnectorError("not now", status=503))
    with pytest.raises(ConnectorError, match="not now"):
        await channel.retries.begin().call(channel.send)
    assert len(channel.asked_at) > 3
    assert channel.asked_at[-1] < 100 + SECONDS


async def test_a_channel_is_left_alone_for_as_long_as_it_asks() -> None:
    channel = Channel(ConnectorError("not now", status=429, retry_after_seconds=2))
    with pytest.raises(ConnectorError):
        await channel.retries.begin().call(channel.send)
    waits = [later - earlier for earlier, later in pairwise(channel.asked_at)]
    assert len(waits) >= 1
    assert all(wait > 2 for wait in waits)


async def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    channel = Channel(ConnectorError("not now", status=429, retry_after_seconds=SECONDS))
    with pytest.raises(ConnectorError):
        await channel.retries.begin().call(channel.send)
    assert channel.asked_at == [100]
    assert channel.now == 100


async def test_a_repeated_attempt_that_hangs_is_given_up_in_time() -> None:
    class HangsTheNextTime(Channel):
        async def send(self) -> None:
            await super().send() if not self.asked_at else await asyncio.Event().wait()

        async def sleep(self, seconds: float) -> None:
            del seconds
            self.now = 100 + SECONDS - 0.01  # a hundredth of a second is left

    channel = HangsTheNextTime(ConnectorError("not now", status=503))
    with pytest.raises(ConnectorError, match="in the time that is left"):
        await channel.retries.begin().call(channel.send)


async def test_waits_differ_from_one_to_the_next() -> None:
    async def first_wait() -> float:
        channel = OnceUnwilling(ConnectorError("not now", status=503))
        await channel.retries.begin().call(channel.send)
        return channel.asked_at[1] - channel.asked_at[0]

    assert len({await first_wait() for _ in range(10)}) > 1


async def test_the_replies_of_one_turn_share_its_time() -> None:
    channel = Channel(ConnectorError("not now", status=503))
    retries = channel.retries.begin()
    channel.now += SECONDS
    with pytest.raises(ConnectorError):
        await retries.call(channel.send)
    assert len(channel.asked_at) == 1


def talking_bot(*texts: str | Activity) -> BotInMemory:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        for text in texts:
            await context.send_activity(text)

    return BotInMemory(FunctionBot(talk))


def refuse_once(connector: FakeConnector, text: str) -> None:
    refused: list[str] = []

    def refuse(body: dict[str, str]) -> ConnectorError | None:
        if body.get("text") == text and not refused:
            refused.append(text)
            return ConnectorError("not now", status=502)
        return None

    connector.refuse = refuse


async def test_replies_keep_their_order_when_one_is_sent_again() -> None:
    bot = talking_bot("one", "two", "three")
    refuse_once(bot.connector, "two")
    assert await bot.say() == ["one", "two", "three"]


async def test_what_a_bot_itself_waits_takes_no_time_of_its_replies() -> None:
    pause = Activity(type="delay", value=2 * SECONDS * 1000)
    bot = talking_bot("one", pause, "two")
    refuse_once(bot.connector, "two")
    assert await bot.say() == ["one", "two"]


async def test_a_reply_that_cannot_be_delivered_in_time_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = talking_bot("one", "two")
    started = bot.clock()
    bot.connector.refuse = lambda _: ConnectorError("POST: 429", status=429)
    with caplog.at_level(logging.WARNING):
        assert await bot.say() == []
    assert "2 of 2 replies could not be delivered: POST: 429" in caplog.text
    assert 0 < (bot.clock() - started).total_seconds() < SECONDS


async def test_a_proactive_message_is_not_sent_again() -> None:
    bot = talking_bot("one")
    await bot.say()
    asked: list[str] = []
    bot.connector.refuse = _note_and_refuse(asked)
    bot.clock.now = datetime(2030, 1, 1, tzinfo=UTC)
    await bot.sweep()
    assert len(asked) == 1  # the sweep has its own way


def _note_and_refuse(asked: list[str]) -> Callable[[dict[str, str]], ConnectorError]:
    def refuse(body: dict[str, str]) -> ConnectorError:
        asked.append(body["text"])
        return ConnectorError("not now", status=503)

    return refuse
