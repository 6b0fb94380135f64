"""Texts for terminals and logs: one line each, of bounded length, without control characters.

Rows, channels and users may hold anything. A terminal obeys what comes to it, and a log line must
not look like two.
"""

import logging
from traceback import format_exception

LONGEST_LINE = 4 * 1024  # characters
LONGEST_TRACEBACK = 8 * 1024

_OURS = ("shared", "api_function", "messages_function", "expiry_")


def printable(text: str, most: int = LONGEST_LINE) -> str:
    """The text with its control characters escaped, and cut if it is longer than `most`."""
    if len(text) > most:
        text = f"{text[:most]}... ({len(text) - most} more)"
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


class _Record(logging.LogRecord):
    """A log record of this app, whose message and traceback are safe to show."""

    def getMessage(self) -> str:  # noqa: N802 - the base class's name
        return printable(super().getMessage())


def make_log_lines_safe() -> None:
    """Make every record of this app's own loggers safe; those of others stay as they are."""
    before = logging.getLogRecordFactory()
    if getattr(before, "is_ours", False):
        return

    def record(name: str, *args: object, **options: object) -> logging.LogRecord:
        if not name.startswith(_OURS):
            return before(name, *args, **options)
        made = _Record(name, *args, **options)  # type: ignore[arg-type] # as logging passes them
        if made.exc_info and made.exc_info[0] is not None:
            made.exc_text = _traceback(*made.exc_info)
        return made

    record.is_ours = True  # type: ignore[attr-defined] # so that it is done once
    logging.setLogRecordFactory(record)


def _traceback(kind: object, error: BaseException | None, where: object) -> str:
    del kind, where
    text = "".join(format_exception(error)).rstrip("\n")
    if len(text) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        text = f"{text[:half]}\n... ({len(text) - 2 * half} more)\n{text[-half:]}"
    return "\n".join(printable(line) for line in text.split("\n"))
