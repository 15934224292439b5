"""The spans of a producer's request, and an end that waits for no collector."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from delivery.domain.errors import Invalid
from delivery.telemetry.tracing.otel import Tracer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class Silent(SpanExporter):
    """A collector that never answers, until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert spans
        self.asked.set()
        self.let_go.wait()
        return SpanExportResult.SUCCESS


def test_the_end_of_a_process_does_not_wait_for_a_silent_collector() -> None:
    silent = Silent()
    spans = Tracer("web", silent)
    with spans.trace_request("/v1/events", None):
        pass
    spans.close()
    assert silent.asked.is_set()
    assert not silent.let_go.is_set()
    silent.let_go.set()


def refused(spans: Tracer, status: int) -> None:
    with spans.trace_request("/v1/events", None) as accepting:
        accepting.record_status(status)
        raise Invalid("data.name", "is not Ada")


@pytest.mark.parametrize(("status", "code"), [(422, StatusCode.UNSET), (503, StatusCode.ERROR)])
def test_a_request_that_was_refused_tells_its_status_and_nothing_of_what_was_sent(
    status: int, code: StatusCode
) -> None:
    heard = InMemorySpanExporter()
    spans = Tracer("web", heard)
    with pytest.raises(Invalid):
        refused(spans, status)
    spans.close()
    [span] = heard.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == status
    assert span.status.status_code is code
    assert span.status.description is None
    assert span.events == ()
