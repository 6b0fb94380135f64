"""A sweep's report as metrics."""

from shared.expiry.report import ENDINGS, SweepReport
from shared.telemetry import _meter

_sweeps = _meter.create_counter("expiry.sweeps", "{sweep}", "Sweeps, by how they ended")
_counts = {
    "looked_at": _meter.create_counter("expiry.due", "{row}", "Due rows looked at"),
    "expired": _meter.create_counter("expiry.expired", "{conversation}", "Conversations expired"),
    "refiled": _meter.create_counter("expiry.refiled", "{row}", "Due rows of live conversations"),
    "came_back": _meter.create_counter(
        "expiry.came_back", "{conversation}", "Conversations that were used just before the claim"
    ),
}
_outcomes = _meter.create_counter("expiry.outcomes", "{row}", "What became of due rows, by outcome")
_notices = _meter.create_counter("expiry.notices", "{notice}", "Notices, by outcome and status")
_dead_letters = _meter.create_counter("expiry.dead_letters", "{notice}", "Notices given up")
_lateness = _meter.create_histogram(
    "expiry.lateness",
    "s",
    "From the moment a conversation became stale to its expiry",
    explicit_bucket_boundaries_advisory=(2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
_backlog_age = _meter.create_gauge("expiry.backlog.age", "s", "Age of the oldest row not reached")


def record_sweep(report: SweepReport) -> None:
    """Count what a sweep did."""
    ended = "stopped" if report.stopped else "complete" if report.complete else "unfinished"
    _sweeps.add(1, {"ended": ended})
    for name, counter in _counts.items():
        counter.add(getattr(report, name))
    for outcome, count in report.counts.items():
        _outcomes.add(count, {"outcome": outcome})
    for ending in ENDINGS:
        if ending != "refused":  # it is among the failures, by its status
            _notices.add(getattr(report, ending), {"outcome": ending, "status": ""})
    for status, count in report.notice_failures.items():
        _notices.add(count, {"outcome": "failed", "status": status})
    _dead_letters.add(report.dead_lettered)
    _backlog_age.set(report.backlog_seconds)
    for seconds in report.lateness_seconds:
        _lateness.record(seconds)
