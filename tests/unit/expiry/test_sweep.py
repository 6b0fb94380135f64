"""The sweep: what is idle is expired and its user told, whatever else happens at the time."""

import asyncio
import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botbuilder.schema import Activity

from shared.connector.client import ConnectorError
from shared.connector.credentials import CredentialError
from shared.connector.notices import notice_for, say_nothing
from shared.connector.service_urls import TEAMS_GCC
from shared.domain.conversation import Conversation, Status
from shared.domain.errors import ConflictError, StorageUnavailableError
from shared.domain.identity import Address, ConversationKey
from shared.domain.policy import Policy
from shared.domain.reference import Reference
from shared.domain.timing import Timing
from shared.domain.work import DeadLetter
from shared.expiry import sweep, workload
from shared.expiry.notice import NoticeResult, Slot, Unlimited, Verdict
from shared.expiry.report import SweepReport
from shared.expiry.sweep import Sweep
from shared.storage.table_store import TableStore
from shared.texts.texts_file import read_texts
from tests import texts
from tests.bot_in_memory import (
    CHANNEL,
    BotInMemory,
    FunctionBot,
    activity,
    count_in_conversation,
    count_in_every_bag,
)
from tests.faults import FaultyTable, do_once, once
from tests.memory_table import MemoryTable

IDLE = 103  # seconds: expire_after is 100, and the sweep allows 2 for clocks that differ


def counting_bot(**options: Any) -> BotInMemory:
    return BotInMemory(FunctionBot(count_in_conversation), **options)


async def idle_bot(**options: Any) -> BotInMemory:
    bot = counting_bot(**options)
    await bot.say()
    bot.clock.sleep(IDLE)
    return bot


def refusing(status: int | None, **details: Any) -> Callable[[dict[str, Any]], ConnectorError]:
    return lambda _: ConnectorError("refused", status=status, **details)


def accepting(_: dict[str, Any]) -> None:
    return None


async def test_an_idle_conversation_is_expired_its_user_told_and_its_rows_removed() -> None:
    bot = await idle_bot()
    report = await bot.sweep()
    assert (report.looked_at, report.expired, report.notified) == (1, 1, 1)
    assert bot.connector.texts == ["1", texts.EXPIRED]
    assert bot.keys() == []


async def test_state_is_gone_before_the_notice_is_sent() -> None:
    bot = await idle_bot()
    seen: list[Conversation | None] = []

    async def look(_: Conversation) -> NoticeResult:
        seen.append(await bot.row())
        return NoticeResult(Verdict.DELIVERED)

    await bot.sweep(look)
    assert seen[0] is not None
    assert (seen[0].status, seen[0].state) == (Status.EXPIRED, b"")


@pytest.mark.parametrize("idle_seconds", [0, 50, 99, 101])
async def test_a_conversation_is_never_expired_early(idle_seconds: int) -> None:
    bot = counting_bot()
    await bot.say()
    bot.clock.sleep(idle_seconds)
    assert (await bot.sweep()).expired == 0
    assert bot.keys() == ["c", "d"]


async def test_a_conversation_that_went_on_is_refiled_and_its_row_not_touched() -> None:
    bot = counting_bot()
    await bot.say()
    bot.clock.sleep(60)
    await bot.say()
    before = await bot.row()
    bot.clock.sleep(50)
    report = await bot.sweep()
    assert (report.looked_at, report.refiled, report.expired) == (1, 1, 0)
    assert await bot.row() == before
    bot.clock.sleep(53)
    assert (await bot.sweep()).expired == 1


async def test_many_that_went_on_are_refiled_several_a_transaction() -> None:
    bot = counting_bot(conversations=(table := MemoryTable()))
    for number in range(40):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(60)
    for number in range(40):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(50)
    table.requests = 0
    report = await bot.sweep()
    assert report.refiled == 40
    assert table.requests <= 2 + 40 + 40 / 5 + 2


async def test_due_rows_of_many_that_are_over_go_ten_a_transaction() -> None:
    bot = counting_bot(conversations=(table := MemoryTable()))
    for number in range(40):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    table.requests = 0
    assert (await bot.sweep()).notified == 40
    assert table.requests <= 2 + 3 * 40 + 40 / 10 + 2
    assert bot.keys() == []


