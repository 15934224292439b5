"""Spans, by OpenTelemetry's own library: the only module that imports it.

Its own variables say where spans are sent, how many, and how often (`OTEL_EXPORTER_OTLP_…`,
`OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`).
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from delivery.telemetry.tracing import AttemptTraceContext

HEADER: Final = "traceparent"
CLOSE_TIMEOUT_SECONDS: Final = 3.0
_W3C: Final = TraceContextTextMapPropagator()
_VERSION: Final = "0.1"
_SERVER_ERROR: Final = 500


class Tracer:
    """The spans of one process. Spans that cannot be sent are dropped: a delivery never waits for them."""

    def __init__(self, process: str, exporter: SpanExporter | None = None) -> None:
        """Send spans in batches from a thread of their own: by OTLP over HTTP, or to this exporter."""
        resource = Resource.create({"service.namespace": "waybill", "service.name": f"waybill-{process}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("waybill", _VERSION)

    @contextmanager
    def trace_request(self, route: str, traceparent: str | None) -> Iterator[RequestSpan]:
        """The span of a producer's request, within the trace of its `traceparent`, if it has one."""
        carrier = {} if traceparent is None else {HEADER: traceparent}
        with self._tracer.start_as_current_span(
            f"POST {route}",
            context=_W3C.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": "POST", "http.route": route},
            # Refusals are the caller's fault, and their messages may quote what was sent.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield RequestSpan(span)

    def start_attempt(self, context: AttemptTraceContext, host: str) -> AttemptSpan:
        """Begin the span of an attempt; separate spans show how long the delivery waited before."""
        within = _W3C.extract({HEADER: context.traceparent})
        claimed, started = _to_nanoseconds(context.claimed_at), _to_nanoseconds(context.started_at)
        if context.accepted_at is not None:
            self._record_span(
                "waybill.relay", within, _to_nanoseconds(context.accepted_at), claimed, context.attributes
            )
        self._record_span("waybill.queue", within, claimed, started, context.attributes)
        span = self._tracer.start_span(
            "POST",
            context=within,
            kind=SpanKind.CLIENT,
            start_time=started,
            attributes={"http.request.method": "POST", "server.address": host, **context.attributes},
        )
        return AttemptSpan(span, _format_traceparent(span))

    def close(self) -> None:
        """Send the remaining spans, for CLOSE_TIMEOUT_SECONDS at most, so that no exit hangs."""
        thread = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        thread.start()
        thread.join(CLOSE_TIMEOUT_SECONDS)

    def _record_span(
        self, name: str, within: Context, start: int, end: int, attributes: Mapping[str, str | int]
    ) -> None:
        span = self._tracer.start_span(name, context=within, start_time=start, attributes=attributes)
        span.end(end_time=max(start, end))


@dataclass(frozen=True, slots=True)
class RequestSpan:
    """A producer's request in progress."""

    _span: Span

    @property
    def traceparent(self) -> str:
        """The trace context that is stored with its events."""
        return _format_traceparent(self._span)

    def record_status(self, status: int) -> None:
        """Record the status of the response. Only our own faults make the span an error."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))


@dataclass(frozen=True, slots=True)
class AttemptSpan:
    """An attempt in progress; `traceparent` goes to the receiver."""

    _span: Span
    traceparent: str

    def end(self, at: datetime, *, outcome: str, status: int | None, decision: str) -> None:
        """Record the result, and end the span."""
        self._span.set_attributes({"waybill.outcome": outcome, "waybill.decision": decision})
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if decision != "succeed":
            self._span.set_status(Status(StatusCode.ERROR, outcome))
        self._span.end(end_time=_to_nanoseconds(at))


def _format_traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _to_nanoseconds(moment: datetime) -> int:
    # Whole microseconds first: a float of nanoseconds since 1970 is only exact to a quarter of a microsecond.
    return round(moment.timestamp() * 1_000_000) * 1_000
