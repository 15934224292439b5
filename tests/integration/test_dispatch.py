"""A claim in a worker: what is sent, what follows from the response, and what the ledger records."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id
from delivery.domain.pagination import PageRequest
from delivery.ledger.records import attempts, deliveries
from signing import generate_hmac
from tests.support import ledger_builders as build
from tests.support.in_process_worker import SHORT_DURATION, WorkerSpec, run_worker, wait_until_idle
from tests.support.ledger_builders import SECRET, EndpointSpec
from tests.support.receivers import (
    answer_always,
    answer_never,
    make_response,
    open_trap,
    reset_connection,
    run_receiver,
)

if TYPE_CHECKING:
    from delivery.domain.attempt import Attempt
    from delivery.domain.delivery import Delivery
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.dispatcher import Dispatcher
    from tests.support.receivers import Conversation, ReceivedRequest

DATA = b'{ "n" : 1.10, "n" : 123456789012345678901234567890, "s" : "\\u00e9\\/" }'


async def deliver(ledger: Ledger, dispatcher: Dispatcher, endpoint: EndpointId) -> int:
    """Claim and deliver what is due for an endpoint."""
    taken = await build.claim_deliveries(ledger, [endpoint])
    started = [await dispatcher.start_claim(claim_id) for claim_id in taken.claim_ids]
    await wait_until_idle(dispatcher)
    return sum(started)


async def load_attempts(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> tuple[Delivery, list[Attempt]]:
    """Load the only delivery of an endpoint and its attempts, newest first, as the API does."""
    (delivery_id,) = await build.list_delivery_ids(ledger, endpoint)
    async with ledger.transaction() as tx:
        delivery = await deliveries.read(tx, tenant, delivery_id)
        page = await attempts.read_page(tx, tenant, delivery_id, PageRequest())
        whole = [await attempts.read(tx, tenant, attempt.id) for attempt in page.items]
    assert delivery is not None
    return delivery, [each[0] for each in whole if each is not None]


def verify_webhook(request: ReceivedRequest) -> object:
    """Verify a request as a receiver does, with the specification's own library."""
    return Webhook(SECRET.reveal()).verify(request.body, request.headers)


# ---- requests
async def test_a_delivery_is_signed_and_carries_data_byte_for_byte(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url("/hook?x=1")))
        event = await build.accept_event(ledger, tenant, data=DATA)
        assert await deliver(ledger, dispatcher, endpoint) == 1
    (request,) = receiver.requests
    assert request.request_line == "POST /hook?x=1 HTTP/1.1"
    assert request.body.endswith(b'"data":' + DATA + b"}")
    assert verify_webhook(request) == json.loads(request.body)
    assert request.headers["webhook-id"] == format_id(Prefix.EVENT, event)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Waybill/")
    assert int(request.headers["content-length"]) == len(request.body)


async def test_event_without_content_is_not_sent(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        gone, stored = [await build.accept_event(ledger, tenant) for _ in range(2)]
        await build.execute(ledger, "update events set body = null where id = :id", id=gone)
        assert await deliver(ledger, dispatcher, endpoint) == 2
    assert [request.headers["webhook-id"] for request in receiver.requests] == [
        format_id(Prefix.EVENT, stored)
    ]
    ended = await build.fetch_rows(ledger, "select event_id, status, reason, attempts from deliveries")
    assert {row.event_id: tuple(row)[1:] for row in ended} == {
        gone: ("cancelled", "payload_gone", 0),
        stored: ("succeeded", "delivered", 1),
    }
    assert await build.is_schedule_empty(ledger)


async def test_request_and_response_are_recorded(ledger: Ledger, tenant: TenantId) -> None:
    reply = make_response("201 Created", b"\x00\xff thanks", "X-Odd: caf\xe9 \\u0000", "Set-Cookie: a=b")
    async with run_receiver(answer_always(reply)) as receiver, run_worker(ledger) as dispatcher:
        wanted = EndpointSpec(
            receiver.url(), headers={"Authorization": "Bearer of secrets", "X-Plain": "too"}
        )
        endpoint = await build.create_endpoint(ledger, tenant, wanted)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    (request,) = receiver.requests
    delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.SUCCEEDED, 1)
    assert request.headers["authorization"] == "Bearer of secrets"
    result = {name.lower(): value for name, value in attempt.request_headers.items()}
    assert (result["authorization"], result["x-plain"]) == ("[redacted]", "[redacted]")
    assert result["webhook-signature"] == request.headers["webhook-signature"]
    assert "secrets" not in str((await build.fetch_row(ledger, "select attempts::text from attempts"))[0])
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


