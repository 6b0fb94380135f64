"""Spans and metrics by OpenTelemetry, sent to Application Insights where that is configured.

    turn                            one activity
    ├── storage                     one request
    └── send                        one reply
    sweep                           one run of the timer, or of one shard
    ├── storage
    └── notice                      linked to the turn that last touched the conversation
        └── send

Without configuration they go nowhere, at some microseconds each. A conversation is named by its
hash; no id of a user and nothing that anybody said is part of them.
"""

from collections.abc import Sequence

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings import Settings
from shared.sweep import SweepReport

_NAME = "expiring-bot"
_TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()

tracer = trace.get_tracer(_NAME)
_meter = metrics.get_meter(_NAME)

turns = _meter.create_counter("expiry.turns", "{turn}", "Turns, by how they ended")
turn_conflicts = _meter.create_counter(
    "expiry.turn.conflicts", "{conflict}", "Attempts of turns that another writer came before"
)
_sweeps = _meter.create_counter("expiry.sweeps", "{sweep}", "Sweeps, by how they ended")
_counts = {
    "looked_at": _meter.create_counter("expiry.due", "{row}", "Due rows looked at"),
    "expired": _meter.create_counter("expiry.expired", "{conversation}", "Conversations expired"),
    "refiled": _meter.create_counter("expiry.refiled", "{row}", "Due rows of live conversations"),
    "came_back": _meter.create_counter(
        "expiry.came_back", "{conversation}", "Conversations that were used just before the claim"
    ),
}
_notices = _meter.create_counter("expiry.notices", "{notice}", "Notices, by outcome and status")
_dead_letters = _meter.create_counter("expiry.dead_letters", "{notice}", "Notices given up")
_lateness = _meter.create_histogram(
    "expiry.lateness",
    "s",
    "From the moment a conversation became stale to its expiry",
    explicit_bucket_boundaries_advisory=(2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
_backlog_age = _meter.create_gauge("expiry.backlog.age", "s", "Age of the oldest row not reached")


_INSTRUMENTATIONS = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "httpx",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)


def configure(settings: Settings) -> None:
    """Send spans and metrics to Application Insights, if its connection string is set.

    The log is not sent from here, as the Functions host does that: `logger_name` is one that nobody
    uses. APPLICATIONINSIGHTS_AUTHENTICATION_STRING is read by Microsoft's exporter.
    """
    connection_string = settings.application_insights.get_secret_value()
    if not connection_string:
        return
    from azure.monitor.opentelemetry import (  # noqa: PLC0415 - 0.3 s that others need not wait
        configure_azure_monitor,
    )

    configure_azure_monitor(
        connection_string=connection_string,
        logger_name=_NAME,
        enable_live_metrics=False,
        enable_performance_counters=False,
        # These would name addresses, with ids in them; the spans of this project do not.
        instrumentation_options={name: {"enabled": False} for name in _INSTRUMENTATIONS},
    )


def traceparent() -> str:
    """The present span as W3C's traceparent; empty where nothing is recorded."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier[_TRACEPARENT]


def links_to(stored: str) -> Sequence[Link]:
    """A link to the span of a stored traceparent; none where that is empty or malformed."""
    context = _PROPAGATOR.extract({_TRACEPARENT: stored}, Context())
    span_context = trace.get_current_span(context).get_span_context()
    return [Link(span_context)] if span_context.is_valid else []


def record_sweep(report: SweepReport) -> None:
    """Count what a sweep did."""
    ended = "stopped" if report.stopped else "complete" if report.complete else "unfinished"
    _sweeps.add(1, {"ended": ended})
    for name, counter in _counts.items():
        counter.add(getattr(report, name))
    for outcome in ("notified", "silent", "too_old", "superseded", "dead_lettered"):
        _notices.add(getattr(report, outcome), {"outcome": outcome, "status": ""})
    for status, count in report.notice_failures.items():
        _notices.add(count, {"outcome": "failed", "status": status})
    _dead_letters.add(report.dead_lettered)
    _backlog_age.set(report.backlog_seconds)
    for seconds in report.lateness_seconds:
        _lateness.record(seconds)
