"""The record on a real ledger: attempts are kept always, deliveries move only under a claim that exists."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.ledger import attempts, claiming, recording
from delivery.model import AttemptId, ClaimId, EndpointState, new_id
from tests.support import ledger as on

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.ledger.recording import Result
    from delivery.model import Attempt, EndpointId, TenantId

HOUR = timedelta(hours=1)


async def stored(ledger: Ledger, tenant: TenantId, attempt_id: AttemptId) -> Attempt:
    async with ledger.transaction() as tx:
        told = await attempts.read(tx, tenant, attempt_id)
    assert told is not None
    return told[0]


async def remaining(ledger: Ledger, claim_id: ClaimId) -> int | None:
    found = await on.rows(ledger, "select remaining from claims where id = :id", id=claim_id)
    return found[0].remaining if found else None


# ---- what follows from an attempt
async def test_a_success_ends_the_delivery(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    assert await on.record(ledger, on.success(work, claim_id)) == set()
    after = await on.standing(ledger, work.delivery_id)
    assert (after.status, after.reason, after.attempts) == ("succeeded", "delivered", 1)
    assert (after.scheduled, after.recorded) == (False, 1)
    finished = await on.row(ledger, "select finished_at from deliveries")
    assert finished.finished_at is not None


async def test_a_failure_for_good_ends_the_delivery_with_its_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.record(ledger, on.failure(work, claim_id))
    after = await on.standing(ledger, work.delivery_id)
    assert (after.status, after.reason, after.scheduled) == ("failed", "too_large", False)


async def test_one_that_is_tried_again_is_due_when_it_was_decided(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    result = on.again(work, claim_id, after=HOUR)
    await on.record(ledger, result)
    after = await on.standing(ledger, work.delivery_id)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 1, 1)
    assert isinstance(result.follows, recording.Again)
    assert after.due_at == result.follows.due_at
    await on.change(ledger, "update schedule set due_at = now()")
    _, (work_again,) = await on.claim_and_start(ledger, endpoint)
    assert (work_again.attempts, work_again.step) == (1, 1)


async def test_a_claim_is_closed_when_nothing_remains_under_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 4)
    claim_id, (one, two, three, four) = await on.claim_and_start(ledger, endpoint)
    await on.record(ledger, on.success(one, claim_id), on.again(two, claim_id))
    assert await remaining(ledger, claim_id) == 2
    await on.record(ledger, on.failure(three, claim_id))
    assert await remaining(ledger, claim_id) == 1
    await on.record(ledger, on.success(four, claim_id))
    assert await remaining(ledger, claim_id) is None


async def test_results_of_many_claims_share_a_transaction(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(5)]
    await on.accept_many(ledger, tenant, 40)
    taken = await on.claim(ledger, endpoints, batch=7)
    works = [(work, claim_id) for claim_id in taken.claims for work in await on.start(ledger, claim_id)]
    makers = (on.success, on.failure, on.again)
    results = [makers[number % 3](*each) for number, each in enumerate(works)]
    assert await on.record(ledger, *results) == set()
    assert await on.count(ledger, "claims") == 0
    assert await on.count(ledger, "attempts") == 200
    found = await on.rows(ledger, "select status, count(*) from deliveries group by 1 order by 1")
    assert [tuple(row) for row in found] == [("failed", 67), ("pending", 66), ("succeeded", 67)]
    assert await on.count(ledger, "schedule") == 66


# ---- gone
async def test_an_endpoint_that_is_gone_is_disabled_and_everybody_hears_of_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    claim_id, works = await on.claim_and_start(ledger, endpoint)
    before = await on.row(ledger, "select endpoints_version from tenants")
    await on.record(ledger, *[on.failure(work, claim_id, gone=True) for work in works])
    after = await on.row(ledger, "select state, state_reason, state_actor, version from endpoints")
    assert tuple(after) == ("disabled", "gone", "waybill", 2)
    assert (await on.row(ledger, "select endpoints_version from tenants"))[0] == before[0] + 1
    await on.accept(ledger, tenant)
    assert (await on.claim(ledger, [endpoint])).size == 0


async def test_an_endpoint_that_was_disabled_by_a_person_keeps_that_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.change(ledger, "update endpoints set state = 'disabled', state_reason = 'not wanted'")
    await on.record(ledger, on.failure(work, claim_id, gone=True))
    assert (await on.row(ledger, "select state_reason from endpoints"))[0] == "not wanted"
    assert (await on.standing(ledger, work.delivery_id)).status == "failed"


async def test_word_of_a_rescued_claim_disables_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, claim_id)
    await on.rescue(ledger)
    await on.record(ledger, on.failure(work, claim_id, gone=True))
    assert (await on.row(ledger, "select state from endpoints"))[0] == EndpointState.ACTIVE


# ---- the fence
async def test_after_a_rescue_the_attempt_is_kept_and_the_delivery_stays_where_it_is(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    claim_id, (one, other) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, claim_id)
    await on.rescue(ledger)
    orphans = await on.record(ledger, on.success(one, claim_id), on.again(other, claim_id, after=HOUR))
    assert orphans == {claim_id}
    for work in (one, other):
        after = await on.standing(ledger, work.delivery_id)
        assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
        assert after.recorded == 1
    assert (await on.claim(ledger, [endpoint])).size == 2


async def test_a_late_result_does_not_touch_the_delivery_under_its_next_claim(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    dead, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, dead)
    await on.rescue(ledger)
    alive, (work_again,) = await on.claim_and_start(ledger, endpoint)
    assert await on.record(ledger, on.again(work, dead, after=HOUR)) == {dead}
    assert (await on.standing(ledger, work.delivery_id)).claim_id == alive
    assert await remaining(ledger, alive) == 1
    assert await on.record(ledger, on.success(work_again, alive)) == set()
    after = await on.standing(ledger, work.delivery_id)
    assert (after.status, after.recorded) == ("succeeded", 2)


async def test_results_under_a_living_claim_are_recorded_beside_those_of_a_dead_one(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    dead, alive = (await on.claim(ledger, [endpoint], batch=1)).claims
    (one,), (other,) = await on.start(ledger, dead), await on.start(ledger, alive)
    await on.lapse(ledger, dead)
    await on.rescue(ledger)
    assert await on.record(ledger, on.success(one, dead), on.success(other, alive)) == {dead}
    assert (await on.standing(ledger, one.delivery_id)).status == "pending"
    assert (await on.standing(ledger, other.delivery_id)).status == "succeeded"


async def test_a_rescue_during_a_record_passes_the_claim_over(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    claim_id, (one, other) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, claim_id)
    async with ledger.transaction() as tx:
        assert (await recording.record(tx, [on.success(one, claim_id)])).orphans == set()
        assert (await on.rescue(ledger)).deliveries == 0
    assert (await on.rescue(ledger)).deliveries == 1
    assert (await on.standing(ledger, one.delivery_id)).status == "succeeded"
    assert (await on.standing(ledger, other.delivery_id)).claim_id is None


async def test_a_record_during_a_rescue_waits_for_it_and_moves_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, claim_id)
    async with ledger.transaction() as tx:
        assert (await claiming.rescue(tx)).deliveries == 1
        late = asyncio.create_task(on.record(ledger, on.success(work, claim_id)))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
    assert await late == {claim_id}
    after = await on.standing(ledger, work.delivery_id)
    assert (after.status, after.claim_id, after.recorded) == ("pending", None, 1)


async def test_of_record_and_rescue_at_the_same_time_exactly_one_wins(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    seen = set()
    for number in range(30):
        await on.accept_many(ledger, tenant, 3)
        claim_id, works = await on.claim_and_start(ledger, endpoint)
        await on.lapse(ledger, claim_id)
        recording_ = on.record(ledger, *[on.success(work, claim_id) for work in works])
        both = (recording_, on.rescue(ledger))
        if number % 2:
            orphans, rescued = await asyncio.gather(*both)
        else:
            rescued, orphans = await asyncio.gather(both[1], both[0])
        recorded = not orphans
        assert rescued.deliveries == (0 if recorded else 3)
        states = {(await on.standing(ledger, work.delivery_id)).status for work in works}
        assert states == {"succeeded" if recorded else "pending"}
        seen.add(recorded)
        await on.change(ledger, "delete from schedule")
        assert await on.count(ledger, "claims") == 0
    assert seen  # which of the two it is, is chance


async def test_recorders_with_claims_in_common_do_not_wait_for_each_other_in_a_ring(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 80)
    taken = await on.claim(ledger, [endpoint], batch=20)
    works = [(work, claim_id) for claim_id in taken.claims for work in await on.start(ledger, claim_id)]
    parts = [[on.success(*each) for each in works[start::4]] for start in range(4)]
    parts[1].reverse()
    parts[3].reverse()
    assert await asyncio.gather(*[on.record(ledger, *part) for part in parts]) == [set()] * 4
    assert await on.count(ledger, "claims") == 0
    assert await on.count(ledger, "schedule") == 0


# ---- postpone
async def test_what_is_postponed_is_due_later_with_no_attempt_made(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 3)
    claim_id, (one, two, three) = await on.claim_and_start(ledger, endpoint)
    async with ledger.transaction() as tx:
        await recording.postpone(tx, claim_id, [one.delivery_id, two.delivery_id], by=HOUR)
    for work in (one, two):
        after = await on.standing(ledger, work.delivery_id)
        assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
    assert await remaining(ledger, claim_id) == 1
    assert (await on.claim(ledger, [endpoint])).size == 0
    async with ledger.transaction() as tx:
        await recording.postpone(tx, claim_id, [three.delivery_id], by=timedelta(0))
    assert await remaining(ledger, claim_id) is None
    assert (await on.claim(ledger, [endpoint])).size == 1


async def test_postponing_under_a_rescued_claim_changes_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    dead, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, dead)
    await on.rescue(ledger)
    alive, _ = await on.claim_and_start(ledger, endpoint)
    before = await on.standing(ledger, work.delivery_id)
    async with ledger.transaction() as tx:
        await recording.postpone(tx, dead, [work.delivery_id], by=HOUR)
    assert await on.standing(ledger, work.delivery_id) == before
    assert await remaining(ledger, alive) == 1


# ---- what an attempt may hold
async def test_an_attempt_is_read_as_it_was_recorded(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    attempt = replace(on.attempt_at(work), next_due_at=clock() + HOUR, response_truncated=True)
    await on.record(ledger, replace(on.success(work, claim_id), attempt=attempt))
    assert await stored(ledger, tenant, attempt.id) == attempt


async def test_what_the_transport_could_not_tell_is_null(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    attempt = replace(
        on.attempt_at(work), status=None, address=None, response_headers=(), response_body=b"", key_ids=()
    )
    await on.record(ledger, replace(on.again(work, claim_id), attempt=attempt))
    assert await stored(ledger, tenant, attempt.id) == attempt


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        '"quoted" and \\back\\slashed\\',
        "\\u0000",
        "\\\\u0000",
        "ends in \\u0000",
        "\\ud800",
        "\x01\x1f\x7f\x80\xff",
        "é 😀 \u2028",
        "{}[],:'\"",
        "%s :name $1 \\N",
        "x" * 16_000,
    ],
)
async def test_odd_header_values_are_kept_as_they_came(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, value: str
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    attempt = replace(
        on.attempt_at(work),
        response_headers=(("x-odd", value), ("x-odd", value), ("x-\\u0000", "1")),
        request_headers={"x-odd": value},
    )
    await on.record(ledger, replace(on.success(work, claim_id), attempt=attempt))
    assert await stored(ledger, tenant, attempt.id) == attempt


@pytest.mark.parametrize("value", ["\0", "a\0b\0\0c", "\\\0u0000", "\0\\u0000\0"])
async def test_nul_is_left_out_of_headers(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, value: str
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    attempt = replace(on.attempt_at(work), response_headers=(("x-odd", value),))
    await on.record(ledger, replace(on.success(work, claim_id), attempt=attempt))
    assert (await stored(ledger, tenant, attempt.id)).response_headers == (
        ("x-odd", value.replace("\0", "")),
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", bytes(range(256)), b"\\x00", b"\xff" * 65_536],
    ids=["none", "nul", "all", "hex", "most"],
)
async def test_any_bytes_are_kept_as_a_body(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, body: bytes
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    attempt = replace(on.attempt_at(work), response_body=body)
    await on.record(ledger, replace(on.success(work, claim_id), attempt=attempt))
    assert (await stored(ledger, tenant, attempt.id)).response_body == body


async def test_the_order_of_headers_is_kept(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    headers = {name: str(number) for number, name in enumerate(["z", "content-length", "a", "webhook-id"])}
    attempt = replace(on.attempt_at(work), request_headers=headers)
    await on.record(ledger, replace(on.success(work, claim_id), attempt=attempt))
    kept = await on.row(ledger, "select request_headers::text from attempts")
    assert list(json.loads(kept[0])) == list(headers)


async def test_an_attempt_is_recorded_once_however_often_it_is_written(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    """A recorder that did not hear of its commit writes again: nothing may be counted twice."""
    await on.accept_many(ledger, tenant, 2)
    claim_id, (one, other) = await on.claim_and_start(ledger, endpoint)
    result: Result = on.success(one, claim_id)
    await on.record(ledger, result)
    with pytest.raises(Exception, match="attempts"):
        await on.record(ledger, result)
    assert await remaining(ledger, claim_id) == 1
    assert (await on.standing(ledger, other.delivery_id)).claim_id == claim_id


async def test_nothing_is_recorded_where_there_is_nothing(ledger: Ledger) -> None:
    assert await on.record(ledger) == set()
    async with ledger.transaction() as tx:
        await recording.postpone(tx, ClaimId(new_id()), [], by=HOUR)
