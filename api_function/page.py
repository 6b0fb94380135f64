"""The status page: page.html with the facts in it. No script, nothing from other servers."""

from collections import Counter
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from shared.domain.sweep_record import SweepRecord
from shared.expiry.report import in_words
from shared.expiry.status import Status, duration


@cache
def _template() -> Template:
    return Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


def render(status: Status, nonce: str) -> str:
    """The page as HTML; `nonce` is that of the content security policy."""
    health, headline = status.verdict
    age = status.last_sweep_age_seconds
    outcomes: Counter[str] = Counter()
    for sweep in status.sweeps:
        outcomes.update(sweep.counts)
    plus = "+" if status.more else ""
    oldest = status.oldest_dead_letter
    return _template().substitute(
        nonce=nonce,
        health=health,
        headline=escape(headline),
        at=f"{status.at:%Y-%m-%d %H:%M:%S}",
        waiting=f"{sum(status.waiting.values()):,}{plus}",
        warned=f"{status.warned:,}{plus}",
        kept=f"{status.kept:,}{plus}",
        overdue=f"{status.overdue:,}{plus}",
        last_sweep="never" if age is None else f"{duration(age)} ago",
        dead_letters=f"{status.dead_letters:,}{plus}",
        more="There are more: only the earliest of each shard are counted." if plus else "",
        groups=_bars(status.by_time_left, late="overdue"),
        outcomes=_bars({in_words(name): n for name, n in outcomes.most_common()})
        or '<tr><th scope="row">nothing yet</th><td>0</td><td></td></tr>',
        oldest_dead_letter=f"Oldest dead letter: {oldest:%Y-%m-%d %H:%M} UTC" if oldest else "",
        sweeps="".join(_sweep(each) for each in status.sweeps)
        or '<tr><th scope="row">none yet</th><td colspan="7"></td></tr>',
    )


def _bars(counts: dict[str, int], late: str = "") -> str:
    most = max(counts.values(), default=0) or 1
    return "".join(
        f'<tr{" class=late" if name == late else ""}><th scope="row">{escape(name)}</th>'
        f'<td>{count:,}</td><td class="bar"><svg aria-hidden="true">'
        f'<rect width="{100 * count / most:.1f}%" height="14" rx="3"/></svg></td></tr>'
        for name, count in counts.items()
    )


def _sweep(sweep: SweepRecord) -> str:
    ended = "complete" if sweep.complete else "out of time"
    if sweep.stopped:
        ended = "stopped"
    if sweep.error:
        ended = f"failed: {sweep.error}"
    cells = (
        sweep.counts.get("expired", 0),
        _late(sweep.lateness_p50_seconds),
        _late(sweep.lateness_p99_seconds),
        sweep.counts.get("failed", 0),
        f"{sweep.seconds:.2f} s",
        sweep.requests,
        ended,
    )
    rest = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    return f'<tr><th scope="row">{sweep.at:%m-%d %H:%M:%S}</th>{rest}</tr>'


def _late(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s"  # noqa: RUF001 - a dash for nothing
