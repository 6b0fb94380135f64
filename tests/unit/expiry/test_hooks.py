"""The author's hooks: what they see and say, how often they run, and that they harm nothing."""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.schema import Activity, ActivityTypes, Attachment, ChannelAccount

from scripts.processes import ROOT
from shared.authors.ending import EndingConversation
from shared.connector.adapter import BufferingAdapter
from shared.connector.client import ConnectorError
from shared.domain.conversation import Status
from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.domain.timing import QuietHours, Timing
from shared.loaded_bot import LoadedHooks
from shared.state import state_types
from tests import texts
from tests.bot_in_memory import (
    BotInMemory,
    FunctionBot,
    InCosmos,
    activity,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once
from tests.memory_container import MemoryContainer
from tests.memory_table import MemoryTable

TIMING = Timing(timedelta(seconds=100))
RESUMABLE = replace(TIMING, resume_within=timedelta(hours=1))
WARNED = replace(TIMING, warn_before=(timedelta(seconds=50),))
SILENT = replace(TIMING, notify=False)
QUIET = replace(TIMING, quiet_hours=QuietHours(time(12), time(13), UTC))


@dataclass
class Seen:
    """A hook that returns these words, and keeps what it has seen."""

    words: Any = None
    conversations: list[EndingConversation] = field(default_factory=list)

    async def __call__(self, conversation: EndingConversation) -> Any:
        self.conversations.append(conversation)
        return self.words

    @property
    def states(self) -> list[Any]:
        return [each.state for each in self.conversations]


def in_tables() -> InCosmos | None:
    return None


@pytest.fixture(params=[in_tables, InCosmos], ids=["tables", "cosmos"])
def where(request: pytest.FixtureRequest) -> Callable[[], InCosmos | None]:
    made: Callable[[], InCosmos | None] = request.param
    return made


def hooked(
    on_expired: Any = None,
    timing: Timing = TIMING,
    *,
    on_warned: Any = None,
    where: Callable[[], InCosmos | None] = in_tables,
    on_turn: Any = count_in_every_bag,
    **options: Any,
) -> BotInMemory:
    hooks = LoadedHooks(on_expired, on_warned)
    return BotInMemory(FunctionBot(on_turn), timing, hooks=hooks, cosmos=where(), **options)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


async def never(_: EndingConversation) -> None:
    await asyncio.Event().wait()


async def fails(_: EndingConversation) -> None:
    raise RuntimeError("the author's own mistake")


async def test_it_sees_the_conversation_as_it_was(where: Callable[[], InCosmos | None]) -> None:
    seen = Seen()
    bot = hooked(seen, RESUMABLE, where=where)
    await bot.say(locale="de-DE")
    used_at = bot.clock()
    bot.clock.sleep(103)
    await bot.sweep()
    (conversation,) = seen.conversations
    assert conversation.state == {"count": 1}
    assert conversation.locale == "de-DE"
    assert conversation.last_accessed == used_at
    assert conversation.deadline == used_at + timedelta(seconds=100)
    assert conversation.can_resume
    assert conversation.reference.user.id == "ann"
    assert conversation.reference.conversation.id == "talk"


async def test_its_text_goes_in_place_of_ours() -> None:
    bot = hooked(Seen("Goodbye"))
    await bot.say(locale="de-DE")
    row = await bot.row()
    assert row
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 1
    _, _, body = bot.connector.sent[-1]
    assert body["text"] == "Goodbye"
    assert body["channelData"] == {"expiredSession": row.session}
    assert "locale" not in body
    assert "suggestedActions" not in body
    assert bot.keys() == []


async def test_its_text_has_the_button_too(where: Callable[[], InCosmos | None]) -> None:
    bot = hooked(Seen("Goodbye"), RESUMABLE, where=where)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    _, _, body = bot.connector.sent[-1]
    assert body["text"] == "Goodbye"
    (button,) = body["suggestedActions"]["actions"]
    assert (await bot.say("Resume", value=button["value"]))[0].startswith("Welcome back!")
    assert await bot.say() == ["2 2 2"]


async def test_its_activity_goes_where_the_conversation_is_and_stays_as_it_is() -> None:
    card = Attachment(content_type="application/vnd.microsoft.card.hero", content={"title": "Bye"})
    elsewhere = ChannelAccount(id="eve")
    own = Activity(attachments=[card], service_url="https://evil.example/", recipient=elsewhere)
    bot = hooked(Seen(own), RESUMABLE)
    await bot.say()
    await bot.say(sender="bob", conversation={"id": "walk"})
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 2
    bodies = [body for _, _, body in bot.connector.sent[-2:]]
    assert {body["recipient"]["id"] for body in bodies} == {"ann", "bob"}
    assert {body["conversation"]["id"] for body in bodies} == {"talk", "walk"}
    for body in bodies:
        assert body["type"] == ActivityTypes.message
        assert body["attachments"][0]["content"] == {"title": "Bye"}
        assert "suggestedActions" not in body
        assert body["serviceUrl"] == "https://channel.example/"
    assert own.conversation is None


async def test_an_empty_text_says_nothing(where: Callable[[], InCosmos | None]) -> None:
    bot = hooked(Seen(""), where=where)
    await bot.say()
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.expired, report.silent, report.notified) == (1, 1, 0)
    assert bot.connector.texts == ["1 1 1"]
    assert bot.keys() == []


