"""NCRONTAB: the schedules that the Functions host accepts for a timer, exactly.

The host uses NCrontab 3.4.0, through its timer extension (`CronSchedule.TryCreate` there). Five
fields have no seconds, six have. A time matches if every field does: day of month AND day of week.
The rules for a field are those of NCrontab's `CrontabFieldImpl` and `CrontabField`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)

# A schedule that runs at all runs again within this many days. The longest gap is 40 years: from a
# 29 February to the next one on the same weekday, across a century without a leap day.
_LONGEST_GAP_DAYS = 41 * 366
# The gaps of a schedule show within a year before and a year after.
_YEAR_DAYS = 366

_WITHOUT_SECONDS = 5
_WITH_SECONDS = 6
_BIGGEST_INT = 2**31 - 1  # a larger number, or a step that counts beyond it, fails in the host

# .NET's int.Parse allows white space around a number; but not a space, which separates fields.
_VALUE = re.compile(r"([0-9]+)[\t-\r]*")
_STEP = re.compile(r"[\t-\r]*([+-]?[0-9]+)[\t-\r]*")
_TIME_SPAN = re.compile(r"\s*-?([0-9]+|([0-9]+[.:])?[0-9]+:[0-9]+(:[0-9]+(\.[0-9]+)?)?)\s*")

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


class NcrontabError(ValueError):
    """The host does not accept the expression, or it never runs; the message says why."""


class Gaps(NamedTuple):
    """The shortest and the longest time between one run and the next, in seconds."""

    shortest: float
    longest: float


@dataclass(frozen=True, slots=True)
class _Kind:
    """A field's name, its lowest and highest value, and the names of its values."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_KINDS = (
    _Kind("second", 0, 59),
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day of month", 1, 31),
    _Kind("month", 1, 12, _MONTHS),
    _Kind("day of week", 0, 6, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Ncrontab:
    """A schedule: the values of each field, in order. A day of the week is 0 for Sunday."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @classmethod
    def read(cls, expression: str) -> "Ncrontab":
        """Read an expression as the host does.

        Raises:
            NcrontabError: the host does not accept it, or only on App Service plans.
        """
        fields = [field for field in expression.split(" ") if field]
        if len(fields) == _WITHOUT_SECONDS:
            fields.insert(0, "0")
        if len(fields) != _WITH_SECONDS:
            if _TIME_SPAN.fullmatch(expression):
                raise NcrontabError("a time span works on App Service plans only")
            raise NcrontabError("it has neither six fields nor five, with spaces between them")
        return cls(*(_values(field, kind) for field, kind in zip(fields, _KINDS, strict=True)))

    def after(self, moment: datetime) -> datetime | None:
        """The next time after `moment`, in whole seconds; None: it never runs."""
        start = moment.replace(microsecond=0) + _SECOND
        for day in self._dates(start, _LONGEST_GAP_DAYS):
            found = self._time_of_day(start.time() if day == start else time.min)
            if found:
                return datetime.combine(day, found, start.tzinfo)
        return None

    def gaps(self, around: datetime) -> Gaps | None:
        """The gaps between runs in the year before and the year after; None: it never runs.

        If it runs less often, the gap between its next runs.
        """
        within = _gaps(
            _gaps(_gaps(_Runs(0, 0), self.seconds, 1), self.minutes, 60), self.hours, 3600
        )
        dates: list[int] = []
        for date in self._dates(around - _YEAR_DAYS * _DAY, 2 * _LONGEST_GAP_DAYS):
            dates.append(date.toordinal())
            if len(dates) > 1 and date > around + _YEAR_DAYS * _DAY:
                break
        runs = _gaps(within, dates, 86_400) if len(dates) > 1 else None
        return Gaps(runs.shortest, runs.longest) if runs else None

    def _dates(self, start: datetime, days: int) -> Iterator[datetime]:
        """The days that match, from that of `start` on; each has the time of `start`."""
        months, monthdays, weekdays = set(self.months), set(self.days), set(self.weekdays)
        for number in range(days):
            date = start + number * _DAY
            if date.month in months and date.day in monthdays and date.isoweekday() % 7 in weekdays:
                yield date

    def _time_of_day(self, earliest: time) -> time | None:
        for hour in self.hours:
            if hour < earliest.hour:
                continue
            for minute in self.minutes:
                if (hour, minute) < (earliest.hour, earliest.minute):
                    continue
                for second in self.seconds:
                    found = time(hour, minute, second)
                    if found >= earliest:
                        return found
        return None


class _Runs(NamedTuple):
    """Runs in some stretch of time: the first, the last, and the gaps between; all in seconds."""

    first: float
    last: float
    shortest: float = float("inf")
    longest: float = 0


def _gaps(within: _Runs, starts: tuple[int, ...] | list[int], unit_seconds: int) -> _Runs:
    """The runs of all stretches that begin at these multiples of the unit, each like `within`."""
    between = [
        (later - earlier) * unit_seconds + within.first - within.last
        for earlier, later in pairwise(starts)
    ]
    return _Runs(
        starts[0] * unit_seconds + within.first,
        starts[-1] * unit_seconds + within.last,
        min(within.shortest, *between) if between else within.shortest,
        max(within.longest, *between) if between else within.longest,
    )


def _values(field: str, kind: _Kind) -> tuple[int, ...]:
    values: set[int] = set()
    # A comma at the very beginning does not separate: NCrontab looks for one after it.
    items = field.split(",") if field.find(",") > 0 else [field]
    for item in items:
        try:
            values.update(_range(item, kind))
        except ValueError as error:
            wrong = f"{item!r} in {field!r}" if item != field else repr(field)
            raise NcrontabError(f"{wrong} is no {kind.name}: {error}") from None
    return tuple(sorted(values))


def _range(item: str, kind: _Kind) -> range:
    """The values of one item of a field: `*`, `5`, `1-5`, and each of them with `/` and a step.

    Raises:
        ValueError: the host does not accept it.
    """
    step = None
    if item.find("/") > 0:
        item, _, text = item.partition("/")
        step = _number(_STEP.fullmatch(text), text)
    if item == "*":
        first, last = kind.lowest, kind.highest
    elif item.find("-") > 0:
        ends = item.partition("-")
        first, last = sorted((_value(ends[0], kind), _value(ends[2], kind)))
    else:
        value = _value(item, kind)
        first, last = sorted((value, value if step is None else kind.highest))
    for value in (first, last):
        if not kind.lowest <= value <= kind.highest:
            raise ValueError(f"{value} is not from {kind.lowest} to {kind.highest}")
    values = range(first, last + 1, max(step or 1, 1))
    if values[-1] - kind.lowest + values.step > _BIGGEST_INT:
        raise ValueError("the step is too large")
    return values


def _value(text: str, kind: _Kind) -> int:
    """A number, or the first name that begins with the text, in any case."""
    if text[:1].isascii() and text[:1].isdigit():
        return _number(_VALUE.fullmatch(text), text)
    for index, name in enumerate(kind.names):
        if text and name.startswith(text.lower()):
            return kind.lowest + index
    raise ValueError(f"{text!r} is no {'name or ' if kind.names else ''}number")


def _number(match: re.Match[str] | None, text: str) -> int:
    if match is None:
        raise ValueError(f"{text!r} is no number")
    # Python refuses to read thousands of digits: a ValueError as well.
    number = int(match[1])
    if not -_BIGGEST_INT - 1 <= number <= _BIGGEST_INT:
        raise ValueError(f"{text!r} is too large")
    return number