async def test_a_sweep_that_dies_before_due_rows_are_removed_leaves_nothing_to_tell() -> None:
    table = FaultyTable(memory := MemoryTable())
    bot = counting_bot(conversations=table)
    for number in range(3):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    table.before = once("write delete d|", asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await bot.sweep()
    assert {key[0] for _, key in memory.rows} == {"d"}
    report = await bot.sweep()
    assert (report.finished_already, report.expired, report.notified) == (3, 0, 0)
    assert not memory.rows
    assert bot.connector.texts.count(texts.EXPIRED) == 3


async def test_the_notice_is_in_the_conversations_language_and_names_the_session() -> None:
    bot = counting_bot()
    await bot.say(locale="it-IT")
    row = await bot.row()
    bot.clock.sleep(IDLE)
    await bot.sweep()
    method, path, body = bot.connector.sent[-1]
    assert row is not None
    assert (method, path) == ("POST", "v3/conversations/talk/activities")
    assert body == {
        "type": "message",
        "text": read_texts().say("expired", "it").text,
        "inputHint": "acceptingInput",
        "channelId": "directline",
        "serviceUrl": "https://channel.example/",
        "conversation": {"id": "talk"},
        "from": {"id": "bot"},
        "recipient": {"id": "ann"},
        "locale": "it",
        "channelData": {"expiredSession": row.session},
    }


@pytest.mark.parametrize("channel", ["webchat", "emulator", "test", "msteams", "directline"])
def test_clients_that_can_read_it_get_the_session(channel: str) -> None:
    notice = notice_on(channel)
    assert notice.channel_data == {"expiredSession": "session-1"}


@pytest.mark.parametrize(
    "channel",
    [
        *("slack", "facebook", "telegram", "email", "sms", "line", "kik", "groupme", "twilio-sms"),
        *("alexa", "skype", "outlook", "directlinespeech", "omnichannel", "a channel of 2030"),
    ],
)
def test_other_channels_get_no_channel_data(channel: str) -> None:
    assert notice_on(channel).channel_data is None
    assert "channelData" not in notice_on(channel).serialize()


def notice_on(channel: str) -> Activity:
    conversation = Conversation(
        Address("s000", ConversationKey(channel, "talk").hash),
        session="session-1",
        last_accessed=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return notice_for(
        conversation, Reference(channel, "https://channel.example/", "talk"), read_texts()
    )


async def test_with_notices_off_state_goes_and_nothing_is_said() -> None:
    bot = await idle_bot()
    report = await bot.sweep(say_nothing)
    assert (report.expired, report.notified, report.notice_failures) == (1, 0, {})
    assert report.silent == 1
    assert bot.connector.texts == ["1"]
    assert bot.keys() == []


async def test_user_state_survives_and_private_state_does_not() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.say()
    await bot.say(sender="bob")
    assert bot.keys() == ["c", "d", "p", "p"]
    bot.clock.sleep(IDLE)
    await bot.sweep()
    assert bot.keys() == []
    assert await bot.say() == ["1 2 1"]


async def test_private_state_of_several_users_goes_at_once() -> None:
    writes: list[str] = []

    async def note(doing: str) -> None:
        if "delete p|" in doing:
            writes.append(doing)

    table = FaultyTable(memory := MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_every_bag), conversations=table)
    for sender in ("ann", "bob", "eve"):
        await bot.say(sender=sender)
    bot.clock.sleep(IDLE)
    table.before = note
    await bot.sweep()
    assert len(writes) == 1
    assert writes[0].count("delete p|") == 3
    assert not memory.rows


async def test_private_state_of_who_is_back_stays_while_that_of_others_goes() -> None:
    table = FaultyTable(memory := MemoryTable())
    bot = BotInMemory(FunctionBot(count_in_every_bag), conversations=table)
    for sender in ("ann", "bob", "eve"):
        await bot.say(sender=sender)
    bot.clock.sleep(IDLE)
    table.before = do_once("delete p|", lambda: bot.say(sender="bob"))
    await bot.sweep()
    assert sorted(key[0] for _, key in memory.rows) == ["c", "d", "p"]
    assert (await bot.say(sender="bob"))[-1].endswith(" 2")


# The channel refuses


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_refusal_for_good_is_counted_and_never_tried_again(status: int) -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(status, code="ConversationBlockedByUser")
    report = await bot.sweep()
    assert report.notice_failures == {str(status): 1}
    assert report.refused == 1
    assert bot.keys() == []
    bot.connector.refuse = accepting
    bot.clock.sleep(100_000)
    await bot.sweep()
    assert bot.connector.texts == ["1"]


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("code", [None, ""])
async def test_a_refusal_that_no_channel_signed_is_tried_again(
    status: int, code: str | None
) -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(status, code=code)
    report = await bot.sweep()
    assert report.notice_failures == {str(status): 1}
    assert (report.refused, report.retried_later, report.stopped) == (0, 1, False)
    bot.connector.refuse = accepting
    bot.clock.sleep(15)
    assert (await bot.sweep()).notified == 1
    assert bot.keys() == []


async def test_a_refusal_that_no_channel_signed_in_a_day_is_a_dead_letter() -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(403)
    await bot.sweep()
    bot.clock.sleep(90_000)
    assert (await bot.sweep()).dead_lettered == 1


async def idle_bots(count: int) -> BotInMemory:
    bot = counting_bot()
    for number in range(count):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    return bot


async def test_ten_unsigned_refusals_in_a_row_stop_the_sweep_and_lose_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bot = await idle_bots(40)
    bot.connector.refuse = refusing(403)
    report = await bot.sweep()
    assert report.stopped
    assert "stopped: the last 10 answers were refusals without" in str(report)
    assert caplog.text.count("sweep: stopped") == 1
    assert (report.refused, report.dead_lettered) == (0, 0)
    bot.connector.refuse = accepting
    bot.clock.sleep(100)
    assert (await bot.sweep()).notified == 40
    assert bot.keys() == []


@pytest.mark.parametrize("every", [1, 5, 9])
async def test_a_signed_answer_among_them_lets_the_sweep_go_on(every: int) -> None:
    bot = await idle_bots(40)
    answers = itertools.count()
    bot.connector.refuse = lambda _: (
        None if next(answers) % (every + 1) == every else ConnectorError("no", status=404)
    )
    report = await bot.sweep()
    assert not report.stopped
    assert report.notified + report.retried_later == 40


async def test_nine_unsigned_refusals_stop_nothing() -> None:
    bot = await idle_bots(9)
    bot.connector.refuse = refusing(410)
    report = await bot.sweep()
    assert (report.stopped, report.retried_later) == (False, 9)


@pytest.mark.parametrize("status", [302, 400, 405, 409, 413, 422, 500, 501, 505])
async def test_what_would_fail_again_is_a_dead_letter_at_once(status: int) -> None:
    bot = await idle_bot()
    row = await bot.row()
    expired_at = bot.clock.now
    bot.connector.refuse = refusing(status, code="x" * 1000)
    report = await bot.sweep()
    assert report.notice_failures == {str(status): 1}
    assert (report.dead_lettered, report.retried_later, report.refused) == (1, 0, 0)
    assert bot.keys() == ["x"]
    assert row is not None
    assert row.reference is not None
    assert await bot.dead_letters() == [
        DeadLetter(
            row.address,
            row.session,
            expired_at=expired_at,
            dead_at=expired_at,
            attempts=1,
            reason="no use in trying again",
            status=status,
            code="x" * 100,
            readable_key=f"{CHANNEL}|talk",
            reference=row.reference,
        )
    ]
    bot.connector.refuse = accepting
    bot.clock.sleep(100_000)
    assert (await bot.sweep()).looked_at == 0
    assert bot.connector.texts == ["1"]


@pytest.mark.parametrize("status", [408, 412, 429, 502, 503, 504, None])
async def test_a_refusal_for_now_is_tried_again_later_and_not_before(status: int | None) -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(status)
    report = await bot.sweep()
    assert report.notice_failures == {str(status or "no answer"): 1}
    assert report.retried_later == 1
    assert bot.keys() == ["c", "d"]
    bot.connector.refuse = accepting
    bot.clock.sleep(5)
    assert (await bot.sweep()).looked_at == 0
    bot.clock.sleep(15)
    report = await bot.sweep()
    assert (report.notified, report.expired) == (1, 0)
    assert bot.keys() == []


async def test_waits_grow_from_10_seconds_to_an_hour_and_end_after_a_day() -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(503)
    waits = []
    started = bot.clock.now
    while await bot.row():
        report = await bot.sweep()
        row = await bot.row()
        if row is not None and row.lease_until is not None:
            waits.append((row.lease_until - bot.clock.now).total_seconds())
            bot.clock.now = row.lease_until + timedelta(seconds=4)
    assert 10 <= waits[0] <= 12
    assert waits == sorted(waits)[: len(waits)] or max(waits) == 3600
    assert max(waits) <= 3600
    assert timedelta(hours=24) <= bot.clock.now - started <= timedelta(hours=26)
    assert (report.dead_lettered, report.retried_later) == (1, 0)
    (letter,) = await bot.dead_letters()
    assert (letter.status, letter.reason) == (503, "failing for a day")
    assert letter.attempts == len(waits) + 1
    assert (letter.expired_at, letter.dead_at) == (started, bot.clock.now)


@pytest.mark.parametrize(
    ("asked_for", "seconds"), [(300, 300), (7200, 7200), (86_400, 86_400), (1e300, 86_400)]
)
async def test_the_channels_own_waiting_time_is_respected_up_to_a_day(
    asked_for: float, seconds: int
) -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(429, retry_after_seconds=asked_for)
    report = await bot.sweep()
    row = await bot.row()
    assert row is not None
    assert row.lease_until == bot.clock.now + timedelta(seconds=seconds)
    assert report.retried_later == 1
    assert bot.keys() == ["c", "d"]


async def test_refused_credentials_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    bot = counting_bot()
    for number in range(5):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)

    async def refused(_: Conversation) -> NoticeResult:
        await asyncio.sleep(0.01)  # all of them are under way by then
        return NoticeResult(Verdict.STOP, 401, detail="no registration for this bot")

    report = await bot.sweep(refused)
    assert report.notice_failures == {"401": 5}
    assert caplog.text.count("sweep: stopped: no registration for this bot") == 1