async def test_nothing_returned_are_our_words(where: Callable[[], InCosmos | None]) -> None:
    bot = hooked(Seen(), where=where)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert bot.connector.texts == ["1 1 1", texts.EXPIRED]
    assert bot.keys() == []
    if bot.cosmos:
        assert isinstance(bot.cosmos.conversations, MemoryContainer)
        assert bot.cosmos.conversations.stored == {}


# How often


async def test_it_runs_again_with_the_state_if_the_sweep_dies_before_it_has_told(
    where: Callable[[], InCosmos | None], caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    bot = hooked(seen, where=where)
    await bot.say()

    def die(_: object) -> ConnectorError | None:
        raise RuntimeError("the process dies here")

    bot.connector.refuse = die
    bot.clock.sleep(103)
    assert (await bot.sweep()).failed == 1
    bot.connector.refuse = lambda _: None
    bot.clock.sleep(61)
    assert (await bot.sweep()).notified == 1
    assert seen.states == [{"count": 1}] * 2
    assert bot.keys() == []
    assert len(errors(caplog)) == 1


async def test_it_runs_with_the_state_if_the_sweep_died_right_after_the_claim(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen, table = Seen(), FaultyTable(MemoryTable())
    bot = hooked(seen, conversations=table)
    await bot.say()
    bot.clock.sleep(103)

    async def die() -> None:
        raise StorageUnavailableError("the process dies here")

    table.after = do_once("write merge c|", die)
    assert (await bot.sweep()).failed == 1
    assert seen.states == []
    row = await bot.row()
    assert row
    assert (row.status, row.resume_until) == (Status.EXPIRED, None)
    bot.clock.sleep(61)
    assert (await bot.sweep()).notified == 1
    assert seen.states == [{"count": 1}]
    assert len(errors(caplog)) == 1


async def test_it_runs_at_each_try_of_the_notice(where: Callable[[], InCosmos | None]) -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen, replace(RESUMABLE, resume_within=timedelta(seconds=5)), where=where)
    await bot.say()
    bot.connector.refuse = lambda _: ConnectorError("busy", status=503)
    bot.clock.sleep(103)
    assert (await bot.sweep()).retried_later == 1
    bot.clock.sleep(3600)  # long after it could be resumed
    bot.connector.refuse = lambda _: None
    await bot.sweep()
    assert seen.states == [{"count": 1}] * 2
    assert [each.can_resume for each in seen.conversations] == [True, False]
    assert bot.connector.texts[-1] == "Goodbye"
    await bot.sweep()
    assert len(seen.states) == 2
    assert bot.keys() == []


async def test_quiet_hours_put_off_its_words_but_not_what_it_does(
    where: Callable[[], InCosmos | None],
) -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen, QUIET, where=where)
    await bot.say()
    bot.clock.sleep(103)
    assert (await bot.sweep()).told_later == 1
    assert seen.states == [{"count": 1}]
    assert bot.connector.texts == ["1 1 1"]
    bot.clock.sleep(3600)
    assert (await bot.sweep()).notified == 1
    assert seen.states == [{"count": 1}] * 2
    assert bot.connector.texts[-1] == "Goodbye"


