"""What one endpoint may cost the others, and what a worker that stops or fails leaves behind."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.errors import Unavailable
from delivery.domain.ids import ClaimId, new_id
from delivery.domain.secret_box import SecretBox, SecretKeys, build_headers_context, build_secret_context
from delivery.ledger.db.session import Ledger
from tests.support import ledger_builders as build
from tests.support.in_process_worker import SHORT_DURATION, WorkerSpec, run_worker, wait_until_idle
from tests.support.ledger_builders import EndpointSpec
from tests.support.receivers import answer_always, answer_never, make_response, run_receiver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.domain.ids import EndpointId, TenantId
    from tests.support.ledger_builders import DeliveryState
    from tests.support.receivers import Conversation

FOREIGN = SecretBox.from_keys(SecretKeys.parse(base64.b64encode(bytes(32)).decode()))


async def only_claim(ledger: Ledger, *endpoints: EndpointId) -> ClaimId:
    (claim_id,) = (await build.claim_deliveries(ledger, endpoints)).claim_ids
    return claim_id


async def stands(ledger: Ledger, endpoint: EndpointId) -> DeliveryState:
    (delivery_id,) = await build.list_delivery_ids(ledger, endpoint)
    return await build.read_delivery_state(ledger, delivery_id)


async def outcomes(ledger: Ledger) -> list[tuple[str, str]]:
    found = await build.fetch_rows(ledger, "select outcome, decision from attempts order by id")
    return [(row.outcome, row.decision) for row in found]


def held(gate: asyncio.Event) -> Callable[[Conversation], Awaitable[None]]:
    """Take every request, and answer once the gate is set."""

    async def talk(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            await gate.wait()
            await conversation.write_bytes(make_response())

    return talk


# ---- room
async def test_a_silent_endpoint_does_not_hold_up_the_others(ledger: Ledger, tenant: TenantId) -> None:
    manner = WorkerSpec(max_fresh=5, detach_after=timedelta(seconds=0.05))
    async with (
        run_receiver(answer_never) as deaf,
        run_receiver(answer_always(make_response())) as well,
        run_worker(ledger, manner) as dispatcher,
    ):
        slow = await build.create_endpoint(ledger, tenant, EndpointSpec(deaf.url()))
        quick = await build.create_endpoint(ledger, tenant, EndpointSpec(well.url()))
        await build.accept_events(ledger, tenant, 5)
        assert await dispatcher.start_claim(await only_claim(ledger, slow)) == 5
        assert await dispatcher.start_claim(await only_claim(ledger, quick)) == 5
        await build.wait_until(lambda: dispatcher.in_flight == 5)
        assert len(well.requests) == 5
    found = await build.fetch_rows(ledger, "select endpoint_id from deliveries where status = 'succeeded'")
    assert {row.endpoint_id for row in found} == {quick}


async def test_a_claim_is_started_only_when_there_is_room(ledger: Ledger, tenant: TenantId) -> None:
    gate = asyncio.Event()

    async with (
        run_receiver(held(gate)) as receiver,
        run_worker(ledger, WorkerSpec(max_fresh=1, detach_after=timedelta(days=1))) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_events(ledger, tenant, 2)
        first, second = (await build.claim_deliveries(ledger, [endpoint], batch=1)).claim_ids
        await dispatcher.start_claim(first)
        waiting = asyncio.create_task(dispatcher.start_claim(second))
        await build.wait_until(lambda: len(receiver.requests) == 1)
        assert not waiting.done()
        assert (await build.fetch_row(ledger, "select count(*) from claims where started_at is null"))[0] == 1
        gate.set()
        assert await waiting == 1
        await wait_until_idle(dispatcher)
    assert len(receiver.requests) == 2


async def test_a_claim_rescued_while_it_waits_lets_the_next_one_in(ledger: Ledger, tenant: TenantId) -> None:
    gate = asyncio.Event()
    async with (
        run_receiver(held(gate)) as receiver,
        run_worker(ledger, WorkerSpec(max_fresh=1, detach_after=timedelta(days=1))) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_events(ledger, tenant, 2)
        first, second = (await build.claim_deliveries(ledger, [endpoint], batch=1)).claim_ids
        await dispatcher.start_claim(first)
        rescued = asyncio.create_task(dispatcher.start_claim(ClaimId(new_id())))
        patient = asyncio.create_task(dispatcher.start_claim(second))
        await build.wait_until(lambda: len(receiver.requests) == 1)
        gate.set()
        assert await rescued == 0
        async with asyncio.timeout(20):
            assert await patient == 1
        await wait_until_idle(dispatcher)


# ---- stopping
async def test_attempts_interrupted_at_shutdown_are_due_again_without_a_step(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with run_receiver(answer_never) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await dispatcher.start_claim(await only_claim(ledger, endpoint))
        await build.wait_until(lambda: len(receiver.requests) == 1)
        dispatcher.close()
        await dispatcher.drain(timedelta(0))
        assert dispatcher.in_flight == 0
    after = await stands(ledger, endpoint)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 1, 0)
    assert after.due_at is not None
    assert after.due_at <= clock()
    assert await outcomes(ledger) == [("interrupted", "hand_back")]
    assert await build.count_rows(ledger, "claims") == 0


async def test_shutdown_waits_for_running_attempts(ledger: Ledger, tenant: TenantId) -> None:
    gate = asyncio.Event()
    async with (
        run_receiver(held(gate)) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await dispatcher.start_claim(await only_claim(ledger, endpoint))
        await build.wait_until(lambda: len(receiver.requests) == 1)
        dispatcher.close()
        draining = asyncio.create_task(dispatcher.drain(timedelta(seconds=30)))
        gate.set()
        await draining
    assert (await stands(ledger, endpoint)).status == "succeeded"


async def test_a_claim_during_shutdown_is_handed_back(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        dispatcher.close()
        assert await dispatcher.start_claim(await only_claim(ledger, endpoint)) == 0
        assert receiver.requests == []
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_a_response_before_shutdown_is_recorded(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        claim_id = await only_claim(ledger, endpoint)
        async with ledger.transaction() as tx:
            await build.lock_table(tx, "attempts")
            await dispatcher.start_claim(claim_id)
            await build.wait_until(lambda: build.has_lock_waiter(ledger))
            draining = asyncio.create_task(dispatcher.drain(timedelta(0)))
            await build.wait_until(lambda: dispatcher.in_flight == 0)
            assert not draining.done()
        await draining
        assert (await stands(ledger, endpoint)).status == "succeeded"


# ---- failures
async def test_undecryptable_secrets_postpone_only_their_own_deliveries(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        sealed = await build.create_endpoint(
            ledger, tenant, EndpointSpec(receiver.url("/sealed"), box=FOREIGN)
        )
        well = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url("/well")))
        await build.accept_event(ledger, tenant)
        assert await dispatcher.start_claim(await only_claim(ledger, sealed, well)) == 2
        await wait_until_idle(dispatcher)
        assert [request.request_line.split()[1] for request in receiver.requests] == ["/well"]
    await _check_postponed(ledger, sealed)
    assert (await stands(ledger, well)).status == "succeeded"


@pytest.mark.parametrize("fault", ["secret", "headers", "headers that are none", "schedule", "no secret"])
async def test_invalid_endpoint_row_postpones_only_its_own_deliveries(
    ledger: Ledger, tenant: TenantId, fault: str
) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        odd = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url("/odd")))
        well = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url("/well")))
        await _spoil(ledger, tenant, odd, fault)
        await build.accept_event(ledger, tenant)
        assert await dispatcher.start_claim(await only_claim(ledger, odd, well)) == 2
        await wait_until_idle(dispatcher)
        assert [request.request_line.split()[1] for request in receiver.requests] == ["/well"]
    await _check_postponed(ledger, odd)
    assert (await stands(ledger, well)).status == "succeeded"


async def _spoil(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, fault: str) -> None:
    place = (tenant, endpoint)
    match fault:
        case "secret":
            sealed = build.BOX.seal(b"not a secret", context=build_secret_context(*place))
            statement = "update endpoint_secrets set sealed = :sealed where endpoint_id = :id"
        case "headers":
            sealed = build.BOX.seal(b"{not json", context=build_headers_context(*place))
            statement = "update endpoints set sealed_headers = :sealed where id = :id"
        case "headers that are none":
            sealed = build.BOX.seal(b'{"a": 1}', context=build_headers_context(*place))
            statement = "update endpoints set sealed_headers = :sealed where id = :id"
        case "schedule":
            sealed = b""
            statement = "update endpoints set schedule_seconds = '{1,2}' where id = :id and :sealed = ''"
        case _:
            sealed = b""
            statement = "delete from endpoint_secrets where endpoint_id = :id and :sealed = ''"
    await build.execute(ledger, statement, id=endpoint, sealed=sealed)


async def _check_postponed(ledger: Ledger, endpoint: EndpointId) -> None:
    after = await stands(ledger, endpoint)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
    assert after.recorded == 0
    assert after.due_at is not None
    assert after.due_at > clock() + timedelta(seconds=30)
    assert await build.count_rows(ledger, "claims") == 0


async def test_an_attempt_that_could_outlast_the_lease_is_not_started(
    ledger: Ledger, tenant: TenantId
) -> None:
    manner = WorkerSpec(timeout=timedelta(seconds=10), lease=timedelta(seconds=9))
    async with (
        run_receiver(answer_always(make_response())) as receiver,
        run_worker(ledger, manner) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await dispatcher.start_claim(await only_claim(ledger, endpoint))
        await wait_until_idle(dispatcher)
        assert receiver.requests == []
    after = await stands(ledger, endpoint)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
    assert after.recorded == 0
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_a_ledger_that_is_down_leaves_the_claim_to_its_lease(unused_tcp_port: int) -> None:
    ledger = Ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing")
    async with run_worker(ledger, WorkerSpec(max_fresh=1)) as dispatcher:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await dispatcher.start_claim(ClaimId(new_id()))
        assert dispatcher.in_flight == 0
    await ledger.close()


async def test_a_late_response_after_a_rescue_is_history_only(ledger: Ledger, tenant: TenantId) -> None:
    gate = asyncio.Event()
    async with (
        run_receiver(held(gate)) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        claim_id = await only_claim(ledger, endpoint)
        await dispatcher.start_claim(claim_id)
        await build.wait_until(lambda: len(receiver.requests) == 1)
        await build.expire_lease(ledger, claim_id)
        await build.rescue_lapsed(ledger)
        gate.set()
        await wait_until_idle(dispatcher)
        after = await stands(ledger, endpoint)
        assert (after.status, after.claim_id, after.attempts, after.recorded) == ("pending", None, 0, 1)
        await dispatcher.start_claim(await only_claim(ledger, endpoint))
        await wait_until_idle(dispatcher)
    after = await stands(ledger, endpoint)
    assert (after.status, after.recorded) == ("succeeded", 2)


async def test_a_slow_response_in_time_counts(ledger: Ledger, tenant: TenantId) -> None:
    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await asyncio.sleep(SHORT_DURATION.total_seconds() / 3)
        await conversation.write_bytes(make_response())

    manner = WorkerSpec(max_fresh=1, detach_after=timedelta(0), timeout=timedelta(seconds=10))
    async with run_receiver(talk) as receiver, run_worker(ledger, manner) as dispatcher:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        await build.accept_event(ledger, tenant)
        await dispatcher.start_claim(await only_claim(ledger, endpoint))
        await wait_until_idle(dispatcher)
    assert (await stands(ledger, endpoint)).status == "succeeded"