async def test_401_stops_the_sweep_and_leaves_the_conversations_due() -> None:
    bot = counting_bot()
    for number in range(100):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    bot.connector.refuse = refusing(401)
    report = await bot.sweep()
    assert report.stopped
    assert report.looked_at < 100
    bot.connector.refuse = accepting
    bot.clock.sleep(100)
    assert (await bot.sweep()).notified == 100
    assert bot.keys() == []


async def test_no_token_of_our_own_stops_the_sweep_too() -> None:
    bot = await idle_bot()

    def no_token(_: dict[str, Any]) -> None:
        raise CredentialError("the login endpoint refused")

    bot.connector.refuse = no_token
    assert (await bot.sweep()).stopped
    assert bot.keys() == ["c", "d"]


async def test_one_failing_conversation_stops_no_other() -> None:
    bot = counting_bot()
    for number in range(10):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)

    async def fail_for_one(conversation: Conversation) -> NoticeResult:
        if "talk7" in conversation.readable_key:
            raise RuntimeError("unforeseen")
        return NoticeResult(Verdict.DELIVERED)

    report = await bot.sweep(fail_for_one)
    assert (report.notified, report.failed) == (9, 1)
    assert bot.keys() == ["c", "d"]


async def test_a_damaged_row_is_removed_and_stops_no_other() -> None:
    table = MemoryTable()
    bot = counting_bot(conversations=table)
    for number in range(3):
        await bot.say(conversation={"id": f"talk{number}"})
    at = next(at for at in table.rows if at[1].startswith("c|"))
    table.rows[at].columns.pop("SessionId")  # type: ignore[attr-defined] # damaged on purpose
    bot.clock.sleep(IDLE)
    report = await bot.sweep()
    assert (report.notified, report.failed) == (2, 1)
    assert list(table.rows) == []


