"""The record on a real ledger: attempts are kept always, deliveries move only under a claim that exists."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import AttemptId, ClaimId, new_id
from delivery.ledger.queue import claims, results
from delivery.ledger.records import attempts
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from delivery.domain.attempt import Attempt
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.results import RecordedAttempt

HOUR = timedelta(hours=1)


async def stored(ledger: Ledger, tenant: TenantId, attempt_id: AttemptId) -> Attempt:
    async with ledger.transaction() as tx:
        told = await attempts.read(tx, tenant, attempt_id)
    assert told is not None
    return told[0]


async def remaining(ledger: Ledger, claim_id: ClaimId) -> int | None:
    found = await build.fetch_rows(ledger, "select remaining from claims where id = :id", id=claim_id)
    return found[0].remaining if found else None


# ---- what follows from an attempt
async def test_a_success_ends_the_delivery(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    assert await build.record_results(ledger, build.make_success(work, claim_id)) == set()
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert (after.status, after.reason, after.attempts) == ("succeeded", "delivered", 1)
    assert (after.scheduled, after.recorded) == (False, 1)
    finished = await build.fetch_row(ledger, "select finished_at from deliveries")
    assert finished.finished_at is not None


async def test_a_failure_for_good_ends_the_delivery_with_its_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_failure(work, claim_id))
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert (after.status, after.reason, after.scheduled) == ("failed", "too_large", False)


async def test_one_that_is_tried_again_is_due_when_it_was_decided(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    result = build.make_retry(work, claim_id, delay=HOUR)
    await build.record_results(ledger, result)
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 1, 1)
    assert isinstance(result.next_state, results.DeliveryRescheduled)
    assert after.due_at == result.next_state.due_at
    await build.execute(ledger, "update schedule set due_at = now()")
    _, (work_again,) = await build.claim_and_start(ledger, endpoint)
    assert (work_again.attempts, work_again.step) == (1, 1)


async def test_a_claim_is_closed_when_nothing_remains_under_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 4)
    claim_id, (one, two, three, four) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_success(one, claim_id), build.make_retry(two, claim_id))
    assert await remaining(ledger, claim_id) == 2
    await build.record_results(ledger, build.make_failure(three, claim_id))
    assert await remaining(ledger, claim_id) == 1
    await build.record_results(ledger, build.make_success(four, claim_id))
    assert await remaining(ledger, claim_id) is None


async def test_results_of_many_claims_share_a_transaction(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(5)]
    await build.accept_events(ledger, tenant, 40)
    taken = await build.claim_deliveries(ledger, endpoints, batch=7)
    works = [
        (work, claim_id) for claim_id in taken.claim_ids for work in await build.start_claim(ledger, claim_id)
    ]
    makers = (build.make_success, build.make_failure, build.make_retry)
    results = [makers[number % 3](*each) for number, each in enumerate(works)]
    assert await build.record_results(ledger, *results) == set()
    assert await build.count_rows(ledger, "claims") == 0
    assert await build.count_rows(ledger, "attempts") == 200
    found = await build.fetch_rows(ledger, "select status, count(*) from deliveries group by 1 order by 1")
    assert [tuple(row) for row in found] == [("failed", 67), ("pending", 66), ("succeeded", 67)]
    assert await build.count_rows(ledger, "schedule") == 66


# ---- gone
async def test_an_endpoint_that_is_gone_is_disabled_and_everybody_hears_of_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    claim_id, works = await build.claim_and_start(ledger, endpoint)
    before = await build.fetch_row(ledger, "select endpoints_version from tenants")
    await build.record_results(ledger, *[build.make_failure(work, claim_id, is_gone=True) for work in works])
    after = await build.fetch_row(ledger, "select state, state_reason, state_actor, version from endpoints")
    assert tuple(after) == ("disabled", "gone", "waybill", 2)
    assert (await build.fetch_row(ledger, "select endpoints_version from tenants"))[0] == before[0] + 1
    await build.accept_event(ledger, tenant)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0


async def test_an_endpoint_that_was_disabled_by_a_person_keeps_that_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.execute(ledger, "update endpoints set state = 'disabled', state_reason = 'not wanted'")
    await build.record_results(ledger, build.make_failure(work, claim_id, is_gone=True))
    assert (await build.fetch_row(ledger, "select state_reason from endpoints"))[0] == "not wanted"
    assert (await build.read_delivery_state(ledger, work.delivery_id)).status == "failed"


async def test_result_of_a_rescued_claim_does_not_disable_the_endpoint(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, claim_id)
    await build.rescue_lapsed(ledger)
    await build.record_results(ledger, build.make_failure(work, claim_id, is_gone=True))
    assert (await build.fetch_row(ledger, "select state from endpoints"))[0] == EndpointState.ACTIVE


# ---- the fence
async def test_after_a_rescue_the_attempt_is_kept_and_the_delivery_stays_where_it_is(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    claim_id, (one, other) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, claim_id)
    await build.rescue_lapsed(ledger)
    orphans = await build.record_results(
        ledger, build.make_success(one, claim_id), build.make_retry(other, claim_id, delay=HOUR)
    )
    assert orphans == {claim_id}
    for work in (one, other):
        after = await build.read_delivery_state(ledger, work.delivery_id)
        assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
        assert after.recorded == 1
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 2


async def test_a_late_result_does_not_touch_the_delivery_under_its_next_claim(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    dead, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, dead)
    await build.rescue_lapsed(ledger)
    alive, (work_again,) = await build.claim_and_start(ledger, endpoint)
    assert await build.record_results(ledger, build.make_retry(work, dead, delay=HOUR)) == {dead}
    assert (await build.read_delivery_state(ledger, work.delivery_id)).claim_id == alive
    assert await remaining(ledger, alive) == 1
    assert await build.record_results(ledger, build.make_success(work_again, alive)) == set()
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert (after.status, after.recorded) == ("succeeded", 2)


async def test_results_under_a_living_claim_are_recorded_beside_those_of_a_dead_one(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    dead, alive = (await build.claim_deliveries(ledger, [endpoint], batch=1)).claim_ids
    (one,), (other,) = await build.start_claim(ledger, dead), await build.start_claim(ledger, alive)
    await build.expire_lease(ledger, dead)
    await build.rescue_lapsed(ledger)
    assert await build.record_results(
        ledger, build.make_success(one, dead), build.make_success(other, alive)
    ) == {dead}
    assert (await build.read_delivery_state(ledger, one.delivery_id)).status == "pending"
    assert (await build.read_delivery_state(ledger, other.delivery_id)).status == "succeeded"


async def test_a_rescue_during_a_record_passes_the_claim_over(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    claim_id, (one, other) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, claim_id)
    async with ledger.transaction() as tx:
        assert (
            await results.record_attempts(tx, [build.make_success(one, claim_id)])
        ).orphaned_claims == set()
        assert (await build.rescue_lapsed(ledger)).deliveries == 0
    assert (await build.rescue_lapsed(ledger)).deliveries == 1
    assert (await build.read_delivery_state(ledger, one.delivery_id)).status == "succeeded"
    assert (await build.read_delivery_state(ledger, other.delivery_id)).claim_id is None


async def test_a_record_during_a_rescue_waits_for_it_and_moves_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, claim_id)
    async with ledger.transaction() as tx:
        assert (await claims.rescue_claims(tx)).deliveries == 1
        late = asyncio.create_task(build.record_results(ledger, build.make_success(work, claim_id)))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
    assert await late == {claim_id}
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert (after.status, after.claim_id, after.recorded) == ("pending", None, 1)


async def test_of_record_and_rescue_at_the_same_time_exactly_one_wins(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    seen = set()
    for number in range(30):
        await build.accept_events(ledger, tenant, 3)
        claim_id, works = await build.claim_and_start(ledger, endpoint)
        await build.expire_lease(ledger, claim_id)
        recording_ = build.record_results(ledger, *[build.make_success(work, claim_id) for work in works])
        both = (recording_, build.rescue_lapsed(ledger))
        if number % 2:
            orphans, rescued = await asyncio.gather(*both)
        else:
            rescued, orphans = await asyncio.gather(both[1], both[0])
        recorded = not orphans
        assert rescued.deliveries == (0 if recorded else 3)
        states = {(await build.read_delivery_state(ledger, work.delivery_id)).status for work in works}
        assert states == {"succeeded" if recorded else "pending"}
        seen.add(recorded)
        await build.execute(ledger, "delete from schedule")
        assert await build.count_rows(ledger, "claims") == 0
    assert seen  # which of the two it is, is chance


async def test_recorders_sharing_claims_do_not_deadlock(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 80)
    taken = await build.claim_deliveries(ledger, [endpoint], batch=20)
    works = [
        (work, claim_id) for claim_id in taken.claim_ids for work in await build.start_claim(ledger, claim_id)
    ]
    parts = [[build.make_success(*each) for each in works[start::4]] for start in range(4)]
    parts[1].reverse()
    parts[3].reverse()
    assert await asyncio.gather(*[build.record_results(ledger, *part) for part in parts]) == [set()] * 4
    assert await build.count_rows(ledger, "claims") == 0
    assert await build.count_rows(ledger, "schedule") == 0


# ---- postpone
async def test_what_is_postponed_is_due_later_with_no_attempt_made(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    claim_id, (one, two, three) = await build.claim_and_start(ledger, endpoint)
    async with ledger.transaction() as tx:
        await results.postpone(tx, claim_id, [one.delivery_id, two.delivery_id], delay=HOUR)
    for work in (one, two):
        after = await build.read_delivery_state(ledger, work.delivery_id)
        assert (after.status, after.claim_id, after.attempts, after.step) == ("pending", None, 0, 0)
    assert await remaining(ledger, claim_id) == 1
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    async with ledger.transaction() as tx:
        await results.postpone(tx, claim_id, [three.delivery_id], delay=timedelta(0))
    assert await remaining(ledger, claim_id) is None
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_postponing_under_a_rescued_claim_changes_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    dead, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, dead)
    await build.rescue_lapsed(ledger)
    alive, _ = await build.claim_and_start(ledger, endpoint)
    before = await build.read_delivery_state(ledger, work.delivery_id)
    async with ledger.transaction() as tx:
        await results.postpone(tx, dead, [work.delivery_id], delay=HOUR)
    assert await build.read_delivery_state(ledger, work.delivery_id) == before
    assert await remaining(ledger, alive) == 1


# ---- what an attempt may hold
async def test_an_attempt_is_read_as_it_was_recorded(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    attempt = replace(build.make_attempt(work), next_due_at=clock() + HOUR, response_truncated=True)
    await build.record_results(ledger, replace(build.make_success(work, claim_id), attempt=attempt))
    assert await stored(ledger, tenant, attempt.id) == attempt


async def test_what_the_transport_could_not_tell_is_null(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    attempt = replace(
        build.make_attempt(work),
        status=None,
        address=None,
        response_headers=(),
        response_body=b"",
        key_ids=(),
    )
    await build.record_results(ledger, replace(build.make_retry(work, claim_id), attempt=attempt))
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
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    attempt = replace(
        build.make_attempt(work),
        response_headers=(("x-odd", value), ("x-odd", value), ("x-\\u0000", "1")),
        request_headers={"x-odd": value},
    )
    await build.record_results(ledger, replace(build.make_success(work, claim_id), attempt=attempt))
    assert await stored(ledger, tenant, attempt.id) == attempt


@pytest.mark.parametrize("value", ["\0", "a\0b\0\0c", "\\\0u0000", "\0\\u0000\0"])
async def test_nul_is_left_out_of_headers(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, value: str
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    attempt = replace(build.make_attempt(work), response_headers=(("x-odd", value),))
    await build.record_results(ledger, replace(build.make_success(work, claim_id), attempt=attempt))
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
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    attempt = replace(build.make_attempt(work), response_body=body)
    await build.record_results(ledger, replace(build.make_success(work, claim_id), attempt=attempt))
    assert (await stored(ledger, tenant, attempt.id)).response_body == body


async def test_the_order_of_headers_is_kept(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    headers = {name: str(number) for number, name in enumerate(["z", "content-length", "a", "webhook-id"])}
    attempt = replace(build.make_attempt(work), request_headers=headers)
    await build.record_results(ledger, replace(build.make_success(work, claim_id), attempt=attempt))
    kept = await build.fetch_row(ledger, "select request_headers::text from attempts")
    assert list(json.loads(kept[0])) == list(headers)


async def test_an_attempt_is_recorded_once_however_often_it_is_written(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    """A recorder that did not hear of its commit writes again: nothing may be counted twice."""
    await build.accept_events(ledger, tenant, 2)
    claim_id, (one, other) = await build.claim_and_start(ledger, endpoint)
    result: RecordedAttempt = build.make_success(one, claim_id)
    await build.record_results(ledger, result)
    with pytest.raises(Exception, match="attempts"):
        await build.record_results(ledger, result)
    assert await remaining(ledger, claim_id) == 1
    assert (await build.read_delivery_state(ledger, other.delivery_id)).claim_id == claim_id


async def test_recording_an_empty_group_does_nothing(ledger: Ledger) -> None:
    assert await build.record_results(ledger) == set()
    async with ledger.transaction() as tx:
        await results.postpone(tx, ClaimId(new_id()), [], delay=HOUR)
