"""One trace from a producer's POST to the receiver, as a collector hears it; and nothing where it is off."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.api import Api
from tests.support.postgres import connect
from tests.support.scenario import TIMEOUT_SECONDS, subscribe, wait_for_success
from tests.support.stack import OPERATOR_KEY, wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stack import Stack
    from tests.support.webhook_partner import ReceivedCall


class Span(NamedTuple):
    """A span as a collector knows it; ids are in hexadecimal."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    about: dict[str, Any]
    failed: bool


class Collector(Partner):
    """Takes spans by OTLP over HTTP."""

    @property
    def spans(self) -> list[Span]:
        """Everything that was heard, in the order in which it began."""
        found = []
        for call in list(self.calls):
            for group in ExportTraceServiceRequest.FromString(call.body).resource_spans:
                service = {one.key: one.value.string_value for one in group.resource.attributes}[
                    "service.name"
                ]
                found += [_span(service, span) for scope in group.scope_spans for span in scope.spans]
        return sorted(found, key=lambda span: (span.start, span.end))


def _span(service: str, span: Any) -> Span:
    values = {one.key: one.value for one in span.attributes}
    about = {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    times = span.start_time_unix_nano, span.end_time_unix_nano
    return Span(service, span.name, *ids, *times, about, failed=span.status.code == 2)


def enable_tracing(stack: Stack, collector_url: str) -> None:
    stack.environment |= {
        "WAYBILL_OPENTELEMETRY": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


@pytest.fixture(scope="module")
def collector(module_stack: Stack) -> Iterator[Collector]:
    """What hears the spans of an engine that the tests share."""
    with Collector() as collector:
        enable_tracing(module_stack, collector.url.removesuffix("/hooks"))
        module_stack.serve("web", "relay", "worker")
        yield collector
        module_stack.stop()


@pytest.fixture
def tenant(module_stack: Stack, collector: Collector) -> Api:
    """A tenant of the engine whose spans are collected."""
    assert collector.url
    return Api(f"http://127.0.0.1:{module_stack.port}", OPERATOR_KEY).create_tenant()


def parts(traceparent: str) -> tuple[str, str, str]:
    version, trace, span, flags = traceparent.split("-")
    assert version == "00"
    return trace, span, flags


def test_one_trace_leads_from_the_producer_to_the_receiver(
    module_stack: Stack, tenant: Api, collector: Collector
) -> None:
    trace, producer = secrets.token_hex(16), secrets.token_hex(8)
    first: list[str] = []

    def unwell_once(call: ReceivedCall) -> CannedResponse:
        first.append(call.message_id)
        return CannedResponse(503 if len(first) == 1 else 200)

    def list_spans() -> list[Span]:
        return [span for span in collector.spans if span.trace == trace]

    with Partner(unwell_once) as partner:
        endpoint = subscribe(tenant, partner)
        event = {"type": "order.created", "data": {}}
        event_id = tenant.post("/v1/events", event, traceparent=f"00-{trace}-{producer}-01")["id"]
        wait_for_success(tenant, 1)
        wait_until(lambda: len(list_spans()) >= 6, "the spans of two attempts", seconds=TIMEOUT_SECONDS)
        received = [parts(call.headers["traceparent"]) for call in partner.calls]
    assert partner.unverified == []

    spans = list_spans()
    [accept] = [span for span in spans if span.service == "waybill-web"]
    assert (accept.name, accept.parent) == ("POST /v1/events", producer)
    assert accept.about["http.response.status_code"] == 202
    [delivery] = tenant.list_all("/v1/deliveries")
    of_worker = [span for span in spans if span.service == "waybill-worker"]
    assert {span.parent for span in of_worker} == {accept.id}
    assert {span.about["waybill.event_id"] for span in of_worker} == {event_id}
    assert {span.about["waybill.delivery_id"] for span in of_worker} == {delivery["id"]}
    assert {span.about["waybill.endpoint_id"] for span in of_worker} == {endpoint}
    names = [span.name for span in of_worker]
    assert (names.count("waybill.relay"), names.count("waybill.queue"), names.count("POST")) == (1, 2, 2)
    assert all(span.start <= span.end for span in spans)

    attempts = [span for span in of_worker if span.name == "POST"]
    assert [(trace, span.id, "01") for span in attempts] == received
    assert [span.about["waybill.attempt_number"] for span in attempts] == [1, 2]
    assert [span.about["http.response.status_code"] for span in attempts] == [503, 200]
    assert [span.about["waybill.outcome"] for span in attempts] == ["refused", "delivered"]
    assert [span.failed for span in attempts] == [True, False]
    lines = [
        json.loads(line)
        for line in module_stack.read_log("worker").splitlines()
        if "delivery.attempted" in line
    ]
    assert [line["number"] for line in lines if line["trace_id"] == trace] == [1]


def test_missing_trace_context_starts_a_trace_and_unsampled_stays_unsampled(
    tenant: Api, collector: Collector
) -> None:
    trace, producer = secrets.token_hex(16), secrets.token_hex(8)
    with Partner() as partner:
        subscribe(tenant, partner)
        batch = {"events": [{"type": "order.created", "data": {}}, {"type": "order.paid", "data": {}}]}
        tenant.post("/v1/events/batch", batch)
        tenant.post("/v1/events", batch["events"][0], traceparent=f"00-{trace}-{producer}-00")
        tenant.post("/v1/events", batch["events"][0], traceparent="no such thing")
        wait_for_success(tenant, 4)
        traces = [parts(call.headers["traceparent"]) for call in partner.calls]
    sampled = {own: int(flags, 16) & 1 for own, _, flags in traces}
    assert len(sampled) == 3  # those of a batch share theirs
    assert sampled.pop(trace) == 0
    assert set(sampled.values()) == {1}

    def list_attempted() -> set[str]:
        return {span.trace for span in collector.spans if span.service == "waybill-worker"}

    # The unsampled event came before the last one: once that one's spans are here, its own would be too.
    wait_until(lambda: set(sampled) <= list_attempted(), "the sampled spans", seconds=TIMEOUT_SECONDS)
    assert trace not in {span.trace for span in collector.spans}


def test_nobody_waits_for_a_collector_that_is_away(stack: Stack, operator: Api) -> None:
    enable_tracing(stack, "http://127.0.0.1:1")
    with Partner() as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        tenant.post("/v1/events", {"type": "order.created", "data": {}})
        wait_for_success(tenant, 1)
        assert stack.list_crashed() == []


def test_disabled_tracing_stores_and_propagates_nothing(stack: Stack, operator: Api) -> None:
    with Partner() as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        sent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        tenant.post("/v1/events", {"type": "order.created", "data": {}}, traceparent=sent)
        wait_for_success(tenant, 1)
    assert "traceparent" not in partner.calls[0].headers
    with connect(stack.database_url) as connection:
        assert connection.execute("select traceparent from events").fetchall() == [(None,)]


def test_every_attempt_s_headers_are_in_the_ledger_as_they_were_sent(tenant: Api) -> None:
    with Partner() as partner:
        subscribe(tenant, partner)
        tenant.post("/v1/events", {"type": "order.created", "data": {}})
        wait_for_success(tenant, 1)
        [delivery] = tenant.list_all("/v1/deliveries")
        [attempt] = tenant.list_all(f"/v1/deliveries/{delivery['id']}/attempts")
        shown = tenant.get(f"/v1/attempts/{attempt['id']}")
    assert partner.calls[0].headers["traceparent"] in json.dumps(shown)
