"""A CSV file of pauses, line by line. docs/policy.md says what is in it."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.domain.reference import ConversationType
from shared.settings.group import MAX_SECONDS

_LONGEST_LINE = 10_000  # bytes
_LONGEST_VALUE = 60  # characters of a wrong value that a message repeats
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)

# The columns, and what a file without one has there; None: each file has it.
_COLUMNS: Mapping[str, str | None] = {
    "channel": None,
    "type": ConversationType.PERSONAL.value,
    "ended": None,
    "seconds": None,
    "pauses": "1",
}


class PausesError(Exception):
    """The file cannot be read, or is no file of pauses; one line says where and why."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Some pauses of one length.

    Attributes:
        channel: the channel's id.
        type: the kind of the conversations.
        by_user: whether users ended them by coming back, and not the expiry.
        seconds: how long each was.
        number: how many they are.
    """

    channel: str
    type: ConversationType
    by_user: bool
    seconds: float
    number: int


def pauses_in(file: Path) -> Iterator[Pauses]:
    """Read the file; only one line of it is held at a time.

    Raises:
        PausesError: the file cannot be read, or a line is wrong.
    """
    try:
        with file.open("rb") as content:
            lines = csv.reader(_lines(content), strict=True)
            try:
                header = next(lines, [])
                _check_header(header)
                for line in filter(None, lines):
                    yield _pauses(header, line)
            except _LineError as error:
                raise PausesError(f"{file.name}, line {lines.line_num + 1}: {error}") from error
            except (ValueError, csv.Error) as error:
                raise PausesError(f"{file.name}, line {lines.line_num or 1}: {error}") from error
    except OSError as error:
        raise PausesError(f"{file}: {error.strerror}") from error


class _LineError(Exception):
    """The next line is no text."""


def _lines(content: BinaryIO) -> Iterator[str]:
    encoding = "utf-8-sig"  # Excel begins a file so
    while line := content.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise _LineError(f"it is longer than {_LONGEST_LINE:,} bytes")
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            raise _LineError("it is not UTF-8") from error
        encoding = "utf-8"


def _check_header(header: list[str]) -> None:
    there_are = f"there are {', '.join(_COLUMNS)}"
    for name in header:
        if name not in _COLUMNS:
            raise ValueError(f"{name[:_LONGEST_VALUE]!r} is no column; {there_are}")
        if header.count(name) > 1:
            raise ValueError(f"the column {name} is there twice")
    for name, otherwise in _COLUMNS.items():
        if otherwise is None and name not in header:
            raise ValueError(f"it must name the columns, and {name} is missing; {there_are}")


def _pauses(header: list[str], line: list[str]) -> Pauses:
    if len(line) != len(header):
        raise ValueError(f"it has {len(line)} values; it must have {len(header)}")
    values = dict(zip(header, line, strict=True))
    of = {name: values.get(name, otherwise or "") for name, otherwise in _COLUMNS.items()}
    _check(of, "channel", bool(of["channel"]), "a channel's id")
    _check(of, "type", of["type"] in [*ConversationType], "personal, groupChat or channel")
    _check(of, "ended", of["ended"] in {"user", "expiry"}, "user or expiry")
    is_time = _SECONDS.fullmatch(of["seconds"]) and float(of["seconds"]) <= MAX_SECONDS
    _check(of, "seconds", bool(is_time), f"a number from 0 to {MAX_SECONDS}")
    is_number = _NUMBER.fullmatch(of["pauses"]) and int(of["pauses"])
    _check(of, "pauses", bool(is_number), "a whole number from 1 on")
    return Pauses(
        channel=of["channel"],
        type=ConversationType(of["type"]),
        by_user=of["ended"] == "user",
        seconds=float(of["seconds"]),
        number=int(of["pauses"]),
    )


def _check(values: Mapping[str, str], name: str, is_right: bool, must_be: str) -> None:
    if not is_right:
        raise ValueError(f"{name} is {values[name][:_LONGEST_VALUE]!r}; it must be {must_be}")