# The channel says that the conversation is elsewhere


WRONG: dict[str, Any] = {"status": 403, "code": "InvalidBotApiHost"}
TEAMS: dict[str, Any] = {
    "channelId": "msteams",
    "serviceUrl": "https://smba.trafficmanager.net/amer/",
}


async def idle_in_teams(**changes: Any) -> BotInMemory:
    bot = counting_bot()
    await bot.say(**{**TEAMS, **changes})
    bot.clock.sleep(IDLE)
    return bot


def sent_to(bot: BotInMemory) -> str:
    _, _, body = bot.connector.sent[-1]
    return str(body["serviceUrl"])


async def test_a_wrong_service_url_is_refreshed_once_and_the_notice_tried_there() -> None:
    bot = await idle_in_teams()
    bot.connector.refuse = refusing(**WRONG)
    report = await bot.sweep()
    assert (report.retried_later, report.refused) == (1, 0)
    assert bot.keys() == ["c", "d"]
    bot.connector.refuse = accepting
    assert (await bot.sweep()).looked_at == 0  # it waits for its next attempt
    bot.clock.sleep(15)
    assert (await bot.sweep()).notified == 1
    assert sent_to(bot) == TEAMS_GCC


async def test_a_service_url_that_is_wrong_again_is_a_dead_letter() -> None:
    bot = await idle_in_teams()
    bot.connector.refuse = refusing(**WRONG)
    await bot.sweep()
    bot.clock.sleep(15)
    report = await bot.sweep()
    assert (report.dead_lettered, report.retried_later) == (1, 0)
    (letter,) = await bot.dead_letters()
    assert (letter.status, letter.code, letter.attempts) == (403, "InvalidBotApiHost", 2)
    assert letter.reference
    assert letter.reference.service_url == TEAMS_GCC


async def test_where_no_other_service_url_is_known_it_is_a_dead_letter_at_once() -> None:
    bot = await idle_bot()  # not in Teams, whose addresses are documented
    bot.connector.refuse = refusing(**WRONG)
    assert (await bot.sweep()).dead_lettered == 1


async def test_the_newest_service_url_of_the_same_tenant_comes_first() -> None:
    talk: dict[str, Any] = {"conversation": {"id": "talk", "tenantId": "t1"}}
    bot = await idle_in_teams(**talk)
    new = "https://smba.trafficmanager.net/emea/"
    bot.service_urls.received(activity(**{**TEAMS, **talk, "serviceUrl": new}))
    bot.connector.refuse = refusing(**WRONG)
    await bot.sweep()
    bot.connector.refuse = accepting
    bot.clock.sleep(15)
    await bot.sweep()
    assert sent_to(bot) == new


async def test_a_service_url_is_refreshed_once_though_others_are_known() -> None:
    talk: dict[str, Any] = {"conversation": {"id": "talk", "tenantId": "t1"}}
    bot = await idle_in_teams(**talk)
    new = "https://smba.trafficmanager.net/emea/"
    bot.service_urls.received(activity(**{**TEAMS, **talk, "serviceUrl": new}))
    bot.connector.refuse = refusing(**WRONG)
    await bot.sweep()
    bot.clock.sleep(15)
    assert (await bot.sweep()).dead_lettered == 1
    (letter,) = await bot.dead_letters()
    assert letter.reference
    assert letter.reference.service_url == new


async def test_a_delivered_notice_tells_its_tenants_service_url() -> None:
    bot = counting_bot()
    new = "https://smba.trafficmanager.net/emea/"
    elsewhere = {"id": "elsewhere", "tenantId": "t1"}
    await bot.say(**{**TEAMS, "serviceUrl": new, "conversation": elsewhere})
    bot.clock.sleep(IDLE)
    assert (await bot.sweep()).notified == 1
    await bot.say(**TEAMS, conversation={"id": "talk", "tenantId": "t1"})
    bot.clock.sleep(IDLE)
    bot.connector.refuse = refusing(**WRONG)
    await bot.sweep()
    row = await bot.store.load(bot.address("talk", "msteams"))
    assert row is not None
    assert row.reference is not None
    assert row.reference.service_url == new


# Dead letters


async def test_a_user_who_is_back_before_the_dead_letter_is_written_leaves_none() -> None:
    bot = await idle_bot()

    async def user_returns(_: Conversation) -> NoticeResult:
        await bot.say("back")
        return NoticeResult(Verdict.DEAD, 500)

    report = await bot.sweep(user_returns)
    assert (report.dead_lettered, report.left_to_others) == (0, 1)
    assert await bot.dead_letters() == []
    report = await bot.sweep()
    assert (report.superseded, report.dead_lettered) == (1, 0)
    assert bot.keys() == ["c", "d"]


