"""Every outcome of a sweep is in the log, the record, the page, its JSON and the docs.

The metrics' test is in `tests/unit/test_telemetry.py`.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from api_function.page import render
from scripts.processes import ROOT
from shared.domain.sweep_record import SweepRecord
from shared.expiry.report import ENDINGS, OUTCOMES, SweepReport, in_words, record_of
from shared.expiry.status import Status
from shared.storage.table_store import CONTROL
from shared.storage.tables import Operation, Row
from tests.bot_in_memory import BotInMemory, FunctionBot, count_in_conversation

NOW = datetime(2026, 11, 25, tzinfo=UTC)
# Each has a number of its own, so that none is taken for another.
COUNTS: dict[str, Any] = {name: number for number, name in enumerate(OUTCOMES, 101)}
REPORT = SweepReport(**COUNTS)

# As the app wrote it when the record had ten counts.
OLD_RECORD = (
    '{"at": "2026-11-22T12:00:00+00:00", "counts": {"expired": 3, "notified": 2, "refiled": 1},'
    ' "lateness_p50_seconds": 1.5, "lateness_p99_seconds": 2.5, "seconds": 0.1, "requests": 7,'
    ' "complete": true, "stopped": false, "error": ""}'
)


def status_with(*sweeps: SweepRecord) -> Status:
    return Status(
        at=NOW,
        waiting={},
        warned=0,
        kept=0,
        overdue=0,
        oldest_overdue_seconds=0.0,
        more=False,
        dead_letters=0,
        oldest_dead_letter=None,
        sweeps=sweeps,
        late_after_seconds=60.0,
    )


def test_the_log_line_says_every_outcome() -> None:
    said = str(REPORT).split(", ")
    assert said[: len(COUNTS)] == [f"{in_words(name)} {number}" for name, number in COUNTS.items()]


def test_a_sweeps_record_keeps_every_outcome() -> None:
    assert record_of(REPORT, NOW).counts == COUNTS


def test_what_did_not_happen_is_neither_said_nor_kept() -> None:
    report = SweepReport(looked_at=3, superseded=2, told_later=1)
    assert str(report).startswith("looked at 3, superseded 2, told later 1, 0.00 s")
    assert record_of(report, NOW).counts == {"superseded": 2, "told_later": 1}


def test_the_page_shows_every_outcome_of_all_its_sweeps() -> None:
    record = record_of(REPORT, NOW)
    page = render(status_with(record, record), nonce="n")
    outcomes = page[page.index('id="outcomes"') :].partition("</table>")[0]
    shown = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([\d,]+)</td>', outcomes))
    assert shown == {in_words(name): str(2 * number) for name, number in COUNTS.items()}


def test_the_json_has_every_outcome() -> None:
    facts = json.loads(json.dumps(status_with(record_of(REPORT, NOW)).as_json()))
    assert facts["sweeps"][0]["counts"] == COUNTS


async def test_a_record_of_before_can_be_read_and_shown_beside_new_ones() -> None:
    bot = BotInMemory(FunctionBot(count_in_conversation))
    old = Row(CONTROL, "sweep|01", {"Record": OLD_RECORD})
    await bot.conversations.write([Operation("upsert", old)])
    await bot.store.record_sweep(record_of(REPORT, NOW), 2)
    sweeps = await bot.store.sweeps()
    assert [each.counts.get("told_later", 0) for each in sweeps] == [COUNTS["told_later"], 0]
    total = COUNTS["expired"] + 3
    page = render(status_with(*sweeps), nonce="n")
    assert f'<th scope="row">expired</th><td>{total}</td>' in page


def test_endings_are_outcomes() -> None:
    assert set(ENDINGS) < set(OUTCOMES)


def test_the_docs_explain_every_outcome_and_which_of_them_end_an_expiry() -> None:
    page = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    table = page.partition("## Outcomes\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z ]+) \| [^|]+ \| (yes )?\|$", table, re.MULTILINE)
    assert [name for name, _ in rows] == [in_words(name) for name in OUTCOMES]
    assert [name for name, ends in rows if ends] == [in_words(name) for name in ENDINGS]


@pytest.mark.parametrize("page", ["docs/sending.md", "docs/guarantees.md"])
def test_where_the_docs_list_the_endings_they_name_each(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    listed = text[text.lower().index("every expiry ends in one") :][:700]
    for ending in ENDINGS:
        assert in_words(ending) in " ".join(listed.split()), ending


def test_the_telemetry_page_lists_the_values_of_the_metric() -> None:
    text = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")
    listed = re.search(r"^\| `expiry\.outcomes` \|.*`outcome`: ([\w, ]+) \(", text, re.MULTILINE)
    assert listed
    assert tuple(listed[1].split(", ")) == OUTCOMES