async def test_who_comes_before_the_notice_begins_anew_and_has_nothing_to_resume(
    where: Callable[[], InCosmos | None],
) -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen, QUIET, where=where)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say("resume") == [texts.WELCOME_BACK, "1 2 1"]
    assert seen.states == [{"count": 1}] * 2  # nobody knows whether the sweep came so far
    bot.clock.sleep(3600)
    await bot.sweep()
    assert seen.states == [{"count": 1}] * 3
    assert bot.connector.texts[-1] == "Goodbye"
    assert bot.keys() == []


async def test_who_comes_before_the_sweep_finds_what_it_has_kept(
    where: Callable[[], InCosmos | None],
) -> None:
    seen = Seen("Goodbye")

    async def keep(conversation: EndingConversation) -> Any:
        await conversation.update_user_state(lambda bag: bag.update(count=bag["count"] + 10))
        return await seen(conversation)

    bot = hooked(keep, RESUMABLE, where=where)
    await bot.say()
    bot.clock.sleep(103)
    *_, answer = await bot.say()
    assert answer == "1 12 1"
    assert seen.states == [{"count": 1}]
    assert seen.conversations[0].can_resume
    await bot.sweep()
    assert await bot.say() == ["2 13 2"]
    assert len(seen.states) == 1


@pytest.mark.parametrize("hook", [fails, never])
async def test_a_mistake_in_it_costs_no_turn(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    bot = hooked(hook, hook_seconds=0.01)
    await bot.say()
    bot.clock.sleep(103)
    assert await bot.say() == [texts.WELCOME_BACK, "1 2 1"]
    assert len(errors(caplog)) == 1


async def test_a_turn_that_runs_again_runs_it_once() -> None:
    seen, table = Seen(), FaultyTable(MemoryTable())
    bot = hooked(seen, conversations=table)
    await bot.say()
    bot.clock.sleep(103)

    async def refuse() -> None:
        raise ConflictError("another writer was first")

    table.before = do_once("write replace c|", refuse)
    assert await bot.say() == [texts.WELCOME_BACK, "1 2 1"]
    assert isinstance(bot.bot, FunctionBot)
    assert bot.bot.runs == 3
    assert seen.states == [{"count": 1}]


@pytest.mark.parametrize("what", [{"type": "event", "name": "read"}, {"type": "typing"}])
async def test_what_opens_no_session_leaves_it_to_the_sweep(what: dict[str, Any]) -> None:
    async def only_messages(bot: FunctionBot, context: TurnContext) -> None:
        if context.activity.type == ActivityTypes.message:
            await count_in_every_bag(bot, context)

    seen = Seen()
    bot = hooked(seen, on_turn=only_messages)
    await bot.say()
    bot.clock.sleep(103)
    await bot.take(activity(None, **what))
    assert seen.states == []
    await bot.sweep()
    assert seen.states == [{"count": 1}]


async def test_who_comes_while_it_is_claimed_is_not_told(
    where: Callable[[], InCosmos | None],
) -> None:
    seen, table = Seen("Goodbye"), FaultyTable(MemoryTable())
    bot = hooked(seen, where=where, conversations=table)
    await bot.say()
    bot.clock.sleep(103)
    table.after = do_once("write merge c|", bot.say)
    report = await bot.sweep()
    assert (report.expired, report.left_to_others, report.notified) == (1, 1, 0)
    assert seen.states == [{"count": 1}]  # in the turn
    assert bot.connector.texts == ["1 1 1", texts.WELCOME_BACK, "1 2 1"]


@pytest.mark.parametrize(
    ("timing", "options"),
    [
        (SILENT, {}),
        (TIMING, {"max_notice_age_seconds": 1}),
        (replace(TIMING, notify_within=timedelta(seconds=101)), {}),
    ],
    ids=["silent", "too old", "too late"],
)
async def test_it_runs_when_nobody_is_told(timing: Timing, options: dict[str, Any]) -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen, timing)
    await bot.say()
    bot.clock.sleep(103)
    assert (await bot.sweep(**options)).expired == 1
    assert seen.states == [{"count": 1}]
    assert bot.connector.texts == ["1 1 1"]
    assert bot.keys() == []


