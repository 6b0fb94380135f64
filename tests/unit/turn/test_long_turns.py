"""Turns that are taken after the channel got its answer: once each, in order, and none is lost."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botframework.connector.auth import AuthenticateRequestResult, ClaimsIdentity

from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import ConversationKey
from shared.storage.table_inbox import TableInbox
from shared.turn import long_turns
from shared.turn.long_turns import LongTurns, can_wait, conversation_of
from tests import texts
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    FunctionBot,
    activity,
    anonymous,
    count_in_conversation,
)
from tests.memory_queue import MemoryQueue
from tests.memory_table import MemoryTable

TALK = ConversationKey(CHANNEL, "talk").hash


@dataclass
class Bot:
    """A bot with an inbox; `process` makes further processes of it."""

    bot: BotInMemory
    table: MemoryTable = field(default_factory=MemoryTable)
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    seconds: float = 0

    def __post_init__(self) -> None:
        self.inbox = TableInbox(self.table)
        self.runs = self.process(self.bot)

    def process(self, bot: BotInMemory) -> LongTurns:
        return LongTurns(
            self.inbox, self.queue, bot.turns, now=self.bot.clock, clock=lambda: self.seconds
        )

    async def accept(
        self, text: str = "hi", *, in_: LongTurns | None = None, **fields: Any
    ) -> None:
        fields = {**activity(text).serialize(), "serviceUrl": "https://channel.example/", **fields}
        body = json.dumps(fields).encode()
        self.bot.clock.sleep(0.001)
        await (in_ or self.runs).accept(activity(**fields), anonymous(), body)

    async def hint(self) -> str | None:
        """The next message of the queue, as the host hands it over and then deletes it."""
        message = await self.queue.receive(600)
        if message is None:
            return None
        await self.queue.delete(message)
        return conversation_of(message.text.encode())

    async def run_all(self) -> None:
        while hint := await self.hint():
            await self.runs.run(hint)

    @property
    def said(self) -> list[str]:
        return self.bot.connector.texts


async def echo(bot: FunctionBot, context: TurnContext) -> None:
    await count_in_conversation(bot, context)
    await context.send_activity(f"{context.activity.text}!")


@pytest.fixture
def bot() -> Bot:
    return Bot(BotInMemory(FunctionBot(echo)))


async def test_a_turn_is_taken_after_the_channel_got_its_answer(bot: Bot) -> None:
    await bot.accept("one")
    assert bot.said == []
    await bot.run_all()
    assert bot.said == ["1", "one!"]
    assert bot.table.rows == {}


async def test_the_order_is_the_users_whatever_came_first(bot: Bot) -> None:
    now = bot.bot.clock.now
    for number in 2, 3, 1:
        at = (now - timedelta(seconds=5) + timedelta(milliseconds=number)).isoformat()
        await bot.accept(str(number), timestamp=at)
    await bot.run_all()
    assert bot.said == ["1", "1!", "2", "2!", "3", "3!"]


@pytest.mark.parametrize("off_seconds", [-3600, 3600])
async def test_a_time_that_cannot_be_true_does_not_count_for_the_order(
    bot: Bot, off_seconds: float
) -> None:
    bot.bot.clock.sleep(0.1)
    await bot.accept("one")
    bot.bot.clock.sleep(0.1)
    at = bot.bot.clock.now + timedelta(seconds=off_seconds)
    await bot.accept("two", timestamp=at.isoformat())
    bot.bot.clock.sleep(0.1)
    await bot.accept("three")
    await bot.run_all()
    assert bot.said[1::2] == ["one!", "two!", "three!"]


@pytest.mark.parametrize("when", ["while it waits", "after its turn"])
async def test_what_a_channel_sends_twice_is_answered_once(bot: Bot, when: str) -> None:
    await bot.accept("one", id="same")
    if when == "after its turn":
        await bot.run_all()
    await bot.accept("one", id="same")
    await bot.run_all()
    assert bot.said == ["1", "one!"]


async def test_a_second_run_leaves_the_conversation_to_the_first(bot: Bot) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(its: FunctionBot, context: TurnContext) -> None:
        began.set()
        await goes_on.wait()
        await echo(its, context)

    bot = Bot(BotInMemory(FunctionBot(slow)))
    other = bot.process(bot.bot.another_process())
    await bot.accept("one")
    await bot.accept("two")
    first = asyncio.create_task(bot.runs.run(await bot.hint() or ""))
    await began.wait()
    await other.run(await bot.hint() or "")
    assert await bot.hint() is None  # it comes again when the lease would be over
    goes_on.set()
    await first
    assert bot.said == ["1", "one!", "2", "two!"]
    bot.queue.sleep(61)
    assert await bot.hint() == TALK
    await other.run(TALK)
    assert len(bot.said) == 4


async def test_a_process_that_dies_in_a_turn_loses_nothing(bot: Bot) -> None:
    began = asyncio.Event()

    async def dies_once(its: FunctionBot, context: TurnContext) -> None:
        if its.runs == 1:
            began.set()
            await asyncio.Event().wait()
        await echo(its, context)

    bot = Bot(BotInMemory(FunctionBot(dies_once)))
    await bot.accept("one")
    await bot.accept("two")
    run = asyncio.create_task(bot.runs.run(await bot.hint() or ""))
    await began.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    other = bot.process(bot.bot.another_process())
    await other.run(await bot.hint() or "")  # of "two": it must not overtake
    assert bot.said == []
    bot.bot.clock.sleep(61)
    bot.queue.sleep(61)
    await other.run(await bot.hint() or "")
    assert bot.said == ["1", "one!", "2", "two!"]


async def test_a_process_that_dies_after_its_turn_does_not_take_it_again(bot: Bot) -> None:
    await bot.accept("one")
    first = await bot.inbox.first(TALK)
    assert first
    await bot.run_all()
    await bot.inbox.put(first)
    await bot.runs.run(TALK)
    assert bot.said == ["1", "one!"]
    assert bot.table.rows == {}


class Refusing:
    """Turns that the store takes down; how often each was tried."""

    def __init__(self, bot: BotInMemory) -> None:
        self.bot = bot
        self.tried = 0
        self.given_up = 0

    async def take(self, *_: object) -> None:
        self.tried += 1
        raise StorageUnavailableError("down")

    async def give_up(self, *given: Any) -> None:
        self.given_up += 1
        await self.bot.turns.give_up(*given)

    async def keep_alive(self, *given: Any) -> None:
        await self.bot.turns.keep_alive(*given)


async def test_a_turn_that_fails_for_good_gets_the_apology_and_the_next_one_its_turn(
    bot: Bot,
) -> None:
    refusing = Refusing(bot.bot)
    failing = LongTurns(bot.inbox, bot.queue, refusing, now=bot.bot.clock, clock=lambda: 0)
    await bot.accept("one")
    await bot.accept("two")
    for _ in range(long_turns.MAX_ATTEMPTS):
        with pytest.raises(StorageUnavailableError):
            await failing.run(TALK)
    assert bot.said == []
    with pytest.raises(StorageUnavailableError):
        await failing.run(TALK)  # of "two" by now
    assert bot.said == [texts.SOMETHING_WENT_WRONG]
    assert (refusing.tried, refusing.given_up) == (5, 1)
    await bot.runs.run(TALK)
    assert bot.said[1:] == ["1", "two!"]


async def test_a_turn_that_was_saved_after_all_is_not_apologised_for(bot: Bot) -> None:
    inbound = activity("one")
    await bot.bot.take(inbound)
    await bot.bot.turns.give_up(inbound, anonymous())
    assert bot.said == ["1", "one!"]


async def test_without_the_store_the_apology_goes_out_all_the_same(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(_: object) -> None:
        raise StorageUnavailableError("down")

    monkeypatch.setattr(bot.bot.store, "load", load)
    await bot.bot.turns.give_up(activity("one"), anonymous())
    assert bot.said == [texts.SOMETHING_WENT_WRONG]


async def test_a_bot_that_fails_gets_its_user_one_apology() -> None:
    async def fails(_: FunctionBot, __: TurnContext) -> None:
        raise KeyError("own")

    bot = Bot(BotInMemory(FunctionBot(fails)))
    await bot.accept()
    await bot.run_all()
    assert bot.said == [texts.SOMETHING_WENT_WRONG]
    assert bot.table.rows == {}


async def test_a_lease_is_renewed_while_the_turn_runs(bot: Bot) -> None:
    naps = 0

    async def nap(_: float) -> None:
        nonlocal naps
        naps += 1
        await (asyncio.sleep(0) if naps <= 5 else asyncio.Event().wait())
        bot.bot.clock.sleep(20)

    looked = []

    async def slow(its: FunctionBot, context: TurnContext) -> None:
        while naps < 6:  # noqa: ASYNC110 - it counts, it does not wait
            await asyncio.sleep(0)
        looked.append(await bot.inbox.first(TALK))
        await echo(its, context)

    bot = Bot(BotInMemory(FunctionBot(slow)))
    runs = LongTurns(bot.inbox, bot.queue, bot.bot.turns, now=bot.bot.clock, sleep=nap)
    await bot.accept("one")
    await runs.run(TALK)
    assert looked[0]
    assert looked[0].is_leased(bot.bot.clock.now)
    assert bot.said == ["1", "one!"]
    assert bot.table.rows == {}


async def test_a_run_ends_in_time_and_asks_for_the_next_one(bot: Bot) -> None:
    async def slow(its: FunctionBot, context: TurnContext) -> None:
        bot.seconds += long_turns.NEXT_WITHIN_SECONDS
        await echo(its, context)

    bot = Bot(BotInMemory(FunctionBot(slow)))
    await bot.accept("one")
    await bot.accept("two")
    assert await bot.hint()
    assert await bot.hint()
    await bot.runs.run(TALK)
    assert bot.said == ["1", "one!"]
    assert await bot.hint() == TALK
    await bot.runs.run(TALK)
    assert bot.said[2:] == ["2", "two!"]


async def test_what_lost_its_message_is_woken(bot: Bot) -> None:
    await bot.accept("one")
    await bot.accept("two")
    assert await bot.hint()
    assert await bot.hint()
    assert await bot.runs.wake() == 0  # it has not waited for long
    bot.bot.clock.sleep(61)
    assert await bot.runs.wake() == 1
    await bot.run_all()
    assert bot.said == ["1", "one!", "2", "two!"]


async def test_who_has_the_lease_is_not_woken(bot: Bot) -> None:
    await bot.accept("one")
    bot.bot.clock.sleep(61)
    first = await bot.inbox.first(TALK)
    assert first
    await bot.inbox.save(first.begun(bot.bot.clock.now))
    assert await bot.runs.wake() == 0


async def test_a_message_close_to_the_expiry_keeps_its_session_while_it_waits(bot: Bot) -> None:
    await bot.accept("one")
    await bot.run_all()
    bot.bot.clock.sleep(99)
    await bot.accept("two")
    bot.bot.clock.sleep(20)
    assert (await bot.bot.sweep()).expired == 0
    await bot.run_all()
    assert bot.said == ["1", "one!", "2", "two!"]


async def test_the_time_of_receipt_counts_not_that_of_the_turn(bot: Bot) -> None:
    await bot.accept("one")
    bot.bot.clock.sleep(30)
    await bot.run_all()
    row = await bot.bot.row()
    assert row
    await bot.accept("two")
    bot.bot.clock.sleep(80)  # stale by now, and no sweep came
    await bot.run_all()
    assert bot.said == ["1", "one!", "2", "two!"]


async def test_the_callers_verdict_and_the_activity_come_as_they_were(bot: Bot) -> None:
    taken: list[tuple[Any, AuthenticateRequestResult]] = []

    class Recording(Refusing):
        async def take(self, *given: Any) -> None:
            taken.append((given[0], given[1]))

    runs = LongTurns(bot.inbox, bot.queue, Recording(bot.bot), now=bot.bot.clock)
    caller = AuthenticateRequestResult()
    caller.claims_identity = ClaimsIdentity({"aud": "app", "n": 1}, True, "Bearer")
    caller.audience, caller.caller_id = "scope", "urn:botframework:azure"
    fields = {
        **activity("päß 😀").serialize(),
        "serviceUrl": "https://channel.example/",
        "channelData": {"a": [1, {"b": None}]},
        "own": "field",
    }
    inbound = activity(**fields)
    await runs.accept(inbound, caller, json.dumps(fields).encode())
    await bot.accept("by nobody", id="other")
    await runs.run(TALK)
    (first, its_caller), (_, nobody) = taken
    assert first.text == "päß 😀"
    assert first.channel_data == {"a": [1, {"b": None}]}
    assert first.additional_properties["own"] == "field"
    assert vars(its_caller.claims_identity) == vars(caller.claims_identity)
    assert (its_caller.audience, its_caller.caller_id) == ("scope", "urn:botframework:azure")
    assert nobody.claims_identity.claims == {}
    assert nobody.caller_id is None


@pytest.mark.parametrize("content", [b"", b"no zlib", None])
async def test_a_damaged_activity_is_dropped_and_named(
    bot: Bot, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    await bot.accept("one")
    first = await bot.inbox.first(TALK)
    assert first
    cut = first.content[:-9] if content is None else content
    await bot.inbox.save(type(first)(TALK, first.place, cut, first.received_at, etag=first.etag))
    bot.bot.clock.sleep(1)
    await bot.accept("two")
    await bot.run_all()
    assert bot.said == ["1", "two!"]
    assert "is damaged" in caplog.text


def test_what_needs_an_answer_of_the_bots_cannot_wait() -> None:
    assert can_wait(activity())
    assert can_wait(activity(type="conversationUpdate"))
    assert not can_wait(activity(type="invoke", name="task/fetch"))
    assert not can_wait(activity(deliveryMode="expectReplies"))
