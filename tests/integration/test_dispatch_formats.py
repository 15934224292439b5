"""Requests to endpoints with other formats, and how their attempts are shown."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook
from svix.webhooks import Webhook as Svix

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.attempt import BodyUnavailable
from delivery.domain.formats import EventOrigin, PayloadFormat, PayloadKind
from delivery.domain.ids import AttemptId, Prefix, format_id
from delivery.ledger.records.journal import JournalEntry
from delivery.pipeline import system_events
from delivery.pipeline.parsing import build_test_event
from delivery.services.deliveries import DeliveryService
from signing import verify
from tests.support import ledger_builders as build
from tests.support.in_process_worker import ORIGIN, run_worker, wait_until_idle
from tests.support.ledger_builders import SECRET, EndpointSpec
from tests.support.receivers import answer_always, make_response, run_receiver

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId, EventId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.dispatcher import Dispatcher
    from delivery.services.deliveries import AttemptDetails
    from tests.support.receivers import ReceivedRequest

# JSON that would change if it were decoded and encoded again, and that is not ASCII.
DATA = b'{ "n" : 1.10, "n" : 1.10, "who" : "Zo\xc3\xab \\u20ac \xf0\x9f\x98\x80" }'
CLOUDEVENTS = [PayloadFormat.CLOUDEVENTS_STRUCTURED, PayloadFormat.CLOUDEVENTS_BINARY]
SHAPES = [(wanted, payload) for wanted in PayloadFormat for payload in PayloadKind]
LATER = "update schedule set due_at = now()"


async def deliver(ledger: Ledger, dispatcher: Dispatcher, endpoint: EndpointId) -> None:
    """Claim and deliver what is due for an endpoint."""
    for claim_id in (await build.claim_deliveries(ledger, [endpoint])).claim_ids:
        await dispatcher.start_claim(claim_id)
    await wait_until_idle(dispatcher)


async def load_attempts(
    ledger: Ledger, tenant: TenantId, *, origin: EventOrigin = ORIGIN
) -> list[AttemptDetails]:
    """Load every attempt, first to last, as the API with these settings shows it."""
    uses = DeliveryService(ledger, clock=clock, default_max_in_flight=9, origin=origin)
    found = await build.fetch_rows(ledger, "select id from attempts order by id")
    return [await uses.read_attempt(tenant, AttemptId(row.id)) for row in found]


def verify_body(request: ReceivedRequest) -> None:
    """Verify the body as it came, with three verifiers, one of them ours."""
    verify(request.headers, request.body, SECRET, now=clock())
    Svix(SECRET.reveal()).verify(request.body, request.headers)
    Webhook(SECRET.reveal()).verify(request.body, request.headers)


def cloudevent(request: ReceivedRequest) -> Any:
    """Read the event with the CloudEvents SDK."""
    return from_http_event(HTTPMessage(request.headers, request.body))


def link(event: EventId) -> str:
    return f"{ORIGIN.base_url}/v1/events/{format_id(Prefix.EVENT, event)}"


# ---- requests
@pytest.mark.parametrize(("wanted", "payload"), SHAPES)
async def test_each_format_is_signed_as_sent_on_every_attempt(
    ledger: Ledger, tenant: TenantId, wanted: PayloadFormat, payload: PayloadKind
) -> None:
    async with (
        run_receiver(answer_always(make_response("503 Later"))) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        terms = EndpointSpec(receiver.url(), format=wanted, payload=payload)
        endpoint = await build.create_endpoint(ledger, tenant, terms)
        event = await build.accept_event(ledger, tenant, data=DATA)
        for _ in range(3):
            await build.execute(ledger, LATER)
            await deliver(ledger, dispatcher, endpoint)
    assert len(receiver.requests) == 3
    assert len({(attempt.headers["webhook-id"], attempt.body) for attempt in receiver.requests}) == 1
    assert receiver.requests[0].headers["webhook-id"] == format_id(Prefix.EVENT, event)
    for request in receiver.requests:
        verify_body(request)
    assert [(attempt.body, attempt.body_unavailable) for attempt in await load_attempts(ledger, tenant)] == [
        (request.body, None) for request in receiver.requests
    ]


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
async def test_the_cloudevents_sdk_reads_the_request(
    ledger: Ledger, tenant: TenantId, wanted: PayloadFormat
) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url(), format=wanted))
        event = await build.accept_event(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
    (request,) = receiver.requests
    read = cloudevent(request)
    row = await build.fetch_row(ledger, "select body from events")
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": format_id(Prefix.EVENT, event),
        "source": f"/shops/{format_id(Prefix.TENANT, tenant)}",
        "type": "order.created",
        "time": datetime.fromisoformat(json.loads(row.body)["timestamp"]),
        "datacontenttype": "application/json",
    }
    assert read.get_data() == json.loads(DATA)
    assert DATA in request.body
    assert request.body == DATA or request.headers["content-type"].startswith("application/cloudevents+json;")


@pytest.mark.parametrize("wanted", PayloadFormat)
async def test_a_thin_event_has_a_link_and_no_data(
    ledger: Ledger, tenant: TenantId, wanted: PayloadFormat
) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        terms = EndpointSpec(receiver.url(), format=wanted, payload=PayloadKind.THIN)
        endpoint = await build.create_endpoint(ledger, tenant, terms)
        event = await build.accept_event(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
    (request,) = receiver.requests
    sent = json.loads(request.body) if wanted is PayloadFormat.STANDARD else cloudevent(request).get_data()
    assert b"who" not in request.body
    assert sent.keys() == {"id", "type", "timestamp", "url"}
    assert (sent["id"], sent["type"], sent["url"]) == (
        format_id(Prefix.EVENT, event),
        "order.created",
        link(event),
    )


async def test_one_event_goes_to_each_endpoint_in_its_own_format(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoints = [
            await build.create_endpoint(
                ledger, tenant, EndpointSpec(receiver.url(f"/{wanted}"), format=wanted)
            )
            for wanted in PayloadFormat
        ]
        event = await build.accept_event(ledger, tenant, data=DATA)
        for endpoint in endpoints:
            await deliver(ledger, dispatcher, endpoint)
    came = {request.request_line.split()[1][1:]: request for request in receiver.requests}
    assert came.keys() == set(PayloadFormat)
    assert {request.headers["webhook-id"] for request in came.values()} == {format_id(Prefix.EVENT, event)}
    assert len({request.body for request in came.values()}) == 3
    plain = came["standard"].headers
    assert plain["content-type"] == "application/json"
    assert not [name for name in plain if name.startswith("ce-")]


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
async def test_test_events_and_system_events_have_the_format(
    ledger: Ledger, tenant: TenantId, wanted: PayloadFormat
) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        terms = EndpointSpec(receiver.url(), format=wanted, operational=True)
        endpoint = await build.create_endpoint(ledger, tenant, terms)
        test = build_test_event(endpoint)
        await build.make_intake(ledger).accept_events(tenant, [test], single=True, only_endpoint_id=endpoint)
        entry = JournalEntry(tenant_id=tenant, action="endpoint.disabled", actor="ada", at=clock())
        async with ledger.transaction() as tx:
            await system_events.publish_system_events(tx, [entry], now=clock())
        await deliver(ledger, dispatcher, endpoint)
    for request in receiver.requests:
        verify_body(request)
    read = {cloudevent(request).get_type(): cloudevent(request).get_data() for request in receiver.requests}
    assert read.keys() == {"waybill.test", "endpoint.disabled"}
    assert read["waybill.test"] == json.loads(test.data)
    assert read["endpoint.disabled"]["actor"] == "ada"


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
async def test_a_replay_sends_the_same_event_again(
    ledger: Ledger, tenant: TenantId, wanted: PayloadFormat
) -> None:
    uses = DeliveryService(ledger, clock=clock, default_max_in_flight=9)
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url(), format=wanted))
        await build.accept_event(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
        (delivery,) = await build.list_delivery_ids(ledger, endpoint)
        await uses.replay(tenant, delivery, actor=Actor("ada"))
        await deliver(ledger, dispatcher, endpoint)
    first, second = receiver.requests
    assert first.body == second.body
    assert cloudevent(first).get_attributes() == cloudevent(second).get_attributes()
    verify_body(second)


async def test_custom_headers_do_not_spoil_a_cloudevent(ledger: Ledger, tenant: TenantId) -> None:
    old = {"Ce-Id": "mine", "X-Kept": "yes"}
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        for wanted in PayloadFormat:
            terms = EndpointSpec(receiver.url(), headers=old, format=wanted)
            endpoint = await build.create_endpoint(ledger, tenant, terms)
            await build.accept_event(ledger, tenant)
            await deliver(ledger, dispatcher, endpoint)
            await build.execute(ledger, "delete from schedule")
    plain, structured, binary = receiver.requests
    assert {request.headers["x-kept"] for request in receiver.requests} == {"yes"}
    assert plain.headers["ce-id"] == "mine"
    assert b"\r\nce-id: mine" not in (structured.head + binary.head).lower()
    assert cloudevent(binary).get_id() == binary.headers["webhook-id"]


# ---- shown attempts
async def test_each_attempt_shows_its_own_format(ledger: Ledger, tenant: TenantId) -> None:
    async with (
        run_receiver(answer_always(make_response("500 Oh No"))) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
        await build.execute(
            ledger,
            "update endpoints set format = 'cloudevents_binary', payload = 'thin', version = version + 1",
        )
        await build.execute(ledger, LATER)
        await deliver(ledger, dispatcher, endpoint)
    before, after = receiver.requests
    assert before.headers["webhook-id"] == after.headers["webhook-id"]
    assert before.body != after.body
    assert [attempt.body for attempt in await load_attempts(ledger, tenant)] == [before.body, after.body]


async def test_body_that_cannot_be_rebuilt_is_not_shown(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        terms = EndpointSpec(receiver.url(), format=PayloadFormat.CLOUDEVENTS_STRUCTURED)
        endpoint = await build.create_endpoint(ledger, tenant, terms)
        event = await build.accept_event(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
    (moved,) = await load_attempts(ledger, tenant, origin=EventOrigin("/elsewhere"))
    assert (moved.body, moved.body_unavailable) == (None, BodyUnavailable.SETTINGS_CHANGED)
    await build.execute(ledger, "update events set body = null where id = :id", id=event)
    (gone,) = await load_attempts(ledger, tenant)
    assert (gone.body, gone.body_unavailable) == (None, BodyUnavailable.NOT_KEPT)


async def test_unsupported_format_postpones_only_its_own_deliveries(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        newer, known = [
            await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url())) for _ in range(2)
        ]
        await build.execute(ledger, "update endpoints set format = 'xml' where id = :id", id=newer)
        await build.accept_event(ledger, tenant)
        taken = await build.claim_deliveries(ledger, [newer, known])
        for claim_id in taken.claim_ids:
            await dispatcher.start_claim(claim_id)
        await wait_until_idle(dispatcher)
    assert len(receiver.requests) == 1
    (waits,) = await build.fetch_rows(ledger, "select endpoint_id, due_at > now() as later from schedule")
    assert (waits.endpoint_id, waits.later) == (newer, True)


async def test_default_format_is_stored_as_null(ledger: Ledger, tenant: TenantId) -> None:
    await build.create_endpoint(ledger, tenant)
    row = await build.fetch_row(ledger, "select format, payload from endpoints")
    assert (row.format, row.payload) == (None, None)
