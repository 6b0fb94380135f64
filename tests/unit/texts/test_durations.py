"""A duration in words: exact, in every language of ours, and Babel only when it is needed."""

import subprocess
import sys

import pytest

from scripts.processes import ROOT
from shared.texts.durations import in_words

HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (90, "90 seconds"),
        (60, "1 minute"),
        (300, "5 minutes"),
        (90 * 60, "90 minutes"),
        (HOUR, "1 hour"),
        (36 * HOUR, "36 hours"),
        (DAY, "1 day"),
        (7 * DAY, "7 days"),
        (7 * DAY + 1, "604,801 seconds"),
    ],
)
def test_a_duration_is_in_the_largest_unit_that_divides_it(seconds: int, words: str) -> None:
    assert in_words(seconds, "en") == words


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "5 minutes"),
        ("de", "5 Minuten"),
        ("es", "5 minutos"),
        ("fr", "5 minutes"),
        ("it", "5 minuti"),
        ("ja", "5 分"),
        ("pt-BR", "5 minutos"),
        ("zh-CN", "5分钟"),
        ("nl", "5 minuten"),  # an author's own language
        ("zh-Hant-TW", "5 分鐘"),
        ("tlh", "5 minutes"),  # Babel does not know it
    ],
)
def test_a_duration_is_in_the_language(language: str, words: str) -> None:
    assert in_words(300, language) == words


@pytest.mark.slow
def test_babel_is_imported_by_the_first_duration_and_not_before() -> None:
    code = (
        "import sys; from shared.texts.texts_file import read_texts; texts = read_texts();"
        "texts.say('expired', 'de'); assert 'babel' not in sys.modules;"
        "texts.say('warning', 'de', remaining=60); assert 'babel' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
