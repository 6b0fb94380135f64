"""What an operator learns of the inbox: of activities that nobody takes, and of poison."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import StorageUnavailableError
from shared.domain.inbox import Waiting
from shared.expiry.inbox_watch import LATE_AFTER_SECONDS, InboxFacts, InboxWatch
from shared.storage.table_inbox import TableInbox
from tests.faults import FaultyTable, once
from tests.memory_queue import MemoryQueue
from tests.memory_table import MemoryTable

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TALK, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def table() -> FaultyTable:
    return FaultyTable(MemoryTable())


@pytest.fixture
def inbox(table: FaultyTable) -> TableInbox:
    return TableInbox(table)


@pytest.fixture
def on(inbox: TableInbox) -> InboxWatch:
    return InboxWatch(inbox, MemoryQueue())


@pytest.fixture
def off(inbox: TableInbox) -> InboxWatch:
    return InboxWatch(inbox, None)


async def wait(inbox: TableInbox, seconds: float, conversation: str = TALK) -> Waiting:
    received_at = NOW - timedelta(seconds=seconds)
    await inbox.put(Waiting(conversation, f"{received_at:%H%M%S}", b"words", received_at))
    first = await inbox.first(conversation)
    assert first is not None
    return first


async def test_an_empty_inbox_is_no_trouble(on: InboxWatch) -> None:
    facts = await on.look(NOW)
    assert facts == InboxFacts(0, 0.0, is_on=True)
    assert facts.trouble == ""


@pytest.mark.parametrize("more", [0, 1])
async def test_what_nobody_takes_is_trouble_once_it_is_old(
    on: InboxWatch, inbox: TableInbox, more: int
) -> None:
    await wait(inbox, LATE_AFTER_SECONDS + more)
    await wait(inbox, 1, OTHER)
    facts = await on.look(NOW)
    assert facts == InboxFacts(2, LATE_AFTER_SECONDS + more, is_on=True)
    assert bool(facts.trouble) is bool(more)


async def test_who_waits_behind_a_long_turn_is_seen_to(on: InboxWatch, inbox: TableInbox) -> None:
    await inbox.save((await wait(inbox, 900)).begun(NOW))
    await wait(inbox, 800)
    assert await on.look(NOW) == InboxFacts(2, 0.0, is_on=True)
    long_ago = NOW - timedelta(hours=1)
    first = await inbox.first(TALK)
    assert first is not None
    await inbox.save(replace(first, lease_until=long_ago))
    assert await on.look(NOW) == InboxFacts(2, 900.0, is_on=True)


async def test_what_waits_for_long_turns_that_are_off_is_said_until_it_is_gone(
    off: InboxWatch, inbox: TableInbox, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = await wait(inbox, 1)
    for _ in range(2):
        await off.warn(NOW)
    assert caplog.text.count("LongTurns is off, and 1 activities wait for it: turn it on") == 2
    await inbox.remove(waiting)
    await off.warn(NOW)
    assert caplog.text.count("LongTurns is off") == 2


@pytest.mark.parametrize("fault", ["", "query"])
async def test_if_nothing_is_left_an_app_without_long_turns_looks_once(
    off: InboxWatch, inbox: TableInbox, table: FaultyTable, fault: str
) -> None:
    """If LongTurns never was on, the table is missing."""
    if fault:
        table.before = once(fault)
    assert await off.look(NOW) is None
    await wait(inbox, 1)
    assert await off.look(NOW) is None


async def test_with_long_turns_on_no_answer_is_an_error(on: InboxWatch, table: FaultyTable) -> None:
    table.before = once("query")
    with pytest.raises(StorageUnavailableError):
        await on.look(NOW)


@pytest.mark.parametrize("count", [0, 2])
async def test_poison_is_named_in_the_log(
    inbox: TableInbox, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    poison = MemoryQueue()
    for _ in range(count):
        await poison.put("rubbish")
    await InboxWatch(inbox, poison).warn(NOW)
    assert ("inbox: about 2 messages in the poison queue" in caplog.text) is bool(count)
