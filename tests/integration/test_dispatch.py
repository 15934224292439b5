"""A claim's way through a worker: what goes over the wire, what comes of it, what the ledger then says."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

from delivery.ledger import attempts, deliveries
from delivery.model import DeliveryStatus, EndpointState, Prefix, show_id
from delivery.paging import Cut
from signing import generate_hmac
from tests.support import ledger as on
from tests.support.ledger import SECRET, Wanted
from tests.support.receivers import always, answer, never, receiving, reset, trap
from tests.support.worker import SOON, Manner, finished, working

if TYPE_CHECKING:
    from delivery.dispatch import Dispatcher
    from delivery.ledger import Ledger
    from delivery.model import Attempt, Delivery, EndpointId, TenantId
    from tests.support.receivers import Conversation, Received

DATA = b'{ "n" : 1.10, "n" : 123456789012345678901234567890, "s" : "\\u00e9\\/" }'


async def deliver(ledger: Ledger, dispatcher: Dispatcher, endpoint: EndpointId) -> int:
    """Claim and deliver what is due for an endpoint."""
    taken = await on.claim(ledger, [endpoint])
    started = [await dispatcher.start(claim_id) for claim_id in taken.claims]
    await finished(dispatcher)
    return sum(started)


async def told(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> tuple[Delivery, list[Attempt]]:
    """The one delivery of an endpoint and its attempts, newest first, as the API reads them."""
    (delivery_id,) = await on.delivery_ids(ledger, endpoint)
    async with ledger.transaction() as tx:
        delivery = await deliveries.read(tx, tenant, delivery_id)
        page = await attempts.page(tx, tenant, delivery_id, Cut())
        whole = [await attempts.read(tx, tenant, attempt.id) for attempt in page.items]
    assert delivery is not None
    return delivery, [each[0] for each in whole if each is not None]


def webhook(request: Received) -> object:
    """What a receiver makes of a request with the library that the specification offers."""
    return Webhook(SECRET.reveal()).verify(request.body, request.headers)


# ---- what goes out
async def test_a_delivery_is_signed_and_carries_data_byte_for_byte(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url("/hook?x=1")))
        event = await on.accept(ledger, tenant, data=DATA)
        assert await deliver(ledger, dispatcher, endpoint) == 1
    (request,) = receiver.requests
    assert request.line == "POST /hook?x=1 HTTP/1.1"
    assert request.body.endswith(b'"data":' + DATA + b"}")
    assert webhook(request) == json.loads(request.body)
    assert request.headers["webhook-id"] == show_id(Prefix.EVENT, event)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Waybill/")
    assert int(request.headers["content-length"]) == len(request.body)


async def test_nothing_goes_out_of_an_event_whose_content_is_gone(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        gone, kept = [await on.accept(ledger, tenant) for _ in range(2)]
        await on.change(ledger, "update events set body = null where id = :id", id=gone)
        assert await deliver(ledger, dispatcher, endpoint) == 2
    assert [request.headers["webhook-id"] for request in receiver.requests] == [show_id(Prefix.EVENT, kept)]
    ended = await on.rows(ledger, "select event_id, status, reason, attempts from deliveries")
    assert {row.event_id: tuple(row)[1:] for row in ended} == {
        gone: ("cancelled", "payload_gone", 0),
        kept: ("succeeded", "delivered", 1),
    }
    assert await on.nothing_scheduled(ledger)


async def test_what_went_out_and_came_back_is_recorded(ledger: Ledger, tenant: TenantId) -> None:
    reply = answer("201 Created", b"\x00\xff thanks", "X-Odd: caf\xe9 \\u0000", "Set-Cookie: a=b")
    async with receiving(always(reply)) as receiver, working(ledger) as dispatcher:
        wanted = Wanted(receiver.url(), headers={"Authorization": "Bearer of secrets", "X-Plain": "too"})
        endpoint = await on.new_endpoint(ledger, tenant, wanted)
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    (request,) = receiver.requests
    delivery, (attempt,) = await told(ledger, tenant, endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.SUCCEEDED, 1)
    assert request.headers["authorization"] == "Bearer of secrets"
    shown = {name.lower(): value for name, value in attempt.request_headers.items()}
    assert (shown["authorization"], shown["x-plain"]) == ("[redacted]", "[redacted]")
    assert shown["webhook-signature"] == request.headers["webhook-signature"]
    assert "secrets" not in str((await on.row(ledger, "select attempts::text from attempts"))[0])
    assert attempt.body_sha256 == hashlib.sha256(request.body).digest()
    assert attempt.key_ids == (SECRET.key_id,)
    assert (attempt.url, attempt.address) == (receiver.url(), "127.0.0.1")
    assert (attempt.status, attempt.response_body) == (201, b"\x00\xff thanks")
    assert ("X-Odd", "caf\xe9 \\u0000".encode().decode("latin-1")) in attempt.response_headers
    assert (attempt.outcome, attempt.decision, attempt.reason) == ("delivered", "succeed", "delivered")
    assert (attempt.number, attempt.worker, attempt.response_truncated) == (1, "worker 1", False)
    timings = attempt.timings
    assert timings.total is not None
    assert timings.connect is not None
    assert timings.first_byte is not None
    assert timedelta(0) < timings.first_byte <= timings.total < timedelta(seconds=10)


async def test_a_long_answer_is_kept_up_to_the_limit(ledger: Ledger, tenant: TenantId) -> None:
    manner = Manner(response_bytes=1_000)
    async with (
        receiving(always(answer(body=b"x" * 5_000))) as receiver,
        working(ledger, manner) as dispatcher,
    ):
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await told(ledger, tenant, endpoint)
    assert delivery.status is DeliveryStatus.SUCCEEDED
    assert (attempt.response_body, attempt.response_truncated) == (b"x" * 1_000, True)


async def test_while_a_rotation_overlaps_both_secrets_sign(ledger: Ledger, tenant: TenantId) -> None:
    newer = generate_hmac(b"n" * 32)
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        await on.rotate(ledger, tenant, endpoint, newer)
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    before, after = receiver.requests
    assert len(before.headers["webhook-signature"].split()) == 1
    assert len(after.headers["webhook-signature"].split()) == 2
    for secret in (SECRET, newer):
        Webhook(secret.reveal()).verify(after.body, after.headers)


async def test_a_changed_url_is_used_from_the_next_claim_on(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url("/old")))
        for path in ("/old", "/new"):
            await on.change(
                ledger, "update endpoints set url = :url, version = version + 1", url=receiver.url(path)
            )
            await on.accept(ledger, tenant)
            await deliver(ledger, dispatcher, endpoint)
    assert [request.line.split()[1] for request in receiver.requests] == ["/old", "/new"]


# ---- what comes of it
async def test_a_refusal_is_tried_again_later_with_one_step_burned(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer("500 Oh No"))) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        assert (await on.claim(ledger, [endpoint])).size == 0
    delivery, (attempt,) = await told(ledger, tenant, endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 1)
    assert (attempt.status, attempt.outcome, attempt.decision) == (500, "refused", "retry")
    assert delivery.due_at is not None
    assert attempt.next_due_at == delivery.due_at
    assert timedelta(seconds=5) <= delivery.due_at - attempt.started_at < timedelta(seconds=15)
    assert (await on.standing(ledger, delivery.id)).step == 1


async def test_every_attempt_has_the_same_id_and_body_and_a_signature_of_its_own_time(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer("503 Later"))) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant, data=DATA)
        for _ in range(3):
            await on.change(ledger, "update schedule set due_at = now()")
            assert await deliver(ledger, dispatcher, endpoint) == 1
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    for request in receiver.requests:
        webhook(request)
    delivery, tried = await told(ledger, tenant, endpoint)
    assert [attempt.number for attempt in tried] == [3, 2, 1]
    assert [attempt.decision for attempt in tried] == ["give_up", "retry", "retry"]
    assert (delivery.status, delivery.reason) == (DeliveryStatus.FAILED, "schedule_spent")
    assert not (await on.standing(ledger, delivery.id)).scheduled


async def test_an_endpoint_s_own_schedule_is_kept_to(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer("500 Oh No"))) as receiver, working(ledger) as dispatcher:
        once_only = Wanted(receiver.url(), schedule=(timedelta(0),))
        endpoint = await on.new_endpoint(ledger, tenant, once_only)
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, _ = await told(ledger, tenant, endpoint)
    assert (delivery.status, delivery.reason) == (DeliveryStatus.FAILED, "schedule_spent")


async def test_retry_after_puts_the_next_attempt_off(ledger: Ledger, tenant: TenantId) -> None:
    reply = answer("429 Slowly", b"", "Retry-After: 600")
    async with receiving(always(reply)) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await told(ledger, tenant, endpoint)
    assert attempt.reason == "retry_after"
    assert delivery.due_at is not None
    assert delivery.due_at - attempt.started_at >= timedelta(seconds=600)


async def test_an_endpoint_that_is_gone_is_disabled_and_its_other_deliveries_are_held(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer("410 Gone"))) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        delivery, (attempt,) = await told(ledger, tenant, endpoint)
        await on.accept(ledger, tenant)
        assert (await on.claim(ledger, [endpoint])).size == 0
    assert (delivery.status, delivery.reason) == (DeliveryStatus.FAILED, "gone")
    assert attempt.decision == "disable_endpoint"
    kept = await on.row(ledger, "select state, state_reason, state_actor from endpoints")
    assert tuple(kept) == (EndpointState.DISABLED, "gone", "waybill")
    assert await on.count(ledger, "schedule") == 1


async def test_an_endpoint_that_does_not_answer_in_its_time_is_tried_again(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(never) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url(), timeout=SOON))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await told(ledger, tenant, endpoint)
    assert delivery.status is DeliveryStatus.PENDING
    assert (attempt.outcome, attempt.reason, attempt.status) == ("timed_out", "timeout", None)
    assert (await on.standing(ledger, delivery.id)).step == 1


async def test_an_endpoint_that_cannot_be_reached_is_tried_again(ledger: Ledger, tenant: TenantId) -> None:
    with trap() as closed:
        port = closed.getsockname()[1]
    async with receiving(reset) as receiver, working(ledger) as dispatcher:
        refusing = await on.new_endpoint(ledger, tenant, Wanted(f"http://127.0.0.1:{port}/"))
        resetting = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        for endpoint in (refusing, resetting):
            await deliver(ledger, dispatcher, endpoint)
            delivery, (attempt,) = await told(ledger, tenant, endpoint)
            assert delivery.status is DeliveryStatus.PENDING
            assert (attempt.outcome, attempt.decision) == ("unreachable", "retry")


async def test_an_address_that_may_not_be_dialled_is_not_dialled(ledger: Ledger, tenant: TenantId) -> None:
    async with working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted("http://169.254.169.254/latest/meta-data"))
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await told(ledger, tenant, endpoint)
    assert delivery.status is DeliveryStatus.PENDING
    assert (attempt.outcome, attempt.reason, attempt.status) == ("blocked", "blocked", None)


async def test_the_deliveries_of_a_claim_go_their_own_ways(ledger: Ledger, tenant: TenantId) -> None:
    async def talk(conversation: Conversation) -> None:
        while True:
            number = json.loads((await conversation.hear()).body)["data"]
            await conversation.say(answer("200 OK" if number % 2 else "500 Oh No"))

    async with receiving(talk) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept_many(ledger, tenant, 50)
        assert await deliver(ledger, dispatcher, endpoint) == 50
    found = await on.rows(ledger, "select status, count(*) from deliveries group by 1 order by 1")
    assert [tuple(row) for row in found] == [("pending", 25), ("succeeded", 25)]
    assert len(receiver.requests) == 50
    assert await on.count(ledger, "claims") == 0


async def test_a_claim_that_is_delivered_twice_by_the_queue_is_sent_once(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as one, working(ledger) as other:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept_many(ledger, tenant, 5)
        (claim_id,) = (await on.claim(ledger, [endpoint])).claims
        started = await asyncio.gather(*[worker.start(claim_id) for worker in (one, other, one)])
        await finished(one)
        await finished(other)
        assert await one.start(claim_id) == 0
    assert sorted(started) == [0, 0, 5]
    assert len(receiver.requests) == 5


async def test_an_event_goes_to_each_of_its_endpoints(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoints = [
            await on.new_endpoint(ledger, tenant, Wanted(receiver.url(f"/{number}"))) for number in range(3)
        ]
        event = await on.accept(ledger, tenant)
        for endpoint in endpoints:
            await deliver(ledger, dispatcher, endpoint)
    assert {request.line.split()[1] for request in receiver.requests} == {"/0", "/1", "/2"}
    assert {request.headers["webhook-id"] for request in receiver.requests} == {show_id(Prefix.EVENT, event)}