async def test_it_does_not_run_for_a_session_that_nobody_spoke_in() -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen)
    await bot.take(activity(None, type="event", name="page/opened"))  # the bot keeps state
    assert bot.keys() == ["c", "d", "p"]
    bot.clock.sleep(103)
    assert (await bot.sweep()).expired == 1
    assert seen.states == []
    assert bot.keys() == []


async def test_it_does_not_run_again_for_a_row_that_is_kept(
    where: Callable[[], InCosmos | None],
) -> None:
    seen = Seen()
    bot = hooked(seen, RESUMABLE, where=where)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    bot.clock.sleep(3700)
    assert (await bot.sweep()).finished_already == 1
    assert seen.states == [{"count": 1}]
    assert bot.keys() == []


async def test_a_dead_letters_notice_has_our_words(where: Callable[[], InCosmos | None]) -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen, where=where)
    await bot.say()
    bot.connector.refuse = lambda _: ConnectorError("no", status=400, code="BadArgument")
    bot.clock.sleep(103)
    assert (await bot.sweep()).dead_lettered == 1
    bot.connector.refuse = lambda _: None
    (letter,) = await bot.dead_letters()
    assert await bot.store.replay(letter, bot.clock())
    bot.clock.sleep(3)
    await bot.sweep()
    assert seen.states == [{"count": 1}]
    assert bot.connector.texts[-1] == texts.EXPIRED
    if bot.cosmos:
        assert isinstance(bot.cosmos.conversations, MemoryContainer)
        assert bot.cosmos.conversations.stored == {}


async def test_a_hook_that_is_gone_leaves_no_state(where: Callable[[], InCosmos | None]) -> None:
    bot = hooked(Seen(), QUIET, where=where)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    bot.clock.sleep(3600)
    without = replace(bot.another_process(), hooks=None)
    assert (await without.sweep()).notified == 1
    assert bot.keys() == []
    if bot.cosmos:
        assert isinstance(bot.cosmos.conversations, MemoryContainer)
        assert bot.cosmos.conversations.stored == {}


# What goes wrong in it


async def test_one_that_takes_too_long_is_cancelled_and_our_words_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = hooked(never, hook_seconds=0.01)
    await bot.say()
    await bot.say(conversation={"id": "walk"})
    bot.clock.sleep(103)
    report = await bot.sweep()
    assert (report.notified, report.failed) == (2, 0)
    assert bot.connector.texts[-2:] == [texts.EXPIRED] * 2
    assert bot.keys() == []
    address = bot.address()
    assert len(errors(caplog)) == 2
    assert (
        f"hooks: conversation {address.shard}/{address.key}: on_expired took more than 0.01 s;"
        " our words go"
    ) in errors(caplog)


