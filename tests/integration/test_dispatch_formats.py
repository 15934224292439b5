"""What really goes out to endpoints with another format, and what is told of it afterwards."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook
from svix.webhooks import Webhook as Svix

from delivery import operational
from delivery.accept import endpoint_test
from delivery.bootstrap import clock
from delivery.deliveries import Deliveries, NoBody
from delivery.formats import Origin
from delivery.ledger.journal import Entry
from delivery.model import Actor, AttemptId, Format, PayloadKind, Prefix, show_id
from signing import verify
from tests.support import ledger as on
from tests.support.ledger import SECRET, Wanted
from tests.support.receivers import always, answer, receiving
from tests.support.worker import ORIGIN, finished, working

if TYPE_CHECKING:
    from delivery.deliveries import AttemptTold
    from delivery.dispatch import Dispatcher
    from delivery.ledger import Ledger
    from delivery.model import EndpointId, EventId, TenantId
    from tests.support.receivers import Received

# What does not survive being read and written again, and is no ASCII.
DATA = b'{ "n" : 1.10, "n" : 1.10, "who" : "Zo\xc3\xab \\u20ac \xf0\x9f\x98\x80" }'
CLOUDEVENTS = [Format.CLOUDEVENTS_STRUCTURED, Format.CLOUDEVENTS_BINARY]
SHAPES = [(wanted, payload) for wanted in Format for payload in PayloadKind]
LATER = "update schedule set due_at = now()"


async def deliver(ledger: Ledger, dispatcher: Dispatcher, endpoint: EndpointId) -> None:
    """Claim and deliver what is due for an endpoint."""
    for claim_id in (await on.claim(ledger, [endpoint])).claims:
        await dispatcher.start(claim_id)
    await finished(dispatcher)


async def told(ledger: Ledger, tenant: TenantId, *, origin: Origin = ORIGIN) -> list[AttemptTold]:
    """Every attempt, first to last, as a door with these settings tells it."""
    uses = Deliveries(ledger, clock=clock, in_flight=9, origin=origin)
    found = await on.rows(ledger, "select id from attempts order by id")
    return [await uses.attempt(tenant, AttemptId(row.id)) for row in found]


def verified(request: Received) -> None:
    """Three verifiers, one of them ours, take the body as it came."""
    verify(request.headers, request.body, SECRET, now=clock())
    Svix(SECRET.reveal()).verify(request.body, request.headers)
    Webhook(SECRET.reveal()).verify(request.body, request.headers)


def cloudevent(request: Received) -> Any:
    """The event as the SDK of CloudEvents reads the request."""
    return from_http_event(HTTPMessage(request.headers, request.body))


def link(event: EventId) -> str:
    return f"{ORIGIN.base_url}/v1/events/{show_id(Prefix.EVENT, event)}"


# ---- what goes out
@pytest.mark.parametrize(("wanted", "payload"), SHAPES)
async def test_each_shape_is_signed_as_it_is_sent_on_every_attempt_alike(
    ledger: Ledger, tenant: TenantId, wanted: Format, payload: PayloadKind
) -> None:
    async with receiving(always(answer("503 Later"))) as receiver, working(ledger) as dispatcher:
        terms = Wanted(receiver.url(), format=wanted, payload=payload)
        endpoint = await on.new_endpoint(ledger, tenant, terms)
        event = await on.accept(ledger, tenant, data=DATA)
        for _ in range(3):
            await on.change(ledger, LATER)
            await deliver(ledger, dispatcher, endpoint)
    assert len(receiver.requests) == 3
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.requests}) == 1
    assert receiver.requests[0].headers["webhook-id"] == show_id(Prefix.EVENT, event)
    for request in receiver.requests:
        verified(request)
    assert [(one.body, one.no_body) for one in await told(ledger, tenant)] == [
        (request.body, None) for request in receiver.requests
    ]


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
async def test_the_sdk_of_cloudevents_reads_what_came(
    ledger: Ledger, tenant: TenantId, wanted: Format
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url(), format=wanted))
        event = await on.accept(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
    (request,) = receiver.requests
    read = cloudevent(request)
    row = await on.row(ledger, "select body from events")
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": show_id(Prefix.EVENT, event),
        "source": f"/shops/{show_id(Prefix.TENANT, tenant)}",
        "type": "order.created",
        "time": datetime.fromisoformat(json.loads(row.body)["timestamp"]),
        "datacontenttype": "application/json",
    }
    assert read.get_data() == json.loads(DATA)
    assert DATA in request.body
    assert request.body == DATA or request.headers["content-type"].startswith("application/cloudevents+json;")


@pytest.mark.parametrize("wanted", Format)
async def test_a_thin_event_carries_no_data_and_a_link(
    ledger: Ledger, tenant: TenantId, wanted: Format
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        terms = Wanted(receiver.url(), format=wanted, payload=PayloadKind.THIN)
        endpoint = await on.new_endpoint(ledger, tenant, terms)
        event = await on.accept(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
    (request,) = receiver.requests
    sent = json.loads(request.body) if wanted is Format.STANDARD else cloudevent(request).get_data()
    assert b"who" not in request.body
    assert sent.keys() == {"id", "type", "timestamp", "url"}
    assert (sent["id"], sent["type"], sent["url"]) == (
        show_id(Prefix.EVENT, event),
        "order.created",
        link(event),
    )


async def test_one_event_goes_to_each_endpoint_in_its_own_format(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoints = [
            await on.new_endpoint(ledger, tenant, Wanted(receiver.url(f"/{wanted}"), format=wanted))
            for wanted in Format
        ]
        event = await on.accept(ledger, tenant, data=DATA)
        for endpoint in endpoints:
            await deliver(ledger, dispatcher, endpoint)
    came = {request.line.split()[1][1:]: request for request in receiver.requests}
    assert came.keys() == set(Format)
    assert {request.headers["webhook-id"] for request in came.values()} == {show_id(Prefix.EVENT, event)}
    assert len({request.body for request in came.values()}) == 3
    plain = came["standard"].headers
    assert plain["content-type"] == "application/json"
    assert not [name for name in plain if name.startswith("ce-")]


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
async def test_tests_and_what_the_engine_says_itself_go_the_same_way(
    ledger: Ledger, tenant: TenantId, wanted: Format
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        terms = Wanted(receiver.url(), format=wanted, operational=True)
        endpoint = await on.new_endpoint(ledger, tenant, terms)
        test = endpoint_test(endpoint)
        await on.accepter(ledger).accept(tenant, [test], single=True, only_endpoint=endpoint)
        entry = Entry(tenant_id=tenant, what="endpoint.disabled", actor="ada", at=clock())
        async with ledger.transaction() as tx:
            await operational.tell(tx, [entry], now=clock())
        await deliver(ledger, dispatcher, endpoint)
    for request in receiver.requests:
        verified(request)
    read = {cloudevent(request).get_type(): cloudevent(request).get_data() for request in receiver.requests}
    assert read.keys() == {"waybill.test", "endpoint.disabled"}
    assert read["waybill.test"] == json.loads(test.data)
    assert read["endpoint.disabled"]["actor"] == "ada"


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
async def test_a_replay_sends_the_same_event_again(ledger: Ledger, tenant: TenantId, wanted: Format) -> None:
    uses = Deliveries(ledger, clock=clock, in_flight=9)
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url(), format=wanted))
        await on.accept(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
        (delivery,) = await on.delivery_ids(ledger, endpoint)
        await uses.replay(tenant, delivery, actor=Actor("ada"))
        await deliver(ledger, dispatcher, endpoint)
    first, second = receiver.requests
    assert first.body == second.body
    assert cloudevent(first).get_attributes() == cloudevent(second).get_attributes()
    verified(second)


async def test_headers_of_its_own_do_not_spoil_a_cloudevent(ledger: Ledger, tenant: TenantId) -> None:
    old = {"Ce-Id": "mine", "X-Kept": "yes"}
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        for wanted in Format:
            terms = Wanted(receiver.url(), headers=old, format=wanted)
            endpoint = await on.new_endpoint(ledger, tenant, terms)
            await on.accept(ledger, tenant)
            await deliver(ledger, dispatcher, endpoint)
            await on.change(ledger, "delete from schedule")
    plain, structured, binary = receiver.requests
    assert {request.headers["x-kept"] for request in receiver.requests} == {"yes"}
    assert plain.headers["ce-id"] == "mine"
    assert b"\r\nce-id: mine" not in (structured.head + binary.head).lower()
    assert cloudevent(binary).get_id() == binary.headers["webhook-id"]


# ---- what is told of it
async def test_a_change_of_the_format_shows_in_each_attempt(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer("500 Oh No"))) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
        await on.change(
            ledger,
            "update endpoints set format = 'cloudevents_binary', payload = 'thin', version = version + 1",
        )
        await on.change(ledger, LATER)
        await deliver(ledger, dispatcher, endpoint)
    before, after = receiver.requests
    assert before.headers["webhook-id"] == after.headers["webhook-id"]
    assert before.body != after.body
    assert [one.body for one in await told(ledger, tenant)] == [before.body, after.body]


async def test_what_cannot_be_made_again_is_not_made_up(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        terms = Wanted(receiver.url(), format=Format.CLOUDEVENTS_STRUCTURED)
        endpoint = await on.new_endpoint(ledger, tenant, terms)
        event = await on.accept(ledger, tenant, data=DATA)
        await deliver(ledger, dispatcher, endpoint)
    (moved,) = await told(ledger, tenant, origin=Origin("/elsewhere"))
    assert (moved.body, moved.no_body) == (None, NoBody.ANOTHER_SHAPE)
    await on.change(ledger, "update events set body = null where id = :id", id=event)
    (gone,) = await told(ledger, tenant)
    assert (gone.body, gone.no_body) == (None, NoBody.NOT_KEPT)


async def test_what_only_a_newer_release_can_do_waits_and_holds_up_nobody(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        newer, known = [await on.new_endpoint(ledger, tenant, Wanted(receiver.url())) for _ in range(2)]
        await on.change(ledger, "update endpoints set format = 'xml' where id = :id", id=newer)
        await on.accept(ledger, tenant)
        taken = await on.claim(ledger, [newer, known])
        for claim_id in taken.claims:
            await dispatcher.start(claim_id)
        await finished(dispatcher)
    assert len(receiver.requests) == 1
    (waits,) = await on.rows(ledger, "select endpoint_id, due_at > now() as later from schedule")
    assert (waits.endpoint_id, waits.later) == (newer, True)


async def test_the_usual_choice_is_stored_as_none_was_before_there_was_one(
    ledger: Ledger, tenant: TenantId
) -> None:
    await on.new_endpoint(ledger, tenant)
    row = await on.row(ledger, "select format, payload from endpoints")
    assert (row.format, row.payload) == (None, None)
