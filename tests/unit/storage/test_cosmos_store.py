"""State in Cosmos DB: the order of writes, what a crash leaves, and what its time to live does."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botbuilder.core import TurnContext

from shared.domain.errors import StorageUnavailableError
from shared.domain.identity import ConversationKey
from shared.domain.times import COMMIT_TAKES_AT_MOST
from shared.domain.timing import OwnTiming
from shared.state.state_data import BotData, StateData
from shared.storage.cosmos_memory import RememberedContainer
from shared.storage.cosmos_store import CosmosStore
from tests import texts
from tests.bot_in_memory import (
    CHANNEL,
    FunctionBot,
    count_in_conversation,
    count_in_every_bag,
)
from tests.faults import do_once, once
from tests.unit.storage.bot_in_cosmos import Fixture, OnTurn

GROUP: dict[str, Any] = {"conversation": {"id": "group", "isGroup": True}}


class DeathError(BaseException):
    """The process died: nobody catches it on the way to here."""


async def say_hi(bot: FunctionBot, context: TurnContext) -> None:
    """A turn that changes no property."""
    await bot.conversation.create_property("count").get(context)
    await context.send_activity("hi")


# The window slides


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("on_turn", [count_in_conversation, say_hi])
async def test_every_turn_renews_the_time_to_live_also_one_that_changes_nothing(
    on_turn: OnTurn, alone: bool
) -> None:
    case = Fixture(alone=alone)
    assert await case.say() == ["1"]
    case.bot.bot = FunctionBot(on_turn)
    for _ in range(5):
        case.sleep(90)
        await case.bot.another_process().say()
    case.sleep(90)
    said = await case.say()
    assert said != ["1"]
    assert texts.WELCOME_BACK not in said


@pytest.mark.parametrize("alone", [False, True])
async def test_private_state_of_who_is_silent_lives_while_others_in_the_group_talk(
    alone: bool,
) -> None:
    case = Fixture(count_in_every_bag, alone=alone)
    await case.say(sender="ann", **GROUP)
    for _ in range(5):
        case.sleep(90)
        await case.say(sender="bob", **GROUP)
    assert await case.say(sender="ann", **GROUP) == ["7 2 2"]


async def test_user_state_outlives_every_conversation() -> None:
    case = Fixture(count_in_every_bag)
    await case.say()
    case.sleep(1000)
    await case.bot.sweep()
    case.user_documents.outlive(timedelta(days=9999))
    assert await case.say() == ["1 2 1"]


# What a turn costs


async def test_a_turn_that_changes_state_reads_creates_and_deletes_one_document() -> None:
    case = Fixture()
    await case.say()
    assert await case.requests_of(case.bot.another_process().say()) == (2, 3)


async def test_the_process_that_took_the_turn_before_need_not_read_the_document() -> None:
    case = Fixture()
    await case.say()
    assert await case.requests_of(case.say()) == (2, 2)
    assert case.bot.connector.texts == ["1", "2"]


async def test_what_another_process_has_written_since_is_read() -> None:
    case = Fixture()
    other = case.bot.another_process()
    await case.say()
    await other.say()
    await case.say()
    await other.say()
    assert case.bot.connector.texts == ["1", "2", "3", "4"]


async def test_what_was_erased_or_has_expired_is_not_remembered() -> None:
    case = Fixture(count_in_every_bag)
    store = case.bot.store
    assert isinstance(store, CosmosStore)
    assert isinstance(store._documents, RememberedContainer)
    memory = store._documents._memory
    await case.say()
    assert memory._documents
    await case.bot.erasure.erase(CHANNEL, "ann")
    assert not memory._documents
    await case.say()
    case.bot.clock.sleep(103)
    await case.bot.sweep()
    assert not memory._documents


async def test_a_turn_that_changes_nothing_leaves_a_young_document_as_it_is() -> None:
    case = Fixture(spare_time=timedelta(seconds=600))
    await case.say()
    case.bot.bot = FunctionBot(say_hi)
    other = case.bot.another_process()
    await other.say()
    case.sleep(59)
    assert await case.requests_of(other.say()) == (2, 0)
    case.sleep(1)
    assert await case.requests_of(other.say()) == (2, 1)


async def test_a_document_that_is_left_as_it_is_lives_until_its_conversation_expires() -> None:
    case = Fixture(spare_time=timedelta(seconds=600))
    assert await case.say() == ["1"]
    case.bot.bot = FunctionBot(say_hi)
    for _ in range(40):
        case.sleep(37)
        await case.bot.another_process().say()
    case.sleep(99)
    assert await case.say() == ["2"]


async def test_where_the_bots_code_sets_the_time_a_turn_that_changes_nothing_writes() -> None:
    case = Fixture(spare_time=timedelta(seconds=600))
    await case.say()
    row = await case.bot.store.load(case.bot.store.address(ConversationKey(CHANNEL, "talk").hash))
    assert row is not None
    changed = replace(row, own=OwnTiming(expire_after=timedelta(seconds=500)))
    assert (await case.requests_of(case.bot.store.save(changed)))[1] == 1


async def test_a_turn_that_changes_nothing_reads_one_document_and_writes_it_again() -> None:
    case = Fixture()
    await case.say()
    case.bot.bot = FunctionBot(say_hi)
    assert await case.requests_of(case.bot.another_process().say()) == (2, 2)


# Expiry


async def test_an_expiry_deletes_the_document_and_tells_the_user() -> None:
    case = Fixture(count_in_every_bag)
    await case.say()
    case.bot.clock.sleep(103)
    report = await case.bot.sweep()
    assert (report.expired, report.notified) == (1, 1)
    assert case.documents.stored == {}
    assert case.table.rows == {}


async def test_state_that_the_time_to_live_took_first_is_expired_and_notified_all_the_same() -> (
    None
):
    case = Fixture()
    await case.say()
    case.sleep(1000)
    assert case.documents.stored == {}
    report = await case.bot.sweep()
    assert (report.expired, report.notified, report.failed) == (1, 1, 0)


async def test_a_user_who_is_back_after_the_time_to_live_and_before_the_sweep_is_welcomed() -> None:
    case = Fixture()
    await case.say()
    case.sleep(1000)
    assert await case.say() == [texts.WELCOME_BACK, "1"]
    assert await case.say() == ["2"]
    report = await case.bot.sweep()
    assert (report.superseded, report.notified) == (1, 0)


async def test_state_that_somebody_deleted_is_named_in_the_log_and_the_user_starts_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    case = Fixture()
    await case.say()
    case.documents.stored.clear()
    assert await case.bot.another_process().say() == [texts.WELCOME_BACK, "1"]
    key = ConversationKey(CHANNEL, "talk").hash
    assert [r.levelname for r in caplog.records if key in r.getMessage()] == ["WARNING"]


async def test_a_document_that_is_damaged_is_named_in_the_log_and_the_user_starts_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    case = Fixture()
    await case.say()
    (name,) = case.documents.stored
    document = await case.documents.read(name)
    assert document is not None
    await case.documents.delete(name)
    await case.documents.create(type(document)(name, {"SessionId": "x"}))
    assert await case.bot.another_process().say() == [texts.WELCOME_BACK, "1"]
    assert name in caplog.text
    case.sleep(1000)
    assert case.documents.stored == {}


# Other writers


async def test_of_two_turns_at_once_the_one_that_loses_takes_its_document_away() -> None:
    case = Fixture()
    await case.say()
    other = case.bot.another_process()
    case.faulty_table.before = do_once("write replace c|", other.say)
    await case.say()
    assert case.bot.connector.texts == ["1", "2", "3"]
    assert list(case.documents.stored) == await case.named()


async def test_a_row_that_names_another_document_by_the_time_it_is_read_is_read_again() -> None:
    case = Fixture()
    await case.say()
    other = case.bot.another_process()
    case.faulty_documents.before = do_once("read", case.say)
    await other.say()
    assert case.bot.connector.texts == ["1", "2", "3"]


async def test_a_message_that_loses_to_the_sweep_keeps_its_document() -> None:
    case = Fixture()
    await case.say()
    case.bot.clock.sleep(60)
    other = case.bot.another_process()

    async def sweep_later() -> None:
        case.bot.clock.sleep(70)
        await other.sweep()

    case.faulty_table.before = do_once("write replace c|", sweep_later)
    await case.say()
    assert await case.say() == ["2"]
    assert list(case.documents.stored) == await case.named()


# Every step may be the last one

TURN_STEPS = ["get c|", "read", "create", "write replace c|", "delete"]


@pytest.mark.parametrize("hook", ["before", "after"])
@pytest.mark.parametrize("step", TURN_STEPS)
@pytest.mark.parametrize("error", [StorageUnavailableError, DeathError])
async def test_a_turn_that_ends_at_any_step_counts_once_or_not_at_all(
    step: str, hook: str, error: type[BaseException]
) -> None:
    case = Fixture()
    await case.say()
    for each in (case.faulty_table, case.faulty_documents):
        setattr(each, hook, once(step, error(step)))
    try:
        replies = await case.bot.another_process().say()
    except (StorageUnavailableError, DeathError):
        replies = []
    case.healthy()
    (count,) = [text for text in await case.bot.another_process().say() if text.isdigit()]
    committed = int(count) - 1
    if replies == ["2"]:
        assert committed == 2
    assert committed in (1, 2)
    if step in ("get c|", "read", "create"):
        assert committed == (2 if replies == ["2"] else 1)
    # What nobody names is gone when its time is over, and the sweep ends the rest.
    case.sleep(1000)
    await case.bot.sweep()
    case.sleep(1000)
    assert case.documents.stored == {}
    assert case.table.rows == {}


SWEEP_STEPS = ["get c|", "write replace c|", "delete", "write delete c|", "delete d|"]


@pytest.mark.parametrize("hook", ["before", "after"])
@pytest.mark.parametrize("step", SWEEP_STEPS)
async def test_a_sweep_that_ends_at_any_step_is_finished_by_the_next(step: str, hook: str) -> None:
    case = Fixture(count_in_every_bag)
    await case.say()
    case.bot.clock.sleep(103)
    for each in (case.faulty_table, case.faulty_documents):
        setattr(each, hook, once(step, DeathError(step)))
    with pytest.raises((DeathError, BaseExceptionGroup)):
        await case.bot.sweep()
    case.healthy()
    for _ in range(3):
        case.bot.clock.sleep(70)
        await case.bot.sweep()
    told = case.bot.connector.texts.count(texts.EXPIRED)
    assert told in (1, 2)
    assert told == 1 or step in ("write delete c|", "delete d|")
    assert case.table.rows == {}
    case.sleep(1000)
    assert case.documents.stored == {}


async def test_a_committed_turn_is_not_undone_because_the_old_document_stays() -> None:
    case = Fixture()
    await case.say()
    case.faulty_documents.before = once("delete")
    assert await case.say() == ["2"]
    assert len(case.documents.stored) == 2
    assert await case.say() == ["3"]


async def test_without_cosmos_nothing_is_sent_and_the_sweep_goes_on() -> None:
    case = Fixture()
    await case.say()

    async def down(_: str) -> None:
        raise StorageUnavailableError("down")

    case.faulty_documents.before = down
    with pytest.raises(StorageUnavailableError):
        await case.say()
    assert case.bot.connector.texts == ["1"]
    case.bot.clock.sleep(103)
    report = await case.bot.sweep()
    assert (report.expired, report.notified, report.failed) == (1, 1, 0)


# Erasure


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("spare_time", [timedelta(0), timedelta(days=1)])
async def test_an_erasure_leaves_nothing_about_the_user(alone: bool, spare_time: timedelta) -> None:
    case = Fixture(count_in_every_bag, alone=alone, spare_time=spare_time)
    await case.say()
    await case.say(sender="ann", **GROUP)
    await case.say(sender="bob", **GROUP)
    receipt = await case.bot.erasure.erase(CHANNEL, "ann")
    assert (receipt.user_data, receipt.private_conversation_data, receipt.left) == (1, 2, 0)
    assert receipt.personal_conversations == 1
    (group,) = case.documents.stored.values()
    (bob,) = case.user_documents.stored
    assert list(group.document.users) == [bob]
    assert await case.say(sender="bob", **GROUP) == ["3 2 2"]
    assert await case.say(sender="ann", **GROUP) == ["4 1 1"]


async def test_an_erasure_takes_a_user_who_has_changed_nothing_out_of_a_young_document() -> None:
    case = Fixture(count_in_conversation, spare_time=timedelta(days=1))
    await case.say(sender="ann", **GROUP)
    await case.say(sender="bob", **GROUP)
    await case.bot.erasure.erase(CHANNEL, "bob")
    (group,) = case.documents.stored.values()
    assert len(group.document.users) == 1


async def test_an_erasure_takes_what_crashes_have_left_about_the_user() -> None:
    case = Fixture(count_in_every_bag)
    await case.say()
    case.faulty_documents.before = once("delete")
    await case.say()
    assert len(case.documents.stored) == 2
    case.bot.clock.sleep(COMMIT_TAKES_AT_MOST.total_seconds())
    await case.bot.erasure.erase(CHANNEL, "ann")
    assert case.documents.stored == {}


async def test_an_erasure_does_not_take_the_document_of_a_commit_under_way() -> None:
    case = Fixture(count_in_every_bag)
    await case.say()
    case.faulty_table.before = do_once(
        "write replace c|", lambda: case.bot.another_process().erasure.erase(CHANNEL, "ann")
    )
    await case.say()
    assert await case.say() == ["2 2 2"]
    assert list(case.documents.stored) == await case.named()


@pytest.mark.parametrize("alone", [False, True])
async def test_state_over_rest_is_the_state_that_the_bot_uses(alone: bool) -> None:
    case = Fixture(count_in_every_bag, alone=alone)
    await case.say()
    face = StateData(
        case.bot.state_store,
        policy=case.bot.policy,
        now=case.bot.clock,
    )
    conversation = await face.get_conversation(CHANNEL, "talk")
    private = await face.get_private(CHANNEL, "talk", "ann")
    user = await face.get_user(CHANNEL, "ann")
    assert [each.data["count"] for each in (conversation, private, user)] == [1, 1, 1]
    await asyncio.gather(
        face.save_conversation(CHANNEL, "talk", BotData({"count": 10}, conversation.etag)),
        face.save_private(CHANNEL, "talk", "ann", BotData({"count": 20}, private.etag)),
        face.save_user(CHANNEL, "ann", BotData({"count": 30}, user.etag)),
    )
    assert await case.say() == ["11 31 21"]
