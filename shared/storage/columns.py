"""The columns of one row, read with their types; and the mark of the row's form."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared.domain.bounded_json import read_json
from shared.domain.errors import NewerRowError, StateUnreadableError
from shared.storage.tables import Row

# The form of the rows that this version writes, and the newest that it reads. Raise it with every
# change that an older version would misread; then that version leaves such rows alone. Rows without
# a mark are of form 1.
FORM = 1
FORM_COLUMN = "Form"

_T = TypeVar("_T", dict[str, Any], list[Any])

# An id becomes part of keys, which must not hold everything.
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)

_FIRST_YEAR, _LAST_YEAR = 1970, 2250  # due times have ten digits
MOST_SECONDS = 100 * 365 * 86400
_LONGEST_REASON = 300


def is_id(value: object) -> bool:
    """Whether it can be a session's id, a hash or a shard."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def check_form(row: Row) -> None:
    """Refuse a row that a newer version wrote; of a damaged mark nothing is known.

    Raises:
        NewerRowError: a newer version wrote it.
    """
    form = row.columns.get(FORM_COLUMN, FORM)
    if isinstance(form, int) and form > FORM:
        raise NewerRowError(
            f"row {row.partition}/{row.key} is of form {form}; this version knows {FORM}"
        )


@contextmanager
def read_row(row: Row) -> Iterator["Columns"]:
    """The columns of a row; whatever fails while they are read is an error that names the row.

    Raises:
        NewerRowError: a newer version wrote the row.
        StateUnreadableError: the row is damaged.
    """
    check_form(row)
    try:
        form = row.columns.get(FORM_COLUMN, FORM)
        if not isinstance(form, int) or isinstance(form, bool) or form < 1:
            raise TypeError(f"{FORM_COLUMN} is no number of a form")  # noqa: TRY301 - one kind of error
        yield Columns(row.columns)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = repr(error)[:_LONGEST_REASON]
        raise StateUnreadableError(
            f"row {row.partition}/{row.key} is damaged: {reason}", row.etag
        ) from error


class Columns:
    """Columns by their types. Each method raises TypeError or ValueError for another value.

    A method without a default raises KeyError if the column is missing.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def get(self, name: str) -> object:
        """The value as it is, or None."""
        return self._columns.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        """A text."""
        found = self.text_or_none(name)
        if found is None:
            found = default
        if found is None:
            raise KeyError(name)
        return found

    def text_or_none(self, name: str) -> str | None:
        """A text, or None if the column is missing."""
        found = self._columns.get(name)
        if found is not None and not isinstance(found, str):
            raise TypeError(f"{name} is no text")
        return found

    def id(self, name: str) -> str:
        """An id, as keys hold it."""
        found = self._columns[name]
        if not (isinstance(found, str) and is_id(found)):
            raise ValueError(f"{name} is no id")
        return found

    def time(self, name: str) -> datetime:
        """An aware time."""
        found = self.time_or_none(name)
        if found is None:
            raise KeyError(name)
        return found

    def time_or_none(self, name: str) -> datetime | None:
        """An aware time, or None if the column is missing."""
        found = self._columns.get(name)
        if found is None:
            return None
        if not isinstance(found, datetime) or found.tzinfo is None:
            raise TypeError(f"{name} is no time")
        if not _FIRST_YEAR <= found.year < _LAST_YEAR:
            raise ValueError(f"{name} is no time of ours")
        return found

    def flag(self, name: str) -> bool:
        """True or false; false if the column is missing."""
        found = self._columns.get(name, False)
        if not isinstance(found, bool):
            raise TypeError(f"{name} is neither true nor false")
        return found

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number that is not negative."""
        found = self.number_or_none(name)
        if found is None:
            found = default
        if found is None:
            raise KeyError(name)
        return found

    def number_or_none(self, name: str) -> int | None:
        """The same, or None if the column is missing."""
        found = self._columns.get(name)
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise TypeError(f"{name} is no number")
        return found

    def seconds_or_none(self, name: str) -> timedelta | None:
        """A number of seconds, or None if the column is missing."""
        found = self.number_or_none(name)
        if found is not None and not 0 < found <= MOST_SECONDS:
            raise ValueError(f"{name} is no duration")
        return None if found is None else timedelta(seconds=found)

    def json(self, name: str, kind: type[_T]) -> _T:
        """An object or a list in JSON; empty if the column is missing or empty."""
        text = self.text_or_none(name)
        found = read_json(text) if text else kind()
        if not isinstance(found, kind):
            raise TypeError(f"{name} is no JSON {kind.__name__}")
        return found
