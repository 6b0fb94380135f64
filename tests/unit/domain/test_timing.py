"""What a timing decides for a conversation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.conversation import Conversation, Status
from shared.domain.identity import Address
from shared.domain.timing import Timing

USED = datetime(2026, 11, 25, 12, 0, 0, 500_000, tzinfo=UTC)
TALK = Conversation(Address("s000", "talk"), "session", last_accessed=USED)
SECOND = timedelta(seconds=1)


def timing(seconds: float) -> Timing:
    return Timing(timedelta(seconds=seconds))


def test_a_conversation_is_stale_from_its_deadline_on() -> None:
    deadline = TALK.deadline(timing(100))
    assert deadline == USED + 100 * SECOND
    assert not TALK.is_stale(deadline - timedelta(microseconds=1), timing(100))
    assert TALK.is_stale(deadline, timing(100))


def test_an_expired_conversation_is_stale_before_any_deadline() -> None:
    assert replace(TALK, status=Status.EXPIRED).is_stale(USED, timing(100))


def test_a_due_row_is_never_early() -> None:
    due = datetime.fromtimestamp(TALK.due(timing(100)), UTC)
    assert timedelta(0) <= due - TALK.deadline(timing(100)) < SECOND


@pytest.mark.parametrize(("timeout", "guard"), [(8, 2), (100, 25), (120, 30), (3600, 30)])
def test_the_guard_is_a_quarter_of_the_timeout_and_30_s_at_most(timeout: int, guard: int) -> None:
    begins = USED + (timeout - guard) * SECOND
    assert TALK.guard_begins(timing(timeout)) == begins
    assert not TALK.needs_guard(begins - timedelta(microseconds=1), timing(timeout))
    assert TALK.needs_guard(begins, timing(timeout))