async def test_a_dead_letter_whose_own_success_comes_back_as_a_conflict_is_counted() -> None:
    table = FaultyTable(MemoryTable())
    bot = counting_bot(conversations=table)
    await bot.say()
    bot.clock.sleep(IDLE)
    bot.connector.refuse = refusing(500)
    table.after = once("insert x|", ConflictError("412"))
    report = await bot.sweep()
    assert (report.dead_lettered, report.left_to_others) == (1, 0)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("table", ["conversations", "users"])
@pytest.mark.parametrize("request_number", range(6))
async def test_a_crash_at_any_request_of_a_dead_letter_leaves_one_and_nothing_else(
    request_number: int, table: str, where: str
) -> None:
    tables = {"conversations": FaultyTable(MemoryTable()), "users": FaultyTable(MemoryTable())}
    bot = BotInMemory(
        FunctionBot(count_in_every_bag),
        conversations=tables["conversations"],
        users=tables["users"],
    )
    await bot.say()
    bot.clock.sleep(IDLE)
    left = [request_number]

    async def crash(doing: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageUnavailableError(f"crashed at {doing}")

    async def dead(_: Conversation) -> NoticeResult:
        setattr(tables[table], where, crash)
        return NoticeResult(Verdict.DEAD, 500)

    reports = [await bot.sweep(dead)]
    tables[table].before = tables[table].after = once("nothing")
    bot.clock.sleep(61)
    reports.append(await bot.sweep(lambda _: _dead()))
    assert len(await bot.dead_letters()) == 1
    memory = bot.conversations._table  # type: ignore[attr-defined] # what is left, whoever wrote it
    assert [key[0] for _, key in memory.rows] == ["x"]
    counted = sum(report.dead_lettered for report in reports)
    assert counted == 1 or (counted == 0 and where == "after")  # the answer was lost


async def _dead() -> NoticeResult:
    return NoticeResult(Verdict.DEAD, 500)


async def test_every_expiry_is_counted_under_one_outcome() -> None:
    bot = counting_bot()
    for number in range(5):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    verdicts = [
        Verdict.DELIVERED,
        Verdict.NOT_WANTED,
        Verdict.REFUSED,
        Verdict.DEAD,
        Verdict.TRY_LATER,
    ]

    async def each_its_own(conversation: Conversation) -> NoticeResult:
        return NoticeResult(verdicts[int(conversation.readable_key[-1])])

    first = await bot.sweep(each_its_own)
    assert (first.expired, first.retried_later) == (5, 1)
    assert (first.notified, first.silent, first.refused, first.dead_lettered) == (1, 1, 1, 1)
    await bot.say(conversation={"id": "talk4"})  # back, before the notice was tried again
    bot.clock.sleep(15)
    second = await bot.sweep(each_its_own)
    assert (second.expired, second.superseded, second.finished_already) == (0, 1, 0)


# Other writers, crashes, overlap


async def test_a_user_who_returns_before_the_claim_keeps_the_conversation() -> None:
    table = FaultyTable(MemoryTable())
    bot = counting_bot(conversations=table)
    await bot.say()
    bot.clock.sleep(99)
    # The sweep's clock is ahead of the user's: it takes the row for idle.
    behind = bot.another_process()
    bot.clock.sleep(4)
    table.before = do_once("write replace c|", lambda: behind.say("back"))
    report = await bot.sweep()
    assert (report.came_back, report.expired) == (1, 0)
    assert texts.EXPIRED not in bot.connector.texts


async def test_a_user_who_returns_during_the_notice_keeps_the_new_session() -> None:
    bot = await idle_bot()

    async def user_returns(_: Conversation) -> NoticeResult:
        await bot.say("back")
        return NoticeResult(Verdict.DELIVERED)

    await bot.sweep(user_returns)
    assert bot.connector.texts == ["1", texts.WELCOME_BACK, "1"]
    assert bot.keys() == ["c", "d"]
    assert await bot.say() == ["2"]


async def test_a_user_who_returns_to_a_failed_notice_is_not_told_later() -> None:
    bot = await idle_bot()
    bot.connector.refuse = refusing(503)
    await bot.sweep()
    bot.connector.refuse = accepting
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    bot.clock.sleep(50)
    report = await bot.sweep()
    assert (report.superseded, report.finished_already) == (1, 0)
    assert texts.EXPIRED not in bot.connector.texts


async def test_private_state_of_an_ended_session_is_removed_with_its_due_row() -> None:
    bot = BotInMemory(FunctionBot(count_in_every_bag))
    await bot.say(sender="bob")
    bot.clock.sleep(IDLE)
    await bot.say()  # a new session of ann's alone; bob's private row is a leftover
    assert bot.keys() == ["c", "d", "d", "p", "p"]
    await bot.sweep()
    assert bot.keys() == ["c", "d", "p"]


async def test_two_sweeps_at_once_tell_each_user_once() -> None:
    bot = counting_bot()
    for number in range(30):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    reports = await asyncio.gather(bot.sweep(), bot.another_process().sweep(), bot.sweep())
    assert sum(report.notified for report in reports) == 30
    assert bot.connector.texts.count(texts.EXPIRED) == 30
    bot.clock.sleep(100)
    await bot.sweep()
    assert bot.keys() == []
    assert bot.connector.texts.count(texts.EXPIRED) == 30


async def test_a_sweep_that_dies_after_the_claim_is_finished_by_a_later_one() -> None:
    bot = await idle_bot()

    claimed = asyncio.Event()

    async def hang(_: Conversation) -> NoticeResult:
        claimed.set()
        await asyncio.Event().wait()
        raise AssertionError

    sweep = asyncio.create_task(bot.sweep(hang))
    await claimed.wait()
    sweep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweep
    assert (await bot.sweep()).left_to_others == 1
    bot.clock.sleep(61)
    report = await bot.sweep()
    assert (report.expired, report.notified) == (0, 1)
    assert bot.keys() == []


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(
    "what", ["query d|", "get c|", "write replace c|", "write delete c|", "write delete d|"]
)
async def test_a_request_that_fails_anywhere_leaves_work_that_is_finished_later(
    where: str, what: str
) -> None:
    table = FaultyTable(memory := MemoryTable())
    bot = counting_bot(conversations=table)
    await bot.say()
    bot.clock.sleep(IDLE)
    setattr(table, where, once(what))
    await bot.sweep()
    bot.clock.sleep(61)
    await bot.sweep()
    assert list(memory.rows) == []
    assert texts.EXPIRED in bot.connector.texts


@pytest.mark.parametrize("what", ["write delete c|", "write delete d|"])
async def test_a_lost_answer_while_settling_repeats_no_notice_once_the_row_is_gone(
    what: str,
) -> None:
    table = FaultyTable(MemoryTable())
    bot = counting_bot(conversations=table)
    await bot.say()
    bot.clock.sleep(IDLE)
    table.after = once(what)
    await bot.sweep()
    bot.clock.sleep(61)
    await bot.sweep()
    assert bot.connector.texts.count(texts.EXPIRED) == 1


async def test_a_row_reclaimed_by_another_sweep_is_left_to_it() -> None:
    bot = await idle_bot()

    async def another_sweep_takes_over(_: Conversation) -> NoticeResult:
        bot.clock.sleep(61)
        await bot.another_process().sweep(die_waiting)
        return NoticeResult(Verdict.TRY_LATER, 503)

    async def die_waiting(_: Conversation) -> NoticeResult:
        raise StorageUnavailableError

    report = await bot.sweep(another_sweep_takes_over)
    assert (report.left_to_others, report.retried_later) == (1, 0)
    assert bot.keys() == ["c", "d"]


async def test_a_sweep_held_up_for_half_a_lease_sends_nothing() -> None:
    table = FaultyTable(MemoryTable())
    bot = counting_bot(conversations=table)
    await bot.say()
    bot.clock.sleep(IDLE)

    async def slow(doing: str) -> None:
        if doing.startswith("write replace c|"):
            bot.clock.sleep(30)

    table.after = slow
    await bot.sweep()
    assert bot.connector.texts == ["1"]
    bot.clock.sleep(61)
    table.after = once("nothing")
    assert (await bot.sweep()).notified == 1


async def test_refiling_what_another_sweep_refiled_is_no_error() -> None:
    table = FaultyTable(memory := MemoryTable())
    bot = counting_bot(conversations=table)
    for number in range(3):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(60)
    for number in range(3):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(50)
    table.before = do_once("write delete d|", bot.another_process().sweep)
    await bot.sweep()
    assert sorted(key[0] for _, key in memory.rows) == ["c", "c", "c", "d", "d", "d"]
    bot.clock.sleep(53)
    assert (await bot.sweep()).expired == 3


async def test_a_conflict_at_the_claim_is_not_an_error() -> None:
    table = FaultyTable(MemoryTable())
    bot = counting_bot(conversations=table)
    await bot.say()
    bot.clock.sleep(IDLE)
    table.before = once("write replace c|", ConflictError("412"))
    report = await bot.sweep()
    assert (report.came_back, report.failed) == (1, 0)


# Budget and report


async def test_a_sweep_out_of_time_stops_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "SENDS_AT_ONCE", 16)
    bot = counting_bot()
    for number in range(50):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)

    async def slow(_: Conversation) -> NoticeResult:
        await asyncio.sleep(0.3)
        return NoticeResult(Verdict.DELIVERED)

    report = await bot.sweep(slow, budget_seconds=0.2)
    assert not report.complete
    assert report.backlog_seconds == pytest.approx(IDLE - 100, abs=1)
    assert 0 < report.expired < 50
    assert report.notified == report.expired
    rest = await bot.sweep()
    assert rest.complete
    assert report.expired + rest.expired == 50
    assert bot.keys() == []