async def test_a_long_response_is_cut_at_the_limit(ledger: Ledger, tenant: TenantId) -> None:
    manner = WorkerSpec(max_response_bytes=1_000)
    async with (
        run_receiver(answer_always(make_response(body=b"x" * 5_000))) as receiver,
        run_worker(ledger, manner) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert delivery.status is DeliveryStatus.SUCCEEDED
    assert (attempt.response_body, attempt.response_truncated) == (b"x" * 1_000, True)


async def test_both_secrets_sign_during_a_rotation(ledger: Ledger, tenant: TenantId) -> None:
    newer = generate_hmac(b"n" * 32)
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        await build.rotate_secret(ledger, tenant, endpoint, newer)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    before, after = receiver.requests
    assert len(before.headers["webhook-signature"].split()) == 1
    assert len(after.headers["webhook-signature"].split()) == 2
    for secret in (SECRET, newer):
        Webhook(secret.reveal()).verify(after.body, after.headers)


async def test_a_changed_url_is_used_from_the_next_claim_on(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url("/old")))
        for path in ("/old", "/new"):
            await build.execute(
                ledger, "update endpoints set url = :url, version = version + 1", url=receiver.url(path)
            )
            await build.accept_event(ledger, tenant)
            await deliver(ledger, dispatcher, endpoint)
    assert [request.request_line.split()[1] for request in receiver.requests] == ["/old", "/new"]


# ---- outcomes
async def test_a_refusal_is_retried_and_uses_a_step(ledger: Ledger, tenant: TenantId) -> None:
    async with (
        run_receiver(answer_always(make_response("500 Oh No"))) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 1)
    assert (attempt.status, attempt.outcome, attempt.decision) == (500, "refused", "retry")
    assert delivery.due_at is not None
    assert attempt.next_due_at == delivery.due_at
    assert timedelta(seconds=5) <= delivery.due_at - attempt.started_at < timedelta(seconds=15)
    assert (await build.read_delivery_state(ledger, delivery.id)).step == 1


async def test_attempts_share_id_and_body_and_are_signed_anew(ledger: Ledger, tenant: TenantId) -> None:
    async with (
        run_receiver(answer_always(make_response("503 Later"))) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant, data=DATA)
        for _ in range(3):
            await build.execute(ledger, "update schedule set due_at = now()")
            assert await deliver(ledger, dispatcher, endpoint) == 1
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    for request in receiver.requests:
        verify_webhook(request)
    delivery, tried = await load_attempts(ledger, tenant, endpoint)
    assert [attempt.number for attempt in tried] == [3, 2, 1]
    assert [attempt.decision for attempt in tried] == ["give_up", "retry", "retry"]
    assert (delivery.status, delivery.reason) == (DeliveryStatus.FAILED, "schedule_spent")
    assert not (await build.read_delivery_state(ledger, delivery.id)).scheduled


