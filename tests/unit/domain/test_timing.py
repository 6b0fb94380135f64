"""What a timing decides for a conversation."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from shared.domain.conversation import Conversation, Status
from shared.domain.identity import Address
from shared.domain.timing import QuietHours, Timing

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


# Quiet hours

NIGHT = QuietHours(time(22), time(7), ZoneInfo("Europe/Rome"))
NOON = QuietHours(time(12, 30), time(14), UTC)


@pytest.mark.parametrize(
    ("hours", "zone", "now", "ends"),
    [
        (NIGHT, None, "2026-11-25T20:59", None),
        (NIGHT, None, "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, None, "2026-11-26T05:59", "2026-11-26T06:00"),
        (NIGHT, None, "2026-11-26T06:00", None),
        (NIGHT, "America/New_York", "2026-11-25T21:00", None),
        (NIGHT, "America/New_York", "2026-11-26T04:00", "2026-11-26T12:00"),
        (NIGHT, "Asia/Kolkata", "2026-11-25T17:00", "2026-11-26T01:30"),
        # The night in which clocks are set forward, and the one in which they are set back.
        (NIGHT, None, "2026-03-28T22:00", "2026-03-29T05:00"),
        (NIGHT, None, "2026-10-24T21:00", "2026-10-25T06:00"),
        # What the channel says is no zone: that of the policy holds.
        (NIGHT, "Rome", "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, "../../etc/passwd", "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, "/etc/passwd", "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, "Europe", "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, "a\0b", "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, "\ud800", "2026-11-25T21:00", "2026-11-26T06:00"),
        (NIGHT, "x" * 100_000, "2026-11-25T21:00", "2026-11-26T06:00"),
        (NOON, None, "2026-11-25T12:29", None),
        (NOON, None, "2026-11-25T12:30", "2026-11-25T14:00"),
        (NOON, None, "2026-11-25T14:00", None),
        (QuietHours(time(0), time(0), UTC), None, "2026-11-25T00:00", None),
    ],
)
def test_quiet_hours_end_when_the_users_clock_says_so(
    hours: QuietHours, zone: str | None, now: str, ends: str | None
) -> None:
    end = ends and datetime.fromisoformat(f"{ends}Z")
    assert hours.end_at(datetime.fromisoformat(f"{now}Z"), zone) == end
