"""Lines for terminals and logs: no control characters, no end without end."""

import logging
from collections.abc import Iterator

import pytest

from shared.log_lines import LONGEST_LINE, make_log_lines_safe, printable


@pytest.mark.parametrize(
    "text", ["\x1b]52;c;aGk=\x07", "a\nb", "\x9b31m", "\u202e", "\r", "\x00", "\u2028"]
)
def test_control_characters_are_escaped(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(f"before {text} after").startswith("before \\") or "a\\nb" in printable(text)


def test_other_characters_stay() -> None:
    assert printable("Zo\u00eb \u4f60\u597d 1 %") == "Zo\u00eb \u4f60\u597d 1 %"


def test_a_long_text_is_cut() -> None:
    assert len(printable("x" * 100_000)) < LONGEST_LINE + 50


@pytest.fixture
def safe() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    make_log_lines_safe()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("safe")
def test_records_of_this_app_are_safe_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    def deep(level: int) -> None:
        if not level:
            raise ValueError("\x1b]52;" + "x" * 1000)
        deeper(level - 1)

    def deeper(level: int) -> None:
        deep(level)

    logger = logging.getLogger("shared.test")
    logger.error("row %s", "\x1b[2J" + "y" * 100_000)
    try:
        deep(400)
    except ValueError:
        logger.exception("failed")
    logging.getLogger("another").error("two\nlines")
    first, second, other = caplog.records
    assert "\x1b" not in caplog.text
    assert len(first.getMessage()) < LONGEST_LINE + 50
    assert second.exc_text is not None
    assert len(second.exc_text) < 9000
    assert other.getMessage() == "two\nlines"