async def test_a_long_sweep_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(sweep, "PROGRESS_SECONDS", 0.001)
    bot = await idle_bot()

    async def slow(_: Conversation) -> NoticeResult:
        await asyncio.sleep(0.05)
        return NoticeResult(Verdict.DELIVERED)

    await bot.sweep(slow)
    assert "sweep: so far looked at 1, expired 1" in caplog.text


async def test_never_more_notices_are_under_way_than_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "SENDS_AT_ONCE", 16)
    bot = counting_bot()
    for number in range(60):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    under_way = most = 0

    async def send(_: Conversation) -> NoticeResult:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return NoticeResult(Verdict.DELIVERED)

    await bot.sweep(send)
    assert most == 16


async def test_the_oldest_are_expired_first_whatever_their_shard() -> None:
    bot = counting_bot()
    names = [f"talk{number}" for number in range(40)]
    for name in names:
        await bot.say(conversation={"id": name})
        bot.clock.sleep(1)
    assert len({key[0] for key in bot.conversations.rows}) > 1  # type: ignore[attr-defined] # a MemoryTable
    bot.clock.sleep(IDLE)
    await bot.sweep()
    told = [path.split("/")[2] for _, path, body in bot.connector.sent if "expired" in body["text"]]
    assert told == names


async def test_a_shard_that_cannot_be_read_stops_no_other() -> None:
    table = FaultyTable(MemoryTable())
    bot = counting_bot(conversations=table)
    for number in range(10):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    queries = 0

    async def fail_once(what: str) -> None:
        nonlocal queries
        if what.startswith("query d|"):
            queries += 1
            if queries == 1:
                raise StorageUnavailableError

    table.before = fail_once
    report = await bot.sweep()
    assert len(report.unfinished) == report.failed == 1
    assert 0 < report.expired < 10
    rest = await bot.sweep()
    assert report.expired + rest.expired == 10