async def test_an_endpoint_s_own_schedule_is_used(ledger: Ledger, tenant: TenantId) -> None:
    async with (
        run_receiver(answer_always(make_response("500 Oh No"))) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        once_only = EndpointSpec(receiver.url(), schedule=(timedelta(0),))
        endpoint = await build.create_endpoint(ledger, tenant, once_only)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, _ = await load_attempts(ledger, tenant, endpoint)
    assert (delivery.status, delivery.reason) == (DeliveryStatus.FAILED, "schedule_spent")


async def test_retry_after_postpones_the_next_attempt(ledger: Ledger, tenant: TenantId) -> None:
    reply = make_response("429 Slowly", b"", "Retry-After: 600")
    async with run_receiver(answer_always(reply)) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert attempt.reason == "retry_after"
    assert delivery.due_at is not None
    assert delivery.due_at - attempt.started_at >= timedelta(seconds=600)


async def test_gone_disables_the_endpoint_and_holds_its_deliveries(ledger: Ledger, tenant: TenantId) -> None:
    async with (
        run_receiver(answer_always(make_response("410 Gone"))) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
        await build.accept_event(ledger, tenant)
        assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    assert (delivery.status, delivery.reason) == (DeliveryStatus.FAILED, "gone")
    assert attempt.decision == "disable_endpoint"
    stored = await build.fetch_row(ledger, "select state, state_reason, state_actor from endpoints")
    assert tuple(stored) == (EndpointState.DISABLED, "gone", "waybill")
    assert await build.count_rows(ledger, "schedule") == 1


async def test_a_timeout_is_retried(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_never) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(
            ledger, tenant, EndpointSpec(receiver.url(), timeout=SHORT_DURATION)
        )
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert delivery.status is DeliveryStatus.PENDING
    assert (attempt.outcome, attempt.reason, attempt.status) == ("timed_out", "timeout", None)
    assert (await build.read_delivery_state(ledger, delivery.id)).step == 1


async def test_an_unreachable_endpoint_is_retried(ledger: Ledger, tenant: TenantId) -> None:
    with open_trap() as closed:
        port = closed.getsockname()[1]
    async with run_receiver(reset_connection) as receiver, run_worker(ledger) as dispatcher:
        refusing = await build.create_endpoint(ledger, tenant, EndpointSpec(f"http://127.0.0.1:{port}/"))
        resetting = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        for endpoint in (refusing, resetting):
            await deliver(ledger, dispatcher, endpoint)
            delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
            assert delivery.status is DeliveryStatus.PENDING
            assert (attempt.outcome, attempt.decision) == ("unreachable", "retry")


async def test_a_forbidden_address_is_not_dialled(ledger: Ledger, tenant: TenantId) -> None:
    async with run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(
            ledger, tenant, EndpointSpec("http://169.254.169.254/latest/meta-data")
        )
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    delivery, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert delivery.status is DeliveryStatus.PENDING
    assert (attempt.outcome, attempt.reason, attempt.status) == ("blocked", "blocked", None)


async def test_the_deliveries_of_a_claim_are_independent(ledger: Ledger, tenant: TenantId) -> None:
    async def talk(conversation: Conversation) -> None:
        while True:
            number = json.loads((await conversation.read_request()).body)["data"]
            await conversation.write_bytes(make_response("200 OK" if number % 2 else "500 Oh No"))

    async with run_receiver(talk) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_events(ledger, tenant, 50)
        assert await deliver(ledger, dispatcher, endpoint) == 50
    found = await build.fetch_rows(ledger, "select status, count(*) from deliveries group by 1 order by 1")
    assert [tuple(row) for row in found] == [("pending", 25), ("succeeded", 25)]
    assert len(receiver.requests) == 50
    assert await build.count_rows(ledger, "claims") == 0


async def test_a_claim_whose_message_comes_twice_is_sent_once(ledger: Ledger, tenant: TenantId) -> None:
    async with (
        run_receiver(answer_always(make_response())) as receiver,
        run_worker(ledger) as first,
        run_worker(ledger) as second,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_events(ledger, tenant, 5)
        (claim_id,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
        started = await asyncio.gather(*[worker.start_claim(claim_id) for worker in (first, second, first)])
        await wait_until_idle(first)
        await wait_until_idle(second)
        assert await first.start_claim(claim_id) == 0
    assert sorted(started) == [0, 0, 5]
    assert len(receiver.requests) == 5


async def test_an_event_goes_to_each_of_its_endpoints(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoints = [
            await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url(f"/{number}")))
            for number in range(3)
        ]
        event = await build.accept_event(ledger, tenant)
        for endpoint in endpoints:
            await deliver(ledger, dispatcher, endpoint)
    assert {request.request_line.split()[1] for request in receiver.requests} == {"/0", "/1", "/2"}
    assert {request.headers["webhook-id"] for request in receiver.requests} == {
        format_id(Prefix.EVENT, event)
    }
