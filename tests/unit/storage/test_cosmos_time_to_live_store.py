"""`TimeToLiveStore`: a conversation is one document, whose time to live is the timeout."""

import logging

import pytest

from shared.domain.conversation import Status
from shared.domain.errors import StorageUnavailableError
from tests import texts
from tests.bot_in_memory import count_in_every_bag
from tests.faults import do_once, once
from tests.unit.storage.bot_in_cosmos import Fixture


async def test_a_conversation_is_one_document_and_no_table_is_touched() -> None:
    case = Fixture(count_in_every_bag, alone=True)
    assert await case.say() == ["1 1 1"]
    assert await case.say() == ["2 2 2"]
    assert len(case.documents.stored) == 1
    assert case.requests == (0, 4)
    assert case.table.rows == {}


async def test_a_conversation_that_outlived_its_time_begins_anew_without_a_word() -> None:
    case = Fixture(count_in_every_bag, alone=True)
    await case.say()
    case.sleep(160)
    assert await case.say() == ["1 2 1"]


async def test_two_turns_at_once_both_count() -> None:
    case = Fixture(alone=True)
    await case.say()
    case.faulty_documents.before = do_once("replace", case.bot.another_process().say)
    await case.say()
    assert case.bot.connector.texts == ["1", "2", "3"]


@pytest.mark.parametrize("hook", ["before", "after"])
@pytest.mark.parametrize("step", ["read", "replace"])
async def test_a_turn_that_ends_at_any_step_counts_once_or_not_at_all(step: str, hook: str) -> None:
    case = Fixture(alone=True)
    await case.say()
    setattr(case.faulty_documents, hook, once(step))
    try:
        replies = await case.say()
    except StorageUnavailableError:
        replies = []
    case.healthy()
    assert await case.say() == (["3"] if replies else ["2"])


async def test_a_copy_of_an_activity_takes_effect_once() -> None:
    case = Fixture(alone=True)
    await case.say(id="one")
    assert await case.bot.another_process().say(id="one") == []
    assert await case.say() == ["2"]


async def test_a_damaged_conversation_starts_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    case = Fixture(alone=True)
    await case.say()
    (name,) = case.documents.stored
    document = await case.documents.read(name)
    assert document is not None
    await case.documents.replace(type(document)(name, {"SessionId": "x"}))
    assert await case.say() == [texts.WELCOME_BACK, "1"]
    row = await case.bot.row()
    assert row is not None
    assert row.status is Status.ACTIVE
