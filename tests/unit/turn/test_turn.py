"""The turn: buffered replies, one commit, lazy expiry, and other writers that are first."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
from botbuilder.core import TurnContext
from botbuilder.core.invoke_response import InvokeResponse
from botbuilder.schema import Activity, ActivityTypes

from shared.authors import Effect, end_conversation
from shared.connector.client import ConnectorError
from shared.connector.limits import SendingLimits
from shared.connector.limits_file import read_limits
from shared.domain.conversation import Status
from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.domain.identity import user_hash
from shared.domain.reference import Account, Reference
from shared.domain.times import utc_now
from shared.domain.timing import Timing
from shared.expiry import sweep
from shared.expiry.budget import TOLD_FROM_REPLIES, Budget
from shared.settings.sending import SendingSettings
from shared.storage.table_budget import TableBudget
from shared.storage.tables import Row
from shared.turn import turn
from shared.turn.effects import Effects
from tests import texts
from tests.bot_in_memory import (
    BotInMemory,
    Clock,
    FakeConnector,
    FunctionBot,
    activity,
    count_in_conversation,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_table import MemoryTable


def counting_bot(**options: object) -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_conversation), **options)  # type: ignore[arg-type] # as given


def bot_on_faulty_tables() -> tuple[BotInMemory, FaultyTable, FaultyTable]:
    conversations, users = FaultyTable(MemoryTable()), FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_every_bag), conversations=conversations, users=users)
    return bot, conversations, users


def bot_that(on_turn: object) -> BotInMemory:
    return BotInMemory(FunctionBot(on_turn))  # type: ignore[arg-type] # a coroutine function each


def texts_in(answer: InvokeResponse) -> list[str]:
    body: Any = answer.body
    return [each["text"] for each in body["activities"]]


# Sessions


async def test_a_first_message_opens_a_session_with_its_due_row() -> None:
    bot = counting_bot()
    assert await bot.say() == ["1"]
    row = await bot.row()
    assert row is not None
    assert row.last_accessed == bot.clock.now
    assert bot.keys() == ["c", "d"]


async def test_a_later_message_goes_on_in_the_session_and_moves_last_accessed() -> None:
    bot = counting_bot()
    await bot.say()
    first = await bot.row()
    bot.clock.sleep(50)
    assert await bot.say() == ["2"]
    row = await bot.row()
    assert first is not None
    assert row is not None
    assert row.session == first.session
    assert row.last_accessed == bot.clock.now
    assert bot.keys() == ["c", "d"]


@pytest.mark.parametrize(
    ("idle_seconds", "replies"),
    [(99.999, ["2"]), (100, [texts.WELCOME_BACK, "1"]), (1000, [texts.WELCOME_BACK, "1"])],
)
async def test_a_conversation_idle_for_expire_after_starts_over(
    idle_seconds: float, replies: list[str]
) -> None:
    bot = counting_bot()
    await bot.say()
    bot.clock.sleep(idle_seconds)
    assert await bot.say() == replies


async def test_an_expired_conversation_that_is_not_settled_starts_over_with_the_welcome() -> None:
    bot = counting_bot()
    await bot.say()
    row = await bot.row()
    assert row is not None
    await bot.store.save(row.claimed(bot.clock.now))
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    row = await bot.row()
    assert row is not None
    assert row.status is Status.ACTIVE


async def test_after_settling_the_next_message_is_a_first_one() -> None:
    bot = counting_bot()
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say() == ["1"]


async def test_the_welcome_is_said_once() -> None:
    bot = counting_bot()
    await bot.say()
    bot.clock.sleep(100)
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    assert await bot.say() == ["2"]


# What opens a session, what keeps one alive, what does neither


async def reply_only(_: FunctionBot, context: TurnContext) -> None:
    """Answers invokes, and keeps no state."""
    if context.activity.type == "invoke":
        answer = InvokeResponse(status=context.activity.value or 200)
        await context.send_activity(Activity(type="invokeResponse", value=answer))
    else:
        await context.send_activity("yes?")


OPENING: list[dict[str, Any]] = [
    {"type": "message"},
    {"type": "invoke", "name": "adaptiveCard/action"},
    {"type": "invoke", "name": "task/submit"},
    {"type": "invoke", "name": "an author's own"},
]
KEEPING: list[dict[str, Any]] = [
    {"type": "messageReaction"},
    {"type": "messageUpdate"},
    {"type": "invoke", "name": "composeExtension/query"},
    {"type": "event", "name": "tokens/response"},
]
DOING_NOTHING: list[dict[str, Any]] = [
    {"type": "event", "name": "application/vnd.microsoft.readReceipt"},
    {"type": "event", "name": "application/vnd.microsoft.meetingStart"},
    {"type": "event", "name": "webchat/join"},
    {"type": "event"},
    {"type": "invoke", "name": "task/submit", "value": 501},
    {"type": "invoke", "name": "adaptiveCard/action", "value": 400},
    {"type": "invoke", "name": "tab/fetch"},
    {"type": "conversationUpdate"},
    {"type": "installationUpdate"},
    {"type": "typing"},
    {"type": "messageDelete"},
    {"type": "xyz"},
    {"type": "message", "sender": "bot"},
    {"type": "message", "from": {"id": "other", "role": "bot"}},
]


@pytest.mark.parametrize("fields", OPENING, ids=str)
async def test_a_word_or_a_handled_act_of_a_user_opens_a_session(fields: dict[str, Any]) -> None:
    bot = bot_that(reply_only)
    await bot.take(activity(**fields))
    assert bot.keys() == ["c", "d"]
    row = await bot.row()
    assert row
    assert not row.quiet


@pytest.mark.parametrize("fields", KEEPING + DOING_NOTHING, ids=str)
async def test_nothing_else_opens_a_session(fields: dict[str, Any]) -> None:
    bot = bot_that(reply_only)
    await bot.take(activity(**fields))
    assert bot.keys() == []


@pytest.mark.parametrize("fields", KEEPING + DOING_NOTHING, ids=str)
async def test_only_what_a_person_does_keeps_a_session_alive(fields: dict[str, Any]) -> None:
    bot = bot_that(reply_only)
    await bot.say()
    before = await bot.row()
    bot.clock.sleep(50)
    await bot.take(activity(**fields))
    after = await bot.row()
    assert before
    assert after
    assert (after.last_accessed > before.last_accessed) == (fields in KEEPING)


async def test_an_invoke_that_is_refused_puts_the_expiry_off_for_a_moment_only() -> None:
    bot = bot_that(reply_only)
    await bot.say()
    before = await bot.row()
    bot.clock.sleep(90)
    await bot.take(activity(type="invoke", name="task/submit", value=501))
    after = await bot.row()
    assert before
    assert after
    assert after.last_accessed == before.last_accessed
    bot.clock.sleep(12)  # it may still run
    assert (await bot.sweep()).refiled == 1
    bot.clock.sleep(bot.timing.keeps_for_now.total_seconds() - 12 + 2.5)
    assert (await bot.sweep()).notified == 1
    assert bot.keys() == []


class TableOfAnEarlierVersion(FaultyTable):
    """Without the column that the version before this one does not know."""

    async def get(self, partition: str, key: str, select: Sequence[str] = ()) -> Row | None:
        row = await super().get(partition, key, select)
        kept = {n: value for n, value in row.columns.items() if n != "KeptUntil"} if row else {}
        return row and replace(row, columns=kept)


async def test_an_earlier_version_may_end_a_session_that_is_kept_and_the_act_is_not_lost() -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def think(bot: FunctionBot, context: TurnContext) -> None:
        if context.activity.type == "invoke":
            began.set()
            await goes_on.wait()
        await reply_only(bot, context)

    bot = bot_that(think)
    await bot.say()
    bot.clock.sleep(90)
    act = asyncio.create_task(bot.take(activity(type="invoke", name="task/submit", value=200)))
    await began.wait()
    bot.clock.sleep(13)
    table = TableOfAnEarlierVersion(bot.conversations)
    earlier = BotInMemory(bot.bot, bot.timing, bot.clock, table, bot.users, bot.connector)
    assert (await earlier.sweep()).notified == 1
    goes_on.set()
    response = await act
    assert response
    assert response.status == HTTPStatus.OK
    row = await bot.row()
    assert row
    assert (row.status, row.quiet) == (Status.ACTIVE, False)


@pytest.mark.parametrize("fields", KEEPING + DOING_NOTHING, ids=str)
async def test_nothing_else_brings_a_second_notice_or_a_welcome(fields: dict[str, Any]) -> None:
    bot = bot_that(reply_only)
    await bot.say()
    bot.clock.sleep(100)
    before = len(bot.connector.texts)
    await bot.take(activity(**fields))
    assert texts.WELCOME_BACK not in bot.connector.texts[before:]
    for _ in range(3):
        bot.clock.sleep(103)
        await bot.sweep()
        await bot.take(activity(**fields))
    assert bot.connector.texts.count(texts.EXPIRED) == 1
    assert bot.keys() == []


async def test_a_button_pressed_after_the_expiry_is_told_of_it_first() -> None:
    bot = bot_that(_say_hello_and_answer)
    await bot.say()
    bot.clock.sleep(100)
    await bot.take(activity(type="invoke", name="task/submit"))
    assert bot.connector.texts[-2:] == [texts.WELCOME_BACK, "hello"]


async def _say_hello_and_answer(_: FunctionBot, context: TurnContext) -> None:
    await context.send_activity("hello")
    if context.activity.type == "invoke":
        answer = InvokeResponse(status=200)
        await context.send_activity(Activity(type="invokeResponse", value=answer))


async def test_an_authors_own_names_win() -> None:
    own = {"event/order": Effect.OPENS, "invoke/ping": Effect.NONE}
    bot = BotInMemory(FunctionBot(reply_only), effects=Effects(own))
    await bot.take(activity(type="invoke", name="ping"))
    assert bot.keys() == []
    await bot.take(activity(type="event", name="order"))
    assert bot.keys() == ["c", "d"]


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"message/x": Effect.OPENS}, "message/x"),
        ({"event/": Effect.OPENS}, "event/"),
        ({"order": Effect.OPENS}, "order"),
        ({"event/order": "opens"}, "event/order"),
    ],
)
def test_a_wrong_name_or_effect_is_named(own: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"{named}.*must be"):
        Effects(own)


# A session that nobody has spoken in


@pytest.mark.parametrize("kind", ["conversationUpdate", "event", "messageReaction"])
async def test_state_left_by_the_bots_own_turn_stays_and_ends_without_a_notice(kind: str) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.take(activity(type=kind))
    assert await bot.say() == ["2 2 2"]
    other = BotInMemory(FunctionBot(count_in_every_bag))
    await other.take(activity(type=kind))
    other.clock.sleep(103)
    report = await other.sweep()
    assert (report.expired, report.notified, report.silent) == (1, 0, 1)
    assert texts.EXPIRED not in other.connector.texts
    assert other.keys() == []


async def test_a_word_in_a_quiet_session_brings_its_notice() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.take(activity(type="conversationUpdate"))
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert bot.connector.texts[-1] == texts.EXPIRED


async def test_nobody_is_welcomed_back_to_a_session_that_nobody_spoke_in() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.take(activity(type="conversationUpdate"))
    bot.clock.sleep(100)
    assert await bot.say() == ["1 2 1"]


# A conversation that its bot or its client ends


async def _count_and_end(bot: FunctionBot, context: TurnContext) -> None:
    if context.activity.type == "message":
        await count_in_every_bag(bot, context)
        if context.activity.text == "bye":
            await context.send_activity(Activity(type="endOfConversation"))
        elif context.activity.text == "done":
            end_conversation(context)


ENDINGS: list[dict[str, Any]] = [
    {"text": "bye"},
    {"text": "done"},
    {"type": "endOfConversation", "code": "userCancelled"},
]


@pytest.mark.parametrize("fields", ENDINGS, ids=str)
async def test_an_ended_conversation_has_no_state_and_no_notice(fields: dict[str, Any]) -> None:
    bot = BotInMemory(FunctionBot(_count_and_end))
    await bot.say()
    await bot.say()
    await bot.take(activity(**fields))
    bot.clock.sleep(103)
    await bot.sweep()
    await bot.sweep()
    assert texts.EXPIRED not in bot.connector.texts
    assert bot.keys() == []


@pytest.mark.parametrize("fields", ENDINGS, ids=str)
@pytest.mark.parametrize("idle", [0, 50, 150])
async def test_who_speaks_after_the_end_starts_afresh_and_user_state_stays(
    fields: dict[str, Any], idle: int
) -> None:
    bot = BotInMemory(FunctionBot(_count_and_end))
    await bot.say()
    await bot.take(activity(**fields))
    bot.clock.sleep(idle)
    counted = 2 if fields.get("type") else 3
    assert await bot.say() == [f"1 {counted} 1"]
    await bot.take(activity(**fields))
    bot.clock.sleep(40)
    assert (await bot.say())[-1] == f"1 {2 * counted - 1} 1"


async def test_an_end_that_comes_after_the_expiry_stops_the_notice() -> None:
    bot = counting_bot()
    await bot.say()
    bot.clock.sleep(103)
    await bot.take(activity(type="endOfConversation"))
    await bot.sweep()
    assert texts.EXPIRED not in bot.connector.texts


async def test_other_activities_refresh_the_reference_and_leave_last_accessed_alone() -> None:
    bot = bot_that(_say_nothing)
    await bot.say()
    before = await bot.row()
    bot.clock.sleep(50)
    update = activity(type="conversationUpdate", serviceUrl="https://moved/", sender="channel")
    await bot.take(update)
    after = await bot.row()
    assert before is not None
    assert after is not None
    assert after.reference is not None
    assert after.last_accessed == before.last_accessed
    assert after.reference.service_url == "https://moved/"
    assert after.reference.user == Account("ann")


async def _say_nothing(_bot: FunctionBot, _context: TurnContext) -> None:
    return


async def test_an_activity_that_changes_nothing_writes_nothing() -> None:
    bot = bot_that(_say_nothing)
    await bot.say()
    before = await bot.row()
    await bot.take(activity(type="typing"))
    assert await bot.row() == before


async def test_the_reference_and_locale_follow_every_message() -> None:
    bot = counting_bot()
    await bot.say(locale="it-IT")
    await bot.say(serviceUrl="https://moved/")
    row = await bot.row()
    assert row is not None
    assert row.reference == Reference(
        channel="directline",
        service_url="https://moved/",
        conversation_id="talk",
        user=Account("ann"),
        bot=Account("bot"),
        is_anonymous=True,
    )
    assert row.locale == "it-IT"


async def test_a_groups_reference_names_no_user() -> None:
    bot = counting_bot()
    await bot.say(conversation={"id": "talk", "isGroup": True, "tenantId": "t"})
    row = await bot.row()
    assert row is not None
    assert row.reference is not None
    assert row.reference.user is None
    assert (row.reference.is_group, row.reference.tenant) == (True, "t")


async def test_a_missing_recipient_is_made_up_for() -> None:
    bot = counting_bot()
    assert await bot.say(recipient=None) == ["1"]


# Requests


async def test_a_later_turn_is_two_requests_without_user_state_and_four_with() -> None:
    tables = MemoryTable(), MemoryTable()
    bot = counting_bot(conversations=tables[0], users=tables[1])
    await bot.say()
    assert (tables[0].requests, tables[1].requests) == (2, 1)
    tables[0].requests = tables[1].requests = 0
    await bot.say()
    assert (tables[0].requests, tables[1].requests) == (2, 0)

    bot = BotInMemory(FunctionBot(_count_user), conversations=tables[0], users=tables[1])
    await bot.say(conversation={"id": "other"})
    tables[0].requests = tables[1].requests = 0
    await bot.say(conversation={"id": "other"})
    assert (tables[0].requests, tables[1].requests) == (2, 2)


async def _count_user(bot: FunctionBot, context: TurnContext) -> None:
    count = bot.user.create_property("count")
    await count.set(context, await count.get(context, 0) + 1)


async def test_user_state_that_is_only_read_is_three_requests() -> None:
    async def read(bot: FunctionBot, context: TurnContext) -> None:
        await bot.user.create_property("name").get(context)

    tables = MemoryTable(), MemoryTable()
    bot = BotInMemory(FunctionBot(read), conversations=tables[0], users=tables[1])
    await bot.say()
    tables[0].requests = tables[1].requests = 0
    await bot.say()
    assert (tables[0].requests, tables[1].requests) == (2, 1)


# Replies


async def test_replies_go_out_in_order_and_only_after_the_commit() -> None:
    sent_before_commit = []

    async def talk(_: FunctionBot, context: TurnContext) -> None:
        for text in ("one", "two", "three"):
            await context.send_activity(text)
        sent_before_commit.extend(bot.connector.sent)

    bot = bot_that(talk)
    assert await bot.say() == ["one", "two", "three"]
    assert sent_before_commit == []


async def test_sends_updates_and_deletes_keep_their_order() -> None:
    async def change(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity("new")
        await context.update_activity(Activity(id="5", type="message", text="changed"))
        await context.delete_activity("6")
        await context.send_activity("last")

    bot = bot_that(change)
    await bot.say()
    assert [(method, path[-2:]) for method, path, _ in bot.connector.sent][1:3] == [
        ("PUT", "/5"),
        ("DELETE", "/6"),
    ]
    assert bot.connector.texts == ["new", "last"]


async def test_typing_goes_out_at_once_and_trace_nowhere_but_to_the_emulator() -> None:
    kinds_before_the_end: list[str] = []

    async def think(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity(Activity(type=ActivityTypes.typing))
        await context.send_trace_activity("thoughts")
        kinds_before_the_end.extend(body["type"] for _, _, body in bot.connector.sent)

    bot = bot_that(think)
    await bot.take(activity())
    assert kinds_before_the_end == ["typing"]
    assert len(bot.connector.sent) == 1
    await bot.take(activity(channelId="emulator"))
    assert [body["type"] for _, _, body in bot.connector.sent] == ["typing", "typing", "trace"]


async def test_a_typing_that_fails_does_not_stop_the_turn() -> None:
    async def think(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity(Activity(type=ActivityTypes.typing))
        await context.send_activity("done")

    bot = bot_that(think)
    bot.connector.refuse = lambda body: (
        ConnectorError("no", status=500) if body["type"] == "typing" else None
    )
    assert await bot.say() == ["done"]


async def test_expect_replies_are_in_the_answer_and_not_sent() -> None:
    bot = counting_bot()
    answer = await bot.take(activity(deliveryMode="expectReplies"))
    assert answer is not None
    assert answer.status == 200
    assert texts_in(answer) == ["1"]
    assert bot.connector.sent == []


async def test_an_invokes_response_is_the_answer() -> None:
    async def answer_invoke(_: FunctionBot, context: TurnContext) -> None:
        value = InvokeResponse(status=201, body={"ok": True})
        await context.send_activity(Activity(type=ActivityTypes.invoke_response, value=value))

    answer = await bot_that(answer_invoke).take(activity(type="invoke", name="x"))
    assert answer is not None
    assert (answer.status, answer.body) == (201, {"ok": True})


async def test_an_invoke_the_bot_does_not_answer_is_501() -> None:
    answer = await counting_bot().take(activity(type="invoke", name="x"))
    assert answer is not None
    assert answer.status == 501


@pytest.mark.parametrize("status", [403, 404, 429, 500, None])
async def test_a_reply_that_cannot_be_delivered_leaves_the_turn_saved(status: int | None) -> None:
    bot = counting_bot()
    bot.connector.refuse = lambda _: ConnectorError("no", status=status)
    assert await bot.say() == []
    bot.connector.refuse = lambda _: None
    assert await bot.say() == ["2"]


async def test_a_reply_that_fails_unexpectedly_leaves_the_turn_saved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down(_: dict[str, Any]) -> None:
        raise TypeError("a bug in the client")

    bot = counting_bot()
    bot.connector.refuse = break_down
    assert await bot.say() == []
    assert "a bug in the client" in caplog.text
    bot.connector.refuse = lambda _: None
    assert await bot.say() == ["2"]


async def test_what_follows_a_failed_reply_is_not_sent() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        for text in ("one", "two", "three"):
            await context.send_activity(text)

    bot = bot_that(talk)
    bot.connector.refuse = lambda body: (
        ConnectorError("no", status=500) if body["text"] == "two" else None
    )
    assert await bot.say() == ["one"]


async def test_a_bot_that_fails_says_so_once_and_saves_nothing() -> None:
    async def fail(bot: FunctionBot, context: TurnContext) -> None:
        await count_in_conversation(bot, context)
        await bot.conversation.save_changes(context)
        if context.activity.text == "boom":
            raise RuntimeError("a bug in the dialog")

    bot = bot_that(fail)
    await bot.say()
    before = await bot.row()
    assert await bot.say("boom") == [texts.SOMETHING_WENT_WRONG]
    assert await bot.row() == before
    assert await bot.say() == ["2"]


async def test_a_bot_that_fails_at_an_invoke_answers_500() -> None:
    async def fail(_: FunctionBot, __: TurnContext) -> None:
        raise RuntimeError

    answer = await bot_that(fail).take(activity(type="invoke"))
    assert answer is not None
    assert answer.status == 500


async def test_a_bot_that_fails_answers_expect_replies_with_the_apology_only() -> None:
    async def fail(_: FunctionBot, context: TurnContext) -> None:
        await context.send_activity("half an answer")
        raise RuntimeError

    answer = await bot_that(fail).take(activity(deliveryMode="expectReplies"))
    assert answer is not None
    assert texts_in(answer) == [texts.SOMETHING_WENT_WRONG]


async def test_state_of_an_unknown_type_is_an_error_before_anything_is_sent() -> None:
    async def keep(bot: FunctionBot, context: TurnContext) -> None:
        await bot.conversation.create_property("x").set(context, object())
        await context.send_activity("kept")

    bot = bot_that(keep)
    assert await bot.say() == [texts.SOMETHING_WENT_WRONG]
    assert bot.keys() == []


async def test_state_above_the_limit_is_an_error_before_anything_is_sent() -> None:
    async def keep(bot: FunctionBot, context: TurnContext) -> None:
        noise = "".join(chr(0x4E00 + (n * n * 31) % 20000) for n in range(500_000))
        await bot.conversation.create_property("x").set(context, noise)
        await context.send_activity("kept")

    bot = bot_that(keep)
    assert await bot.say() == [texts.SOMETHING_WENT_WRONG]
    assert bot.keys() == []


async def test_a_conversation_with_damaged_state_is_named_in_the_log_and_starts_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = counting_bot()
    await bot.say()
    row = await bot.row()
    assert row is not None
    await bot.store.save(replace(row, state=b"not what the codec wrote"))
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    assert f"conversation {row.address.shard}/{row.address.key}" in caplog.text
    assert await bot.say() == ["2"]


async def test_a_damaged_conversation_row_is_named_in_the_log_and_starts_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = counting_bot(conversations=(table := MemoryTable()))
    await bot.say()
    at = next(at for at in table.rows if at[1].startswith("c|"))
    table.rows[at].columns.pop("LastAccessed")  # type: ignore[attr-defined] # damaged on purpose
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    assert f"row {at[0]}/{at[1]}" in caplog.text
    assert await bot.say() == ["2"]


async def test_a_user_with_damaged_state_gets_an_apology_and_the_log_names_the_user(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.say()
    user = user_hash("directline", "ann")
    row = await bot.store.load_user(user)
    assert row is not None
    await bot.store.save_user(user, replace(row, state=b"damaged", writer=""))
    assert await bot.say() == [texts.SOMETHING_WENT_WRONG]
    assert user in caplog.text
    assert await bot.say(sender="bob") == ["2 1 1"]


# Other writers


async def test_two_messages_at_once_both_count_and_are_answered_once() -> None:
    bot = counting_bot()
    await bot.say()
    await asyncio.gather(*(bot.say(str(n)) for n in range(20)))
    assert bot.connector.texts == [str(n) for n in range(1, 22)]


async def test_messages_to_two_processes_at_once_both_count_in_every_bag() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.say()
    for _ in range(10):
        await asyncio.gather(bot.say(), bot.another_process().say())
    assert sorted(bot.connector.texts, key=lambda text: int(text.split()[0])) == [
        f"{n} {n} {n}" for n in range(1, 22)
    ]


async def test_one_user_in_two_conversations_at_once_counts_right() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    for _ in range(5):
        await asyncio.gather(
            *(bot.another_process().say(conversation={"id": f"talk{n}"}) for n in range(3))
        )
    user_counts = sorted(int(text.split()[1]) for text in bot.connector.texts)
    assert user_counts == list(range(1, 16))


async def test_a_message_that_loses_the_race_runs_again_and_its_first_replies_are_dropped() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say("first")
    other = bot.another_process()
    conversations.before = do_once("write replace c|", lambda: other.say("other"))
    await bot.say("mine")
    assert bot.connector.texts == ["1 1 1", "2 2 2", "3 3 3"]
    assert bot.bot.runs == 4  # type: ignore[attr-defined] # FunctionBot's


async def test_a_lost_answer_to_the_commit_is_recognised_as_saved() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    conversations.after = once("write replace c|")
    assert await bot.say() == ["2 2 2"]
    assert await bot.say() == ["3 3 3"]


async def test_ones_own_success_reported_as_a_conflict_is_recognised_as_saved() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    conversations.after = once("write replace c|", ConflictError("412"))
    assert await bot.say() == ["2 2 2"]
    assert await bot.say() == ["3 3 3"]


async def test_a_lost_answer_to_the_first_commit_is_recognised_as_saved() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    conversations.after = once("write insert c|")
    assert await bot.say() == ["1 1 1"]
    assert await bot.say() == ["2 2 2"]


async def test_a_saved_turn_is_recognised_even_after_another_turn_was_saved() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    other = bot.another_process()

    async def lose_the_answer_and_let_another_in(doing: str) -> None:
        if "write replace c|" in doing:
            conversations.after = once("nothing")
            await other.say()
            raise StorageUnavailableError("lost")

    conversations.after = lose_the_answer_and_let_another_in
    await bot.say()
    assert sorted(bot.connector.texts) == ["1 1 1", "2 2 2", "3 3 3"]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("what", ["write insert user", "write replace user"])
async def test_a_lost_write_of_user_state_neither_loses_nor_doubles_it(
    where: str, what: str
) -> None:
    bot, _, users = bot_on_faulty_tables()
    setattr(users, where, once(what))
    for _ in range(3):
        # Either it is answered, or the channel is told to try again, as it does here.
        try:
            await bot.say()
        except StorageUnavailableError:
            await bot.say()
    assert [text.split()[1] for text in bot.connector.texts] == ["1", "2", "3"]


async def test_a_crash_between_user_and_conversation_leaves_the_user_as_before() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    conversations.before = once("write replace c|", asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await bot.say()
    assert await bot.another_process().say() == ["2 2 2"]


async def test_a_crash_between_user_and_conversation_is_undone_from_another_conversation() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    conversations.before = once("write replace c|", asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await bot.say()
    assert await bot.say(conversation={"id": "elsewhere"}) == ["1 2 1"]
    assert await bot.say() == ["2 3 2"]


@pytest.mark.parametrize("seconds", [0, 15, 25, 200])
async def test_a_copy_after_a_crash_between_user_and_conversation_counts_once(
    seconds: float,
) -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    bot.timing = Timing(timedelta(seconds=20))
    first = bot.another_process()
    conversations.before = once("write insert c|", asyncio.CancelledError())
    message = activity()
    with pytest.raises(asyncio.CancelledError):
        await first.take(message)
    bot.clock.sleep(seconds)
    await bot.another_process().take(message)
    assert bot.connector.texts == ["1 1 1"]


async def test_a_copy_that_loses_after_other_turns_of_the_user_counts_once() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    message = activity()
    other = bot.another_process()

    async def meanwhile() -> None:
        await other.take(message)
        await other.say(conversation={"id": "elsewhere"})

    conversations.after = do_once("get c|", meanwhile)
    await bot.take(message)
    assert await bot.say() == ["2 3 2"]


async def test_user_state_of_a_settled_session_is_kept() -> None:
    bot, _, _ = bot_on_faulty_tables()
    await bot.say()
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say() == ["1 2 1"]
    bot.clock.sleep(100)
    assert await bot.say() == [texts.WELCOME_BACK, "1 3 1"]


async def test_a_user_row_in_mid_commit_makes_another_conversation_wait() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    other = bot.another_process()
    conversations.before = do_once(
        "write replace c|", lambda: other.say(conversation={"id": "elsewhere"})
    )
    await bot.say()
    user_counts = sorted(text.split()[1] for text in bot.connector.texts)
    assert user_counts == ["1", "2", "3"]


async def test_it_gives_up_after_so_many_conflicts_and_says_so_once() -> None:
    bot, conversations, _ = bot_on_faulty_tables()
    await bot.say()
    row = await bot.row()

    async def conflict(doing: str) -> None:
        if doing.startswith("write replace c|"):
            raise ConflictError("412")

    conversations.before = conflict
    assert await bot.say() == [texts.TOO_MANY_AT_ONCE]
    conversations.before = once("nothing")
    assert await bot.row() == row


@pytest.mark.parametrize("what", ["get c|", "write insert c|"])
async def test_a_store_that_does_not_answer_sends_nothing(what: str) -> None:
    bot, conversations, _ = bot_on_faulty_tables()

    async def down(doing: str) -> None:
        if what in doing:
            raise StorageUnavailableError("down")

    conversations.before = down
    with pytest.raises(StorageUnavailableError):
        await bot.say()
    assert bot.connector.sent == []


async def test_a_conflict_that_the_bot_swallows_still_starts_the_turn_over() -> None:
    async def careless(bot: FunctionBot, context: TurnContext) -> None:
        try:
            await count_in_every_bag(bot, context)
        except ConflictError:
            await context.send_activity("never mind")

    users = FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(careless), users=users)
    users.before = once("get user", ConflictError("in mid-commit"))
    assert await bot.say() == ["1 1 1"]


# The sweep comes in between


async def test_a_message_close_to_expiry_saves_its_time_before_the_dialog_runs() -> None:
    seen: list[Any] = []

    async def look(_: FunctionBot, __: TurnContext) -> None:
        seen.append(await bot.row())

    bot = bot_that(look)
    await bot.say()
    bot.clock.sleep(76)  # the guard is a quarter of 100 s
    await bot.say()
    assert seen[1].last_accessed == bot.clock.now


async def test_a_message_far_from_expiry_does_not() -> None:
    bot = counting_bot(conversations=(table := MemoryTable()))
    await bot.say()
    bot.clock.sleep(74)
    table.requests = 0
    await bot.say()
    assert table.requests == 2


async def test_a_turn_that_sends_a_few_replies_makes_no_request_for_the_budget_of_all() -> None:
    async def reply_often(self: FunctionBot, context: TurnContext) -> None:
        for _ in range(TOLD_FROM_REPLIES - 1):
            await context.send_activity("and")

    bot = BotInMemory(FunctionBot(reply_often), conversations=(table := MemoryTable()))
    budget = Budget(TableBudget(table), now=bot.clock, clock=lambda: bot.clock().timestamp())
    bot.turns._adapter._limits = SendingLimits(read_limits(SendingSettings()), budget=budget)
    await bot.say()
    bot.clock.sleep(60)
    for requests in 2, 3:  # with the next turn they are many, and told
        table.requests = 0
        assert len(await bot.say()) == TOLD_FROM_REPLIES - 1
        for _ in range(5):
            await asyncio.sleep(0)
        assert table.requests == requests
        bot.clock.sleep(2)
    await budget.close()


async def test_a_message_in_time_keeps_its_session_though_the_sweep_comes_during_the_turn() -> None:
    async def long_turn(self: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "long":
            bot.clock.sleep(10)
            await bot.another_process().sweep()
        await count_in_conversation(self, context)

    bot = bot_that(long_turn)
    await bot.say()
    bot.clock.sleep(99)
    assert await bot.say("long") == ["2"]
    assert texts.EXPIRED not in bot.connector.texts


async def test_a_message_that_loses_to_the_sweep_starts_a_session_and_is_answered_once() -> None:
    conversations = FaultyTable(MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_conversation), conversations=conversations)
    await bot.say()
    bot.clock.sleep(103)
    conversations.before = do_once("write replace c|", lambda: bot.another_process().sweep())
    await bot.say()
    assert bot.connector.texts == ["1", texts.EXPIRED, "1"]
    assert (await bot.sweep()).looked_at == 0


async def test_a_message_received_in_time_but_served_late_keeps_its_session() -> None:
    async def slow(self: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "slow":
            await asyncio.sleep(0)  # the other message comes in and waits its turn
            bot.clock.sleep(50)
        await count_in_conversation(self, context)

    bot = bot_that(slow)
    await bot.say()
    bot.clock.sleep(60)
    await asyncio.gather(bot.say("slow"), bot.say("waits"))
    assert bot.connector.texts == ["1", "2", "3"]


async def test_private_state_ends_with_its_session() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    assert await bot.say() == ["1 1 1"]
    assert await bot.say(sender="bob") == ["2 1 1"]
    assert await bot.say() == ["3 2 2"]
    bot.clock.sleep(100)
    assert await bot.say() == [texts.WELCOME_BACK, "1 3 1"]


@pytest.mark.parametrize(("before", "after"), [(30, 3600), (100, 1), (100, 100), (3600, 30)])
async def test_a_changed_timeout_undoes_no_user_state(before: int, after: int) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag), timing=Timing(timedelta(seconds=before)))
    await bot.say()
    assert await bot.say() == ["2 2 2"]
    bot.clock.sleep(before + 10)
    await bot.sweep()
    assert bot.keys() == []
    changed = replace(bot, timing=Timing(timedelta(seconds=after)))
    bot.clock.sleep(5)
    assert await changed.say() == ["1 3 1"]


async def test_a_row_of_a_version_that_did_not_say_how_long_its_session_lasted_is_read() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.say()
    assert isinstance(bot.users, MemoryTable)
    assert bot.cosmos or any("LastsUntil" in row.columns for row in bot.users.rows.values())
    for at, row in bot.users.rows.items():
        older = {name: value for name, value in row.columns.items() if name != "LastsUntil"}
        bot.users.rows[at] = replace(row, columns=older)
    bot.clock.sleep(103)
    await bot.sweep()
    assert await bot.say() == ["1 2 1"]


@pytest.mark.parametrize("seconds", [1, 5, 15, 29])
async def test_a_short_timeout_locks_nobody_out(seconds: int) -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag), timing=Timing(timedelta(seconds=seconds)))
    await bot.say()
    bot.clock.sleep(seconds + 3)
    await bot.sweep()
    assert bot.keys() == []
    assert await bot.say() == ["1 2 1"]


async def test_a_session_that_a_long_turn_opens_begins_when_it_is_stored() -> None:
    async def slow(_: FunctionBot, context: TurnContext) -> None:
        bot.clock.sleep(103)
        await context.send_activity("at last")

    bot = BotInMemory(FunctionBot(slow))
    await bot.say()
    report = await bot.sweep()
    assert report.expired == 0
    row = await bot.row()
    assert row
    assert row.last_accessed == bot.clock()


# Copies of one activity: channels retry


async def test_a_copy_of_a_message_takes_effect_once_and_is_answered_once() -> None:
    bot = counting_bot()
    first = activity()
    await bot.take(first)
    await bot.take(first)
    assert bot.connector.texts == ["1"]
    assert await bot.say() == ["2"]


async def test_copies_at_once_in_two_processes_take_effect_once_and_are_answered_once() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    for number in range(1, 6):
        message = activity()
        await asyncio.gather(
            *(process.take(message) for process in (bot, bot.another_process(), bot))
        )
        assert bot.connector.texts[-1] == f"{number} {number} {number}"
        assert len(bot.connector.texts) == number


async def test_a_copy_is_known_after_many_other_turns_and_in_the_next_session() -> None:
    bot = counting_bot()
    early = activity()
    await bot.take(early)
    for _ in range(10):
        await bot.say()
    await bot.take(early)
    bot.clock.sleep(100)
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    await bot.take(early)
    assert await bot.say() == ["2"]


async def test_the_replies_of_a_turn_that_died_before_sending_go_out_with_the_copy() -> None:
    bot = counting_bot()
    message = activity()
    died = bot.another_process()
    died.connector = FakeConnector()  # whatever it would have sent went nowhere
    died.__post_init__()
    await died.take(message)
    bot.clock.sleep(10)
    await bot.take(message)
    await bot.another_process().take(message)
    assert bot.connector.texts == ["1"]
    assert await bot.say() == ["2"]


async def test_a_copy_that_comes_at_once_does_not_send_what_another_process_is_sending() -> None:
    bot = counting_bot()
    message = activity()
    await bot.another_process().take(message)
    bot.clock.sleep(9)
    await bot.take(message)
    assert bot.connector.texts == ["1"]


async def test_a_copy_whose_turn_is_not_the_last_sends_nothing() -> None:
    bot = counting_bot()
    message = activity()
    await bot.take(message)
    await bot.say()
    bot.clock.sleep(20)
    await bot.another_process().take(message)
    assert bot.connector.texts == ["1", "2"]


async def test_a_copy_of_an_expect_replies_message_or_an_invoke_gets_the_same_answer() -> None:
    async def answer(bot: FunctionBot, context: TurnContext) -> None:
        await count_in_conversation(bot, context)
        if context.activity.type == ActivityTypes.invoke:
            value = InvokeResponse(status=201, body={"ok": 1})
            await context.send_activity(Activity(type=ActivityTypes.invoke_response, value=value))

    bot = bot_that(answer)
    expecting = activity(deliveryMode="expectReplies")
    first, second = await bot.take(expecting), await bot.take(expecting)
    assert first is not None
    assert second is not None
    assert texts_in(second) == texts_in(first) == ["1"]
    invoke = activity(type="invoke")
    first, second = await bot.take(invoke), await bot.take(invoke)
    assert first is not None
    assert second is not None
    assert (second.status, second.body) == (first.status, first.body) == (201, {"ok": 1})


async def test_a_delivery_that_takes_long_is_not_repeated_by_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn, "SLOW_DELIVERY_SECONDS", 0)
    bot = counting_bot()
    message = activity()
    slow = bot.another_process()
    going = asyncio.Event()

    async def slow_request(*_: object) -> object:
        await going.wait()
        return {"id": "1"}

    monkeypatch.setattr(slow, "connector", FakeConnector())
    slow.__post_init__()
    monkeypatch.setattr(slow.connector, "request", slow_request)
    sending = asyncio.create_task(slow.take(message))
    while (row := await bot.row()) is None or row.replies:  # noqa: ASYNC110 - all there is to see
        await asyncio.sleep(0)
    bot.clock.sleep(20)
    await bot.take(message)
    going.set()
    await sending
    assert bot.connector.texts == []


async def test_edits_of_one_message_are_not_copies_of_each_other() -> None:
    bot = counting_bot()
    for second in (1, 2, 2):
        edited = activity(type="messageUpdate", id="5", timestamp=f"2026-11-22T12:00:0{second}Z")
        await bot.take(edited)
    assert bot.connector.texts == ["1", "2"]


async def test_activities_without_an_id_are_never_copies() -> None:
    bot = counting_bot()
    for _ in range(2):
        await bot.take(activity(id=None))
    assert bot.connector.texts == ["1", "2"]


async def test_a_groups_row_keeps_no_replies() -> None:
    bot = counting_bot()
    await bot.say(conversation={"id": "talk", "isGroup": True})
    row = await bot.row()
    assert row is not None
    assert row.replies == b""


async def test_replies_too_large_or_of_the_bots_own_objects_are_sent_but_not_kept() -> None:
    async def talk(_: FunctionBot, context: TurnContext) -> None:
        noise = "".join(chr(0x4E00 + (n * n * 31) % 20000) for n in range(60_000))
        await context.send_activity(noise)

    bot = bot_that(talk)
    assert len(await bot.say()) == 1
    row = await bot.row()
    assert row is not None
    assert row.replies == b""


# Long turns


async def test_a_long_turn_keeps_its_session_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "CLOCK_SKEW", timedelta(0))  # it is longer than the test

    async def think(self: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "think":
            for _ in range(12):
                await asyncio.sleep(0.05)
                await bot.another_process().sweep()
        await count_in_conversation(self, context)

    bot = BotInMemory(FunctionBot(think), timing=Timing(timedelta(seconds=0.4)), clock=_RealClock())
    await bot.say()
    assert await bot.say("think") == ["2"]
    assert texts.EXPIRED not in bot.connector.texts
    assert bot.bot.runs == 2  # type: ignore[attr-defined] # FunctionBot's


class _RealClock(Clock):
    """The real time, or one that is ahead of it."""

    ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


async def test_the_heartbeat_goes_by_the_last_access_that_a_sweep_can_see() -> None:
    async def think(self: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "think":
            async with asyncio.timeout(10):
                while await bot.row() == first:  # noqa: ASYNC110 - a row has no event
                    await asyncio.sleep(0.01)
        await count_in_conversation(self, context)

    bot = BotInMemory(FunctionBot(think), clock=(clock := _RealClock()))
    await bot.say()
    first = await bot.row()
    clock.ahead = timedelta(seconds=74.9)  # of 100, the last 25 of which are guarded
    assert await bot.say("think") == ["2"]


async def test_a_turn_whose_heartbeat_finds_another_writer_starts_over() -> None:
    async def think(self: FunctionBot, context: TurnContext) -> None:
        if context.activity.text == "think" and self.runs < 3:
            await bot.another_process().say("meanwhile")
            await asyncio.sleep(0.3)
        await count_in_conversation(self, context)

    bot = BotInMemory(FunctionBot(think), timing=Timing(timedelta(seconds=0.3)), clock=_RealClock())
    await bot.say()
    await bot.say("think")
    assert bot.connector.texts == ["1", "2", "3"]


async def test_a_short_turn_makes_no_heartbeat() -> None:
    bot = counting_bot(conversations=(table := MemoryTable()))
    await bot.say()
    table.requests = 0
    await bot.say()
    assert table.requests == 2
