"""What one endpoint may cost the others, and what a worker that stops or stumbles leaves behind."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.errors import Unavailable
from delivery.ledger import Ledger
from delivery.model import ClaimId, new_id
from delivery.secrets import SecretBox, headers_context, secret_context
from tests.support import ledger as on
from tests.support.ledger import Wanted
from tests.support.receivers import always, answer, never, receiving
from tests.support.worker import SOON, Manner, finished, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.model import EndpointId, TenantId
    from tests.support.ledger import Standing
    from tests.support.receivers import Conversation

FOREIGN = SecretBox.from_keys(base64.b64encode(bytes(32)).decode())


async def only_claim(ledger: Ledger, *endpoints: EndpointId) -> ClaimId:
    (claim_id,) = (await on.claim(ledger, endpoints)).claims
    return claim_id


async def stands(ledger: Ledger, endpoint: EndpointId) -> Standing:
    (delivery_id,) = await on.delivery_ids(ledger, endpoint)
    return await on.standing(ledger, delivery_id)


async def outcomes(ledger: Ledger) -> list[tuple[str, str]]:
    found = await on.rows(ledger, "select outcome, decision from attempts order by id")
    return [(row.outcome, row.decision) for row in found]


def held(gate: asyncio.Event) -> Callable[[Conversation], Awaitable[None]]:
    """Take every request, and answer when the gate is open."""

    async def talk(conversation: Conversation) -> None:
        while True:
            await conversation.hear()
            await gate.wait()
            await conversation.say(answer())

    return talk


# ---- room
async def test_an_endpoint_that_never_answers_does_not_hold_the_others(
    ledger: Ledger, tenant: TenantId
) -> None:
    manner = Manner(fresh=5, detach=timedelta(seconds=0.05))
    async with (
        receiving(never) as deaf,
        receiving(always(answer())) as well,
        working(ledger, manner) as dispatcher,
    ):
        slow = await on.new_endpoint(ledger, tenant, Wanted(deaf.url()))
        quick = await on.new_endpoint(ledger, tenant, Wanted(well.url()))
        await on.accept_many(ledger, tenant, 5)
        assert await dispatcher.start(await only_claim(ledger, slow)) == 5
        assert await dispatcher.start(await only_claim(ledger, quick)) == 5
        await on.until(lambda: dispatcher.in_flight == 5)
        assert len(well.requests) == 5
    found = await on.rows(ledger, "select endpoint_id from deliveries where status = 'succeeded'")
    assert {row.endpoint_id for row in found} == {quick}


async def test_a_claim_waits_until_there_is_room_and_is_not_started_before(
    ledger: Ledger, tenant: TenantId
) -> None:
    gate = asyncio.Event()

    async with (
        receiving(held(gate)) as receiver,
        working(ledger, Manner(fresh=1, detach=timedelta(days=1))) as dispatcher,
    ):
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept_many(ledger, tenant, 2)
        one, other = (await on.claim(ledger, [endpoint], batch=1)).claims
        await dispatcher.start(one)
        waiting = asyncio.create_task(dispatcher.start(other))
        await on.until(lambda: len(receiver.requests) == 1)
        assert not waiting.done()
        assert (await on.row(ledger, "select count(*) from claims where started_at is null"))[0] == 1
        gate.set()
        assert await waiting == 1
        await finished(dispatcher)
    assert len(receiver.requests) == 2


async def test_a_claim_that_was_taken_back_while_it_waited_lets_the_next_one_in(
    ledger: Ledger, tenant: TenantId
) -> None:
    gate = asyncio.Event()
    async with (
        receiving(held(gate)) as receiver,
        working(ledger, Manner(fresh=1, detach=timedelta(days=1))) as dispatcher,
    ):
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept_many(ledger, tenant, 2)
        one, other = (await on.claim(ledger, [endpoint], batch=1)).claims
        await dispatcher.start(one)
        rescued = asyncio.create_task(dispatcher.start(ClaimId(new_id())))
        patient = asyncio.create_task(dispatcher.start(other))
        await on.until(lambda: len(receiver.requests) == 1)
        gate.set()
        assert await rescued == 0
        async with asyncio.timeout(20):
            assert await patient == 1
        await finished(dispatcher)


# ---- stopping
async def test_what_is_broken_off_at_the_end_is_due_again_with_no_step_burned(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(never) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await dispatcher.start(await only_claim(ledger, endpoint))
        await on.until(lambda: len(receiver.requests) == 1)
        dispatcher.close()
        await dispatcher.drain(timedelta(0))
        assert dispatcher.in_flight == 0
    after = await stands(ledger, endpoint)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 1, 0)
    assert after.due_at is not None
    assert after.due_at <= clock()
    assert await outcomes(ledger) == [("interrupted", "hand_back")]
    assert await on.count(ledger, "claims") == 0


async def test_what_ends_in_time_is_waited_for(ledger: Ledger, tenant: TenantId) -> None:
    gate = asyncio.Event()
    async with (
        receiving(held(gate)) as receiver,
        working(ledger) as dispatcher,
    ):
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await dispatcher.start(await only_claim(ledger, endpoint))
        await on.until(lambda: len(receiver.requests) == 1)
        dispatcher.close()
        draining = asyncio.create_task(dispatcher.drain(timedelta(seconds=30)))
        gate.set()
        await draining
    assert (await stands(ledger, endpoint)).status == "succeeded"


async def test_a_claim_that_comes_while_the_worker_stops_is_handed_back(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        dispatcher.close()
        assert await dispatcher.start(await only_claim(ledger, endpoint)) == 0
        assert receiver.requests == []
    assert (await on.claim(ledger, [endpoint])).size == 1


async def test_an_answer_that_came_before_the_end_is_recorded_before_the_end(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        claim_id = await only_claim(ledger, endpoint)
        async with ledger.transaction() as tx:
            await on.locked(tx, "attempts")
            await dispatcher.start(claim_id)
            await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
            draining = asyncio.create_task(dispatcher.drain(timedelta(0)))
            await on.until(lambda: dispatcher.in_flight == 0)
            assert not draining.done()
        await draining
        assert (await stands(ledger, endpoint)).status == "succeeded"


# ---- stumbling
async def test_secrets_that_cannot_be_opened_put_off_their_deliveries_and_nobody_else_s(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        sealed = await on.new_endpoint(ledger, tenant, Wanted(receiver.url("/sealed"), box=FOREIGN))
        well = await on.new_endpoint(ledger, tenant, Wanted(receiver.url("/well")))
        await on.accept(ledger, tenant)
        assert await dispatcher.start(await only_claim(ledger, sealed, well)) == 2
        await finished(dispatcher)
        assert [request.line.split()[1] for request in receiver.requests] == ["/well"]
    await _is_put_off(ledger, sealed)
    assert (await stands(ledger, well)).status == "succeeded"


@pytest.mark.parametrize("fault", ["secret", "headers", "headers that are none", "schedule", "no secret"])
async def test_an_endpoint_whose_row_makes_no_sense_puts_off_its_deliveries_and_nobody_else_s(
    ledger: Ledger, tenant: TenantId, fault: str
) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        odd = await on.new_endpoint(ledger, tenant, Wanted(receiver.url("/odd")))
        well = await on.new_endpoint(ledger, tenant, Wanted(receiver.url("/well")))
        await _spoil(ledger, tenant, odd, fault)
        await on.accept(ledger, tenant)
        assert await dispatcher.start(await only_claim(ledger, odd, well)) == 2
        await finished(dispatcher)
        assert [request.line.split()[1] for request in receiver.requests] == ["/well"]
    await _is_put_off(ledger, odd)
    assert (await stands(ledger, well)).status == "succeeded"


async def _spoil(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, fault: str) -> None:
    place = (tenant, endpoint)
    match fault:
        case "secret":
            sealed = on.BOX.seal(b"not a secret", context=secret_context(*place))
            statement = "update endpoint_secrets set sealed = :sealed where endpoint_id = :id"
        case "headers":
            sealed = on.BOX.seal(b"{not json", context=headers_context(*place))
            statement = "update endpoints set sealed_headers = :sealed where id = :id"
        case "headers that are none":
            sealed = on.BOX.seal(b'{"a": 1}', context=headers_context(*place))
            statement = "update endpoints set sealed_headers = :sealed where id = :id"
        case "schedule":
            sealed = b""
            statement = "update endpoints set schedule_seconds = '{1,2}' where id = :id and :sealed = ''"
        case _:
            sealed = b""
            statement = "delete from endpoint_secrets where endpoint_id = :id and :sealed = ''"
    await on.change(ledger, statement, id=endpoint, sealed=sealed)


async def _is_put_off(ledger: Ledger, endpoint: EndpointId) -> None:
    after = await stands(ledger, endpoint)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
    assert after.recorded == 0
    assert after.due_at is not None
    assert after.due_at > clock() + timedelta(seconds=30)
    assert await on.count(ledger, "claims") == 0


async def test_an_attempt_that_might_outlast_the_lease_is_not_begun(ledger: Ledger, tenant: TenantId) -> None:
    manner = Manner(timeout=timedelta(seconds=10), lease=timedelta(seconds=9))
    async with receiving(always(answer())) as receiver, working(ledger, manner) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await dispatcher.start(await only_claim(ledger, endpoint))
        await finished(dispatcher)
        assert receiver.requests == []
    after = await stands(ledger, endpoint)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
    assert after.recorded == 0
    assert (await on.claim(ledger, [endpoint])).size == 1


async def test_a_ledger_that_is_down_leaves_the_claim_to_its_lease(unused_tcp_port: int) -> None:
    ledger = Ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing")
    async with working(ledger, Manner(fresh=1)) as dispatcher:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await dispatcher.start(ClaimId(new_id()))
        assert dispatcher.in_flight == 0
    await ledger.close()


async def test_a_late_answer_after_a_rescue_is_kept_and_moves_nothing(
    ledger: Ledger, tenant: TenantId
) -> None:
    gate = asyncio.Event()
    async with (
        receiving(held(gate)) as receiver,
        working(ledger) as dispatcher,
    ):
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        claim_id = await only_claim(ledger, endpoint)
        await dispatcher.start(claim_id)
        await on.until(lambda: len(receiver.requests) == 1)
        await on.lapse(ledger, claim_id)
        await on.rescue(ledger)
        gate.set()
        await finished(dispatcher)
        after = await stands(ledger, endpoint)
        assert (after.status, after.claim_id, after.attempts, after.recorded) == ("pending", None, 0, 1)
        await dispatcher.start(await only_claim(ledger, endpoint))
        await finished(dispatcher)
    after = await stands(ledger, endpoint)
    assert (after.status, after.recorded) == ("succeeded", 2)


async def test_a_slow_answer_within_its_time_counts_as_an_answer(ledger: Ledger, tenant: TenantId) -> None:
    async def talk(conversation: Conversation) -> None:
        await conversation.hear()
        await asyncio.sleep(SOON.total_seconds() / 3)
        await conversation.say(answer())

    manner = Manner(fresh=1, detach=timedelta(0), timeout=timedelta(seconds=10))
    async with receiving(talk) as receiver, working(ledger, manner) as dispatcher:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        await on.accept(ledger, tenant)
        await dispatcher.start(await only_claim(ledger, endpoint))
        await finished(dispatcher)
    assert (await stands(ledger, endpoint)).status == "succeeded"
