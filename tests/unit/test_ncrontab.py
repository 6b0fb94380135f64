"""NCRONTAB: what the Functions host takes, and when it runs."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.ncrontab import Gaps, Ncrontab, NcrontabError

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
TEN_YEARS = timedelta(days=3652)
RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
LINES = (Path(__file__).parent / "ncrontab.tsv").read_text().splitlines()
ROWS = [line.split("\t") for line in LINES if line.startswith('"')]
TAKEN = [(json.loads(text), times) for text, verdict, times in ROWS if verdict.startswith("cron")]
REFUSED = [json.loads(text) for text, verdict, _ in ROWS if not verdict.startswith("cron")]
TIME_SPANS = [json.loads(text) for text, verdict, _ in ROWS if verdict.startswith("time span")]


def runs(expression: str, count: int, after: datetime = NEW_YEAR) -> list[datetime]:
    schedule, found = Ncrontab.read(expression), []
    for _ in range(count):
        later = schedule.after(after)
        if later is None:
            break
        found.append(after := later)
    return found


def test_the_rows_are_of_every_kind() -> None:
    assert (len(TAKEN), len(REFUSED), len(TIME_SPANS)) == (64, 46, 7)


@pytest.mark.parametrize(("expression", "times"), TAKEN)
def test_what_the_host_takes_comes_when_the_host_says(expression: str, times: str) -> None:
    found = [each for each in runs(expression, 3) if each < NEW_YEAR + TEN_YEARS]
    written = " ".join(each.replace(tzinfo=None).isoformat() for each in found)
    assert (written or "never in ten years") == times


@pytest.mark.parametrize("expression", REFUSED)
def test_what_the_host_refuses_is_refused(expression: str) -> None:
    with pytest.raises(NcrontabError):
        Ncrontab.read(expression)


@pytest.mark.parametrize("expression", [*TIME_SPANS, "5", "-00:05:00", " 00:05:00 ", "1:00:00.5"])
def test_of_a_time_span_it_says_where_it_works(expression: str) -> None:
    with pytest.raises(NcrontabError, match="App Service plans only"):
        Ncrontab.read(expression)


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("0 0 5-1 * * *", "0 0 1-5 * * *"),  # a range is put in order, it does not wrap
        ("0 0 0 * * Sat-Sun", "0 0 0 * * 0-6"),
        ("0 0 0 * Ju *", "0 0 0 * 6 *"),
        ("0 0 0 * * S", "0 0 0 * * 0"),
        ("0 0 0 * * s-t", "0 0 0 * * 0-2"),
        ("59/7 * * * * *", "59 * * * * *"),
        ("*/-5 * * * * *", "* * * * * *"),
        ("*/+15 * * * * *", "*/15 * * * * *"),
        ("10/0 * * * * *", "10-59 * * * * *"),
        ("0/2147483647 * * * * *", "0 * * * * *"),
        ("0 0 0 1/2147483647 * *", "0 0 0 1 * *"),
        ("0 1-9/3,40,50/5 * * * *", "0 1,4,7,40,50,55 * * * *"),
        ("30 5 * * *", "0 30 5 * * *"),
        ("0\t * * * * *", "0 * * * * *"),  # .NET allows white space after a number
        ("*/\t5 * * * * *", "*/5 * * * * *"),
    ],
)
def test_odd_ways_to_say_it(expression: str, same: str) -> None:
    assert Ncrontab.read(expression) == Ncrontab.read(same)


@pytest.mark.parametrize(
    "expression",
    [
        *("", " ", "*", "* * * *", "*\n* * * * *", "60/5 * * * * *", "0 0 0 0/5 * *"),
        *("0 0 0 * 13 *", "0 0 0 * 0 *", "0 0 0 * * 7", "1,,2 * * * * *", "/5 * * * * *"),
        *("-/5 * * * * *", "1-2-3 * * * * *", "1-/5 * * * * *", "1-* * * * * *"),
        *("*/5- * * * * *", "*/1.5 * * * * *", "*/- * * * * *", "*/+-5 * * * * *"),
        *("\u0665 * * * * *", "*/\u0665 * * * * *", "0 0 0 * \u017fep *", "0 0 0 * * mo,"),
        *("1/2147483647 * * * * *", "*/2147483648 * * * * *", "*/-2147483649 * * * * *"),
        *(f"{'9' * 5000} * * * * *", "0 0 0 * 1st *", "0 0 0 * * mon\t", "0 0 0 * * 5#3"),
    ],
)
def test_more_that_is_refused(expression: str) -> None:
    with pytest.raises(NcrontabError) as refusal:
        Ncrontab.read(expression)
    assert "App Service" not in str(refusal.value)


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("0 0 0 1-7 * MON", ["2026-01-05", "2026-02-02", "2026-03-02"]),
        ("0 0 0 29 2 1", ["2044-02-29", "2072-02-29", "2112-02-29"]),
        ("0 0 0 30 2 *", []),
    ],
)
def test_day_of_month_and_day_of_week_must_both_match(expression: str, times: list[str]) -> None:
    assert [each.date().isoformat() for each in runs(expression, 3)] == times


@pytest.mark.parametrize(
    ("expression", "gaps"),
    [
        ("* * * * * *", Gaps(1, 1)),
        ("0 */5 * * * *", Gaps(300, 300)),
        ("0 */7 * * * *", Gaps(240, 420)),
        ("0 0 9-17 * * MON-FRI", Gaps(3600, 64 * 3600)),
        ("0 0 0 1-7 * MON", Gaps(28 * 86400, 35 * 86400)),
        ("0 0 0 29 2 *", Gaps(1461 * 86400, 1461 * 86400)),
        ("30 59 23 * * *", Gaps(86400, 86400)),
    ],
)
def test_gaps_are_those_of_a_whole_year_whatever_day_it_is(expression: str, gaps: Gaps) -> None:
    schedule = Ncrontab.read(expression)
    for days in (0, 3, 40, 200):
        assert schedule.gaps(NEW_YEAR + timedelta(days=days)) == gaps


def test_what_never_comes_has_no_gaps() -> None:
    assert Ncrontab.read("0 0 0 31 2 *").gaps(NEW_YEAR) is None


# No deadlines below: how long an example takes is a matter of the load of the machine.
some_values = st.tuples(
    *(
        st.lists(st.integers(*ends), min_size=1, max_size=5, unique=True)
        | st.just(list(range(ends[0], ends[1] + 1)))
        for ends in RANGES
    )
)


@settings(deadline=None)
@given(some_values)
def test_a_list_is_its_values(values: tuple[list[int], ...]) -> None:
    expression = " ".join(",".join(map(str, field)) for field in values)
    assert Ncrontab.read(expression) == Ncrontab(*(tuple(sorted(field)) for field in values))


@settings(deadline=None)
@given(st.integers(0, 59), st.integers(0, 59), st.integers(1, 100))
def test_a_range_with_a_step_begins_at_its_lower_end(one: int, other: int, step: int) -> None:
    low, high = min(one, other), max(one, other)
    expected = tuple(range(low, high + 1, step))
    assert Ncrontab.read(f"0 {one}-{other}/{step} * * * *").minutes == expected


@settings(deadline=None)
@given(st.text("0123456789*/-,?LW#\t+. monjaf:", max_size=30))
def test_whatever_is_written_is_taken_or_refused(expression: str) -> None:
    with suppress(NcrontabError):
        assert Ncrontab.read(expression).seconds


def matches(values: tuple[list[int], ...], at: datetime) -> bool:
    of_at = (at.second, at.minute, at.hour, at.day, at.month, at.isoweekday() % 7)
    return all(each in field for each, field in zip(of_at, values, strict=True))


@settings(deadline=None)
@given(some_values, st.integers(0, 15 * 366 * 86400))
def test_the_next_time_matches_and_none_was_passed_over(
    values: tuple[list[int], ...], seconds: int
) -> None:
    moment = NEW_YEAR + timedelta(seconds=seconds + 0.5)
    found = Ncrontab(*(tuple(sorted(field)) for field in values)).after(moment)
    if found is not None:
        assert found > moment
        assert matches(values, found)
    end = moment + timedelta(minutes=10)  # by the second, so not for long
    at = moment.replace(microsecond=0) + timedelta(seconds=1)
    while at < min(found or end, end):
        assert not matches(values, at)
        at += timedelta(seconds=1)


@settings(deadline=None)
@given(some_values)
def test_the_gaps_of_a_week_are_among_those_that_are_said(values: tuple[list[int], ...]) -> None:
    every_day = (*values[:3], *(list(range(low, high + 1)) for low, high in RANGES[3:]))
    schedule = Ncrontab(*(tuple(sorted(field)) for field in every_day))
    seconds = sorted(3600 * h + 60 * m + s for h in values[2] for m in values[1] for s in values[0])
    between = {later - earlier for earlier, later in pairwise([*seconds, seconds[0] + 86400])}
    assert schedule.gaps(NEW_YEAR) == Gaps(min(between), max(between))
