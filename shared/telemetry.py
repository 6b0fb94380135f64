"""Spans and metrics by OpenTelemetry, sent to Application Insights if that is configured.

    turn                            one activity
    ├── storage                     one request
    └── send                        one reply
    sweep                           one run of the timer, or of one shard
    ├── storage
    └── notice                      linked to the turn that last touched the conversation
        └── send

Without configuration they are not sent, and cost some microseconds each. A conversation is named by
its hash. No id of a user and nothing that anybody said is part of them.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings.telemetry import TelemetrySettings

logger = logging.getLogger(__name__)

_NAME = "expiring-bot"
METRICS_EVERY_SECONDS = 15
_TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()


class _Tracer:
    """Begins spans, if they are recorded: one that goes nowhere takes 7 µs; a turn has four."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(_NAME)

    def start_as_current_span(self, name: str, **options: Any) -> AbstractContextManager[Span]:
        """See `opentelemetry.trace.Tracer`."""
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # not configured
            return nullcontext(trace.INVALID_SPAN)
        return self._tracer.start_as_current_span(name, **options)


tracer = _Tracer()
_meter = metrics.get_meter(_NAME)

turns = _meter.create_counter("expiry.turns", "{turn}", "Turns, by how they ended")
turn_conflicts = _meter.create_counter(
    "expiry.turn.conflicts", "{conflict}", "Attempts of turns that another writer came before"
)


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


def configure(settings: TelemetrySettings) -> None:
    """Send spans and metrics to Application Insights, if its connection string is set.

    The log is not sent from here, because the Functions host does that: no logger has the name
    `logger_name`. Microsoft's exporter reads APPLICATIONINSIGHTS_AUTHENTICATION_STRING.
    """
    connection_string = settings.connection_string.get_secret_value()
    if not connection_string:
        return
    # The exporter writes a line for each batch, and its requests another two; the host sends them
    # all to Application Insights.
    logging.getLogger("azure").setLevel(logging.WARNING)
    from azure.monitor.opentelemetry import (  # noqa: PLC0415 - 0.3 s that others need not wait
        configure_azure_monitor,
    )

    # Every 60 s by default. What is not sent when a process dies is lost.
    os.environ.setdefault(  # noqa: TID251 - OpenTelemetry takes it in no other way
        "OTEL_METRIC_EXPORT_INTERVAL", str(METRICS_EVERY_SECONDS * 1000)
    )
    configure_azure_monitor(
        connection_string=connection_string,
        logger_name=_NAME,
        enable_live_metrics=False,
        enable_performance_counters=False,
        # These would record addresses, with ids in them; the spans of this project do not.
        instrumentation_options={name: {"enabled": False} for name in _INSTRUMENTATIONS},
    )


async def flush(within_seconds: float) -> None:
    """Send the spans and metrics that are not sent yet; give up after so many seconds.

    The host kills a process without a word, so nothing may wait for its end.
    """
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        force_flush = getattr(provider, "force_flush", None)  # without configuration: no such thing
        if force_flush is None:
            continue
        try:
            async with asyncio.timeout(within_seconds / 2):
                await asyncio.to_thread(force_flush, int(within_seconds / 2 * 1000))
        except Exception as error:  # noqa: BLE001 - what was measured is done, and stays so
            logger.warning("telemetry: not sent: %r", error)


def traceparent() -> str:
    """The current span as W3C's traceparent; empty if nothing is recorded."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier[_TRACEPARENT]


def links_to(stored: str) -> Sequence[Link]:
    """A link to the span of a stored traceparent; none if it is empty or malformed."""
    context = _PROPAGATOR.extract({_TRACEPARENT: stored}, Context())
    span_context = trace.get_current_span(context).get_span_context()
    return [Link(span_context)] if span_context.is_valid else []