@pytest.mark.slow
async def test_memory_does_not_grow_with_what_is_due() -> None:
    most = []
    long_ago = datetime(2026, 11, 20, tzinfo=UTC)
    timing = Timing(timedelta(seconds=30))
    for size in (600, 1_200):
        store = TableStore(MemoryTable(), MemoryTable(), 1)
        for number in range(size):
            key = ConversationKey("test", f"talk{number}")
            session = Conversation.begun(key, store.address(key.hash), long_ago)
            await store.save(session, due=session.due(timing))
        tracemalloc.start()
        try:
            report = await Sweep(
                store,
                say_nothing,
                counting_bot().erasure.finish,
                policy=Policy(timing),
                budget_seconds=600,
                now=lambda: long_ago + timedelta(days=2),
            ).run()
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert report.expired == size
    # A page of 500 due rows, and 16 conversations; the lateness of each expiry is 32 bytes.
    assert most[1] < most[0] + 600 * 200


async def test_after_downtime_everything_overdue_is_expired() -> None:
    bot = counting_bot()
    for number in range(100):
        await bot.say(conversation={"id": f"talk{number}"})
        bot.clock.sleep(1)
    bot.clock.sleep(2 * 24 * 3600)
    report = await bot.sweep()
    assert (report.expired, report.notified) == (100, 100)
    assert 172_800 - 100 <= report.lateness(50) <= report.lateness(99) <= 172_801


@pytest.mark.parametrize(("limit", "told"), [(5, 1), (2, 0)])
async def test_a_notice_older_than_the_limit_is_dropped_and_the_state_cleared_all_the_same(
    limit: int, told: int
) -> None:
    bot = await idle_bot()
    report = await bot.sweep(max_notice_age_seconds=limit)
    assert (report.expired, report.notified, report.too_old) == (1, told, 1 - told)
    assert bot.keys() == []


def test_the_report_reads_as_one_line() -> None:
    report = SweepReport(looked_at=3, expired=2, notified=1, requests=9, seconds=0.5)
    report.notice_failures["503"] += 1
    report.lateness_seconds = [1.0, 3.0]
    assert str(report) == (
        "looked at 3, expired 2, notified 1, notice failures {503: 1},"
        " lateness p50 1.0 s p99 3.0 s, 0.50 s, 9 requests"
    )


def test_an_idle_report_says_so() -> None:
    assert str(SweepReport(requests=4)) == "nothing due, 0.00 s, 4 requests"


async def test_a_group_is_told_as_a_group() -> None:
    bot = counting_bot()
    await bot.take(activity(conversation={"id": "talk", "isGroup": True}))
    bot.clock.sleep(IDLE)
    await bot.sweep()
    _, _, body = bot.connector.sent[-1]
    assert "recipient" not in body
    assert body["conversation"] == {"id": "talk", "isGroup": True}


# Pace


class FixedPace(Unlimited):
    """Gives out the slots it was made with, then none but the first in line."""

    def __init__(self, *slots: Slot, then: Sequence[Slot] = ()) -> None:
        self.slots = list(slots)
        self.then = list(then)
        self.asked = 0

    def reserve(self, _: Conversation, __: float) -> Slot:
        self.asked += 1
        return self.slots.pop(0) if self.slots else Slot(0)

    def confirm(self, _: Conversation, __: Slot, ___: float) -> Slot:
        return self.then.pop(0) if self.then else Slot(0)


async def test_a_notice_that_cannot_be_sent_in_this_sweep_waits_but_the_state_does_not() -> None:
    bot = await idle_bot()
    report = await bot.sweep(pace=FixedPace(Slot(50, granted=False)))
    assert (report.expired, report.told_later, report.notified) == (1, 1, 0)
    row = await bot.row()
    assert row
    assert (row.status, row.state, row.attempts) == (Status.EXPIRED, b"", 0)
    assert "told later 1" in str(report)
    bot.clock.sleep(40)
    assert (await bot.sweep()).looked_at == 0
    bot.clock.sleep(15)
    report = await bot.sweep()
    assert (report.expired, report.notified) == (0, 1)
    assert bot.keys() == []