async def test_one_that_raises_is_logged_without_names_and_our_words_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = hooked(fails)
    await bot.say()
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 1
    assert bot.connector.texts[-1] == texts.EXPIRED
    address = bot.address()
    assert errors(caplog) == [
        f"hooks: conversation {address.shard}/{address.key}: on_expired failed; our words go"
    ]
    assert "the author's own mistake" in caplog.text
    assert "ann" not in caplog.text


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (7, "it has returned a int"),
        ({"text": "Goodbye"}, "it has returned a dict"),
        (b"Goodbye", "it has returned a bytes"),
        (never, "it has returned a function"),
        ("x" * 100_000, "it has returned 200000 bytes; the most is 80000"),
        ("😀" * 20_001, "it has returned 80004 bytes"),
        ("\ud800", "surrogates not allowed"),
        (Activity(text="x" * 40_000), "the most is 80000"),
        (Activity(text="bye", timestamp="yesterday"), "SerializationError"),
    ],
    ids=["int", "dict", "bytes", "function", "huge", "huge bytes", "lone", "huge activity", "bad"],
)
async def test_what_is_no_message_is_logged_and_our_words_go(
    returned: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    bot = hooked(Seen(returned))
    await bot.say()
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 1
    assert bot.connector.texts[-1] == texts.EXPIRED
    assert words in caplog.text
    assert bot.keys() == []


async def test_damaged_state_is_not_taken_for_none(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen("Goodbye")
    bot = hooked(seen)
    await bot.say()
    assert isinstance(bot.conversations, MemoryTable)
    address = bot.address()
    key = address.shard, f"c|{address.key}"
    row = bot.conversations.rows[key]
    bot.conversations.rows[key] = replace(row, columns={**row.columns, "State00": b"damaged"})
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 1
    assert seen.states == []
    assert bot.connector.texts[-1] == texts.EXPIRED
    assert len(errors(caplog)) == 1
    assert "on_expired does not run" in errors(caplog)[0]


# What it can do


async def test_what_it_keeps_for_the_user_survives(where: Callable[[], InCosmos | None]) -> None:
    async def keep(conversation: EndingConversation) -> str:
        said = (await conversation.user_state())["count"]

        def change(bag: dict[str, Any]) -> None:
            bag["count"] += 10 * conversation.state["count"]
            bag["at"] = datetime(2026, 11, 22, tzinfo=UTC)

        await conversation.update_user_state(change)
        return f"You have written {said} times."

    bot = hooked(keep, where=where)
    await bot.say()
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert bot.connector.texts[-1] == "You have written 2 times."
    assert await bot.say() == ["1 23 1"]


async def test_a_turn_at_the_same_time_loses_nothing() -> None:
    runs = 0

    async def keep(conversation: EndingConversation) -> None:
        def change(bag: dict[str, Any]) -> None:
            nonlocal runs
            runs += 1
            bag["count"] += 10

        await conversation.update_user_state(change)

    users = FaultyTable(MemoryTable())
    bot = hooked(keep, users=users)
    await bot.say()
    bot.clock.sleep(103)
    users.before = do_once("write replace user", lambda: bot.say(conversation={"id": "walk"}))
    await bot.sweep()
    assert runs == 2
    assert await bot.say(conversation={"id": "walk"}) == ["2 13 2"]


@dataclass(frozen=True)
class TeaOrder:
    item: str


@pytest.fixture
def forget_order(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """State may hold `TeaOrder`, until this is called: a process without the bot is so."""
    monkeypatch.setattr(state_types, "_types", {**state_types._types})
    monkeypatch.setattr(state_types, "_names", {**state_types._names})
    state_types.register(TeaOrder)

    def forget() -> None:
        del state_types._types["TeaOrder"], state_types._names[TeaOrder]

    return forget


async def keep_order(bot: FunctionBot, context: TurnContext) -> None:
    for bag in (bot.conversation, bot.user):
        await bag.create_property("order").set(context, TeaOrder("tea"))
    await context.send_activity("kept")


async def test_instances_are_data_and_need_no_class(forget_order: Callable[[], None]) -> None:
    seen = Seen()

    async def keep(conversation: EndingConversation) -> None:
        await seen(conversation)
        assert await conversation.user_state() == {"order": {"$type": "TeaOrder", "item": "tea"}}
        await conversation.update_user_state(lambda bag: bag.update(open=True))

    bot = hooked(keep, on_turn=keep_order)
    await bot.say()
    forget_order()
    bot.clock.sleep(103)
    await bot.sweep()
    assert seen.states == [{"order": {"$type": "TeaOrder", "item": "tea"}}]
    state_types.register(TeaOrder)
    ending = seen.conversations[0]
    assert await ending.user_state() == {
        "order": {"$type": "TeaOrder", "item": "tea"},
        "open": True,
    }
    await bot.say()  # the bot can still read it


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {"a": 1}, "change has returned a dict"),
        (lambda bag: bag.update({7: 1}), "7 is no name of a property"),
        (lambda bag: bag.update(a=object()), "which state cannot hold"),
        (lambda bag: bag.update(a={"$type": "Unknown"}), "unknown type 'Unknown'"),
        (lambda bag: bag.update(a="x" * 17_000_000), "larger than 16 MiB"),
    ],
    ids=["returned", "name", "object", "type", "huge"],
)
async def test_what_the_bag_cannot_hold_is_not_saved(
    change: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def keep(conversation: EndingConversation) -> str:
        await conversation.update_user_state(change)
        return "kept"

    bot = hooked(keep)
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert bot.connector.texts[-1] == texts.EXPIRED
    assert words in caplog.text
    assert await bot.say() == ["1 2 1"]


@pytest.mark.parametrize("what", ["user_state", "update_user_state", "sign_out"])
async def test_a_group_has_no_one_user(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(conversation: EndingConversation) -> None:
        arguments: dict[str, list[Any]] = {
            "user_state": [],
            "update_user_state": [print],
            "sign_out": ["connection"],
        }
        await getattr(conversation, what)(*arguments[what])

    bot = hooked(ask)
    await bot.say(conversation={"id": "talk", "isGroup": True})
    bot.clock.sleep(103)
    assert (await bot.sweep()).notified == 1
    assert "LookupError: this conversation is a group" in caplog.text


# Warnings


async def test_a_warning_has_its_words_and_the_button() -> None:
    seen = Seen("Still there?")
    bot = hooked(None, WARNED, on_warned=seen)
    await bot.say()
    bot.clock.sleep(53)
    assert (await bot.sweep()).warned == 1
    _, _, body = bot.connector.sent[-1]
    assert body["text"] == "Still there?"
    assert body["suggestedActions"]["actions"][0]["value"] == {"expiry": "stay"}
    assert seen.states == [{"count": 1}]
    assert seen.conversations[0].deadline == bot.clock() + timedelta(seconds=47)
    assert not seen.conversations[0].can_resume
    bot.clock.sleep(50)
    await bot.sweep()
    assert bot.connector.texts[-1] == texts.EXPIRED
    assert len(seen.states) == 1


async def test_a_warning_of_its_own_activity() -> None:
    bot = hooked(None, WARNED, on_warned=Seen(Activity(text="Still there?")))
    await bot.say()
    bot.clock.sleep(53)
    assert (await bot.sweep()).warned == 1
    assert bot.connector.texts[-1] == "Still there?"
    assert "suggestedActions" not in bot.connector.sent[-1][2]


@pytest.mark.parametrize(("hook", "sent"), [(Seen(""), 0), (Seen(), 1), (fails, 1), (never, 1)])
async def test_a_warning_without_words_of_its_own(hook: Any, sent: int) -> None:
    bot = hooked(None, WARNED, on_warned=hook, hook_seconds=0.01)
    await bot.say()
    bot.clock.sleep(53)
    report = await bot.sweep()
    assert (report.warned, report.failed) == (sent, 0)
    found = [text for text in bot.connector.texts if text.startswith("Are you still there?")]
    assert len(found) == sent
    bot.clock.sleep(10)
    assert (await bot.sweep()).warned == 0  # once in one silence


async def test_who_writes_right_before_the_warning_is_not_warned() -> None:
    seen, table = Seen(), FaultyTable(MemoryTable())
    bot = hooked(None, WARNED, on_warned=seen, conversations=table)
    await bot.say()
    bot.clock.sleep(53)
    table.after = do_once("write delete d|", bot.say)
    report = await bot.sweep()
    assert (report.warned, report.came_back) == (0, 1)
    assert seen.states == []


# What it costs


async def requests_of(hooks: tuple[Any, Any], timing: Timing, seconds: float) -> int:
    table = MemoryTable()
    bot = hooked(hooks[0], timing, on_warned=hooks[1], conversations=table)
    await bot.say()
    bot.clock.sleep(seconds)
    before = table.requests
    await bot.sweep()
    return table.requests - before


@pytest.mark.parametrize(("timing", "seconds"), [(TIMING, 103), (SILENT, 103), (WARNED, 53)])
async def test_a_hook_costs_one_request_and_none_nothing(timing: Timing, seconds: float) -> None:
    without = await requests_of((None, None), timing, seconds)
    assert without == (4 if timing is WARNED else 8)
    assert await requests_of((Seen(), Seen()), timing, seconds) == without + 1
    other = (None, Seen()) if seconds == 103 else (Seen(), None)
    assert await requests_of(other, timing, seconds) == without


async def test_without_a_hook_the_claim_takes_the_state_away() -> None:
    table = FaultyTable(MemoryTable())
    bot = hooked(None, conversations=table)
    await bot.say()
    bot.clock.sleep(103)
    writes: list[str] = []

    async def note(what: str) -> None:
        if what.startswith("write"):
            writes.append(what.split("|", maxsplit=1)[0])

    table.before = note
    await bot.sweep()
    assert writes[0] == "write replace c"


# The docs


async def order_tea(bot: FunctionBot, context: TurnContext) -> None:
    for bag, name in (bot.conversation, "order"), (bot.user, "open_order"):
        order = bag.create_property(name)
        await context.send_activity(str(await order.get(context)))
    await bot.conversation.create_property("order").set(context, {"item": "tea"})


async def test_the_snippet_of_the_docs_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/policy.md").read_text("utf-8")
    (snippet,) = (
        each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "on_expired" in each
    )
    names: dict[str, Any] = {}
    exec(snippet, names)
    signed_out: list[Any] = []

    async def sign_out(_: object, *what: str) -> None:
        signed_out.append(what)

    monkeypatch.setattr(BufferingAdapter, "sign_out", sign_out)
    bot = hooked(names["on_expired"], WARNED, on_warned=names["on_warned"], on_turn=order_tea)
    assert await bot.say() == ["None", "None"]
    await bot.say(conversation={"id": "walk", "isGroup": True})
    bot.clock.sleep(53)
    await bot.sweep()
    assert bot.connector.texts[-2:] == ["Shall I keep tea for you?"] * 2
    bot.clock.sleep(50)
    await bot.sweep()
    kept = "I have kept your order. Write to go on with it."
    assert sorted(bot.connector.texts[-2:]) == [kept, texts.EXPIRED]
    assert signed_out == [("directline", "ann", "my-connection")]
    assert await bot.say() == ["None", "{'item': 'tea'}"]


async def test_state_that_is_gone_from_cosmos_is_no_empty_state() -> None:
    seen = Seen()
    bot = hooked(seen, where=InCosmos)
    await bot.say()
    assert bot.cosmos is not None
    assert isinstance(bot.cosmos.conversations, MemoryContainer)
    bot.cosmos.conversations.stored.clear()
    bot.clock.sleep(103)
    other_process = replace(bot)  # which remembers no document
    await other_process.sweep()
    assert seen.states == []
    assert bot.connector.texts[-1] == texts.EXPIRED


async def test_what_is_no_word_and_begins_a_session_tells_it_too(
    where: Callable[[], InCosmos | None],
) -> None:
    seen = Seen()
    bot = hooked(seen, where=where)
    await bot.say()
    bot.clock.sleep(103)
    await bot.take(activity(None, type="conversationUpdate"))  # the bot counts it
    assert seen.states == [{"count": 1}]
    await bot.sweep()
    assert len(seen.states) == 1
