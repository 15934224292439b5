"""The spans themselves, by the standard's own library: the only module that imports it.

Where to send spans, how many, and how often is told by the standard's own variables (`OTEL_EXPORTER_OTLP_…`,
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

    from delivery.spans import Journey

HEADER: Final = "traceparent"
CLOSE_SECONDS: Final = 3.0
_W3C: Final = TraceContextTextMapPropagator()
_VERSION: Final = "0.1"
_FAULT: Final = 500


class Spans:
    """The spans of one process. What cannot be sent on is dropped: a delivery never waits for it."""

    def __init__(self, process: str, exporter: SpanExporter | None = None) -> None:
        """Send spans by OTLP over HTTP, or to this exporter; from a thread of their own, in batches."""
        resource = Resource.create({"service.namespace": "waybill", "service.name": f"waybill-{process}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("waybill", _VERSION)

    @contextmanager
    def accepting(self, route: str, incoming: str | None) -> Iterator[Accepting]:
        """The span of a producer's request, within the trace that its `traceparent` names if it has one."""
        carrier = {} if incoming is None else {HEADER: incoming}
        with self._tracer.start_as_current_span(
            f"POST {route}",
            context=_W3C.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": "POST", "http.route": route},
            # What is refused is the caller's fault, and what is said of it may name what was sent.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield Accepting(span)

    def attempting(self, journey: Journey, host: str) -> Attempting:
        """Begin the span of an attempt; spans of their own tell how long the delivery waited before."""
        within = _W3C.extract({HEADER: journey.traceparent})
        claimed, started = _nanoseconds(journey.claimed_at), _nanoseconds(journey.started_at)
        if journey.accepted_at is not None:
            self._span("waybill.relay", within, _nanoseconds(journey.accepted_at), claimed, journey.about)
        self._span("waybill.queue", within, claimed, started, journey.about)
        span = self._tracer.start_span(
            "POST",
            context=within,
            kind=SpanKind.CLIENT,
            start_time=started,
            attributes={"http.request.method": "POST", "server.address": host, **journey.about},
        )
        return Attempting(span, _written(span))

    def close(self) -> None:
        """Send what is left, for CLOSE_SECONDS at most: a collector that is silent holds up nobody's end."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)

    def _span(self, name: str, within: Context, start: int, end: int, about: Mapping[str, str | int]) -> None:
        span = self._tracer.start_span(name, context=within, start_time=start, attributes=about)
        span.end(end_time=max(start, end))


@dataclass(frozen=True, slots=True)
class Accepting:
    """A producer's request under way."""

    _span: Span

    @property
    def traceparent(self) -> str:
        """What is kept with its events."""
        return _written(self._span)

    def answered(self, status: int) -> None:
        """Say what was answered. Of a server's span only its own faults are errors."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAULT:
            self._span.set_status(Status(StatusCode.ERROR))


@dataclass(frozen=True, slots=True)
class Attempting:
    """An attempt under way; `traceparent` goes to the receiver."""

    _span: Span
    traceparent: str

    def ended(self, at: datetime, *, outcome: str, status: int | None, decision: str) -> None:
        """Say what came of it."""
        self._span.set_attributes({"waybill.outcome": outcome, "waybill.decision": decision})
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if decision != "succeed":
            self._span.set_status(Status(StatusCode.ERROR, outcome))
        self._span.end(end_time=_nanoseconds(at))


def _written(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _nanoseconds(moment: datetime) -> int:
    # Whole microseconds first: a float of nanoseconds since 1970 is exact to a quarter of a microsecond only.
    return round(moment.timestamp() * 1_000_000) * 1_000