async def test_a_user_who_returns_to_a_notice_that_waits_is_not_told() -> None:
    bot = await idle_bot()
    await bot.sweep(pace=FixedPace(Slot(50, granted=False)))
    assert await bot.say() == [texts.WELCOME_BACK, "1"]
    bot.clock.sleep(60)
    report = await bot.sweep()
    assert (report.superseded, report.notified) == (1, 0)


async def test_a_user_who_writes_while_a_place_is_waited_for_keeps_the_conversation() -> None:
    bot = await idle_bot()

    class Pace(FixedPace):
        def reserve(self, _: Conversation, __: float) -> Slot:
            asyncio.get_running_loop().create_task(bot.say())
            return Slot(0.5)  # the turn has time enough on a busy machine, too

    report = await bot.sweep(pace=Pace())
    assert (report.came_back, report.expired) == (1, 0)
    assert bot.connector.texts[-1] == "1"


async def test_a_lane_that_closes_while_a_place_is_waited_for_tells_later() -> None:
    bot = await idle_bot()
    nowhere = Slot(30, granted=False)
    pace = FixedPace(Slot(0.01), nowhere, then=[Slot(0.01), nowhere])
    report = await bot.sweep(pace=pace)
    assert (report.told_later, report.notified, pace.then) == (1, 0, [])


class HeldUp(FixedPace):
    """Storage takes its time between a slot and its message."""

    def __init__(self, *begun: Slot) -> None:
        super().__init__()
        self.begun = list(begun)

    def begin(self, _: Conversation, __: Slot, within_seconds: float) -> Slot:
        assert within_seconds <= 5
        return self.begun.pop(0)


async def test_a_claimed_notice_waits_for_some_moments_for_those_before_it() -> None:
    bot = await idle_bot()
    pace = HeldUp(Slot(0.01), Slot(0.01), Slot(0))
    report = await bot.sweep(pace=pace)
    assert (report.expired, report.notified, pace.begun) == (1, 1, [])


async def test_a_claimed_notice_whose_place_is_gone_is_told_later_at_no_attempt() -> None:
    bot = await idle_bot()
    report = await bot.sweep(pace=HeldUp(Slot(0.01), Slot(50, granted=False)))
    assert (report.expired, report.told_later, report.notified) == (1, 1, 0)
    assert (report.retried_later, report.notice_failures) == (0, {})
    row = await bot.row()
    assert row
    assert (row.status, row.attempts) == (Status.EXPIRED, 0)
    bot.clock.sleep(40)
    assert (await bot.sweep()).looked_at == 0
    bot.clock.sleep(15)
    report = await bot.sweep()
    assert (report.expired, report.notified) == (0, 1)
    assert bot.keys() == []


async def test_a_user_who_returns_while_a_claimed_notice_waits_is_not_told_later() -> None:
    bot = await idle_bot()

    class Pace(HeldUp):
        def begin(self, conversation: Conversation, slot: Slot, within_seconds: float) -> Slot:
            if len(self.begun) == 2:
                asyncio.get_running_loop().create_task(bot.say())
            return super().begin(conversation, slot, within_seconds)

    report = await bot.sweep(pace=Pace(Slot(0.5), Slot(50, granted=False)))
    assert (report.expired, report.came_back, report.told_later) == (1, 1, 0)
    bot.clock.sleep(60)
    assert (await bot.sweep()).notified == 0


async def test_a_sweep_that_is_stopped_while_a_claimed_notice_waits_does_not_send_it() -> None:
    bot = counting_bot()
    for number in range(2):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    bot.connector.refuse = refusing(401)
    report = await bot.sweep(pace=HeldUp(Slot(0), Slot(600)))
    assert report.stopped
    assert (report.expired, report.notice_failures) == (2, {"401": 1})


async def test_who_waits_for_a_place_holds_up_nobody_else() -> None:
    bot = counting_bot()
    for number in range(100):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    report = await bot.sweep(pace=FixedPace(*[Slot(0.1)] * 60))
    assert report.notified == 100


async def test_never_more_notices_wait_for_their_places_than_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "WAITING_AT_ONCE", 4)
    bot = counting_bot()
    for number in range(100):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    waiting = most = 0

    class Pace(FixedPace):
        def reserve(self, _: Conversation, __: float) -> Slot:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return Slot(0.01)

        def confirm(self, _: Conversation, __: Slot, ___: float) -> Slot:
            nonlocal waiting
            waiting -= 1
            return Slot(0)

    report = await bot.sweep(pace=Pace())
    assert report.notified == 100
    assert most <= 4 + workload.CONCURRENCY


async def test_a_sweep_that_is_stopped_waits_for_no_place() -> None:
    bot = counting_bot()
    for number in range(3):
        await bot.say(conversation={"id": f"talk{number}"})
    bot.clock.sleep(IDLE)
    bot.connector.refuse = refusing(401)
    report = await bot.sweep(pace=FixedPace(Slot(600), Slot(600)))
    assert report.stopped
    assert report.expired == 1


async def test_a_notice_that_is_too_old_takes_no_place() -> None:
    bot = await idle_bot()
    pace = FixedPace(Slot(50, granted=False))
    report = await bot.sweep(pace=pace, max_notice_age_seconds=1)
    assert (report.too_old, pace.asked) == (1, 0)
