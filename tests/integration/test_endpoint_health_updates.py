"""Attempts update the health of their endpoints, in the transaction that records them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from delivery.clock import clock
from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.ledger.queue import claims, endpoint_health, enqueue, results
from delivery.ledger.queue.notifications import NotificationListener
from delivery.ledger.records import endpoints, tenants
from delivery.pipeline.health_update import apply_results
from retries.breaker import BreakerConfig, BreakerState
from retries.health import HealthConfig, Signal
from retries.limit import InFlightLimit
from tests.support import health_attempts
from tests.support import ledger_builders as build
from tests.support.health_attempts import BAD, FAILURES_TO_OPEN, GONE, GOOD, LOST, AttemptSignal
from tests.support.ledger_builders import EndpointSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Row

    from delivery.domain.ids import ClaimId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.pipeline.health_update import FinishedAttempt

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
# Longer than the first cool-down of a breaker.
COOLED_DOWN = timedelta(minutes=1)


async def journal(ledger: Ledger) -> list[Row[*tuple[Any, ...]]]:
    """Load the journal, oldest first."""
    return list(await build.fetch_rows(ledger, "select * from journal order by id"))


async def list_actions(ledger: Ledger) -> list[str]:
    return [entry.what for entry in await journal(ledger)]


async def open_breaker(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, *, owed: int = 5) -> None:
    """Open the breaker of an endpoint, with a due delivery."""
    await health_attempts.record_each(ledger, tenant, endpoint, [BAD] * FAILURES_TO_OPEN)
    await build.accept_events(ledger, tenant, owed)


async def probe(ledger: Ledger, endpoint: EndpointId, expected: AttemptSignal) -> None:
    """Let the cool-down pass, then send and end the probe."""
    await health_attempts.shift_into_past(ledger, COOLED_DOWN)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await health_attempts.record_attempts(
        ledger, health_attempts.make_attempt_result(work, claim_id, expected)
    )


async def record_and_update(tx: Transaction, group: Sequence[FinishedAttempt]) -> None:
    """Record attempts and update health in the test's own transaction."""
    recorded = await results.record_attempts(tx, [item.result for item in group])
    await apply_results(tx, group, recorded, rng=lambda: 0.0)


# ---- one transaction
async def test_a_failure_is_counted_and_released(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, (work, _) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 2)
    at = clock()
    await health_attempts.record_attempts(
        ledger, health_attempts.make_attempt_result(work, claim_id, AttemptSignal(at=at))
    )
    after = await health_attempts.read_health(ledger, endpoint)
    assert (after.health.failing_since, after.health.last_failed_at, after.health.failed) == (at, at, 1)
    assert after.health.breaker.consecutive == 1
    assert after.in_flight == 1


async def test_a_success_resets_the_failures(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    at = clock()
    await health_attempts.record_each(ledger, tenant, endpoint, [BAD, BAD, replace(GOOD, at=at)])
    after = await health_attempts.read_health(ledger, endpoint)
    assert (after.health.failing_since, after.health.failed) == (None, 0)
    assert after.health.last_succeeded_at == at
    assert (after.health.breaker.consecutive, after.health.breaker.failures) == (0, 2)
    assert after.in_flight == 0


async def test_attempts_update_their_own_endpoints(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    second = await build.create_endpoint(ledger, tenant)
    mine, (work, *_) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 2)
    others, works = await build.claim_and_start(ledger, second)
    group = [
        health_attempts.make_attempt_result(work, mine, GOOD),
        *[health_attempts.make_attempt_result(each, others) for each in works],
    ]
    await health_attempts.record_attempts(ledger, *group)
    first, two = (
        await health_attempts.read_health(ledger, endpoint),
        await health_attempts.read_health(ledger, second),
    )
    assert (first.health.failed, first.in_flight) == (0, 1)
    assert (two.health.failed, two.in_flight) == (2, 0)


async def test_a_failed_transaction_changes_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.create_endpoint(ledger, tenant, EndpointSpec(operational=True))
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, FAILURES_TO_OPEN + 1)
    before = await health_attempts.read_health(ledger, endpoint)
    async with ledger.transaction() as tx:
        await record_and_update(
            tx,
            [
                *[health_attempts.make_attempt_result(work, claim_id) for work in works[1:]],
                health_attempts.make_attempt_result(works[0], claim_id, GONE),
            ],
        )
        await tx.rollback()
    assert await health_attempts.read_health(ledger, endpoint) == before
    assert await build.count_rows(ledger, "journal") == 0
    assert await build.count_rows(ledger, "events") == FAILURES_TO_OPEN + 1
    state = await build.fetch_row(ledger, "select state from endpoints where id = :id", id=endpoint)
    assert state[0] == "active"


async def test_results_of_a_rescued_claim_do_not_update_health(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, FAILURES_TO_OPEN)
    await build.expire_lease(ledger, claim_id)
    await build.rescue_lapsed(ledger)
    repeated = (await build.claim_deliveries(ledger, [endpoint], take=1)).claim_ids
    before = await health_attempts.read_health(ledger, endpoint)
    result = [
        AttemptSignal(is_gone=True, final_reason="gone"),
        AttemptSignal(Signal.CONGESTED, retry_after=SECOND),
        BAD,
    ]
    recorded = await health_attempts.record_attempts(
        ledger,
        *[
            health_attempts.make_attempt_result(work, claim_id, each)
            for work, each in zip(works, result, strict=True)
        ],
    )
    assert recorded.orphaned_claims == {claim_id}
    assert await health_attempts.read_health(ledger, endpoint) == before
    assert before.in_flight == len(repeated) == 1
    assert await journal(ledger) == []
    assert await build.count_rows(ledger, "attempts") == FAILURES_TO_OPEN


async def test_attempts_beside_a_rescued_claim_count(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 4)
    lost, stored = (await build.claim_deliveries(ledger, [endpoint], batch=2)).claim_ids
    orphans, works = await build.start_claim(ledger, lost), await build.start_claim(ledger, stored)
    await build.expire_lease(ledger, lost)
    await build.rescue_lapsed(ledger)
    group = [health_attempts.make_attempt_result(work, lost, GONE) for work in orphans]
    await health_attempts.record_attempts(
        ledger, *group, *[health_attempts.make_attempt_result(work, stored) for work in works]
    )
    after = await health_attempts.read_health(ledger, endpoint)
    assert (after.health.failed, after.in_flight) == (2, 0)
    assert await journal(ledger) == []


async def test_an_interrupted_attempt_is_released_and_not_counted(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await health_attempts.record_each(ledger, tenant, endpoint, [BAD])
    before = await health_attempts.read_health(ledger, endpoint)
    await health_attempts.record_each(ledger, tenant, endpoint, [LOST, LOST])
    after = await health_attempts.read_health(ledger, endpoint)
    assert after.health == before.health
    assert after.in_flight == 0


# ---- the breaker
async def test_an_opening_is_journalled_with_probe_time_and_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    at = clock()
    await health_attempts.record_each(ledger, tenant, endpoint, [replace(BAD, at=at)] * FAILURES_TO_OPEN)
    breaker = (await health_attempts.read_health(ledger, endpoint)).health.breaker
    assert breaker.state is BreakerState.OPEN
    assert breaker.probe_at == at + health_attempts.HEALTH_TERMS.breaker.cool_down
    (entry,) = await journal(ledger)
    assert (entry.what, entry.actor, entry.reason) == (
        "endpoint.breaker_opened",
        "waybill",
        health_attempts.RETRY_REASON,
    )
    assert (entry.tenant_id, entry.endpoint_id, entry.delivery_id) == (tenant, endpoint, None)
    assert entry.at == at
    assert datetime.fromisoformat(entry.details["probe_at"]) == breaker.probe_at


async def test_the_breaker_opens_once(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await health_attempts.record_each(ledger, tenant, endpoint, [BAD] * 10)
    assert await list_actions(ledger) == ["endpoint.breaker_opened"]
    assert (await health_attempts.read_health(ledger, endpoint)).health.breaker.openings == 1


async def test_an_open_breaker_lets_nothing_through_until_one_probe(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await open_breaker(ledger, tenant, endpoint)
    held = await build.claim_deliveries(ledger, [endpoint])
    assert held.delivery_count == 0
    assert 29 < held.retry_in_seconds[endpoint] <= 30
    await health_attempts.shift_into_past(ledger, COOLED_DOWN)
    assert (await build.claim_deliveries(ledger, [endpoint])).counts_by_endpoint == {endpoint: 1}
    found = await build.fetch_row(ledger, "select delivery_id from schedule where claim_id is not null")
    now = await health_attempts.read_health(ledger, endpoint)
    assert (now.health.breaker.state, now.probe_id) == (BreakerState.HALF_OPEN, found.delivery_id)
    assert await build.claim_deliveries(ledger, [endpoint]) == replace(held, retry_in_seconds={})


async def test_failed_probe_extends_the_open_breaker_and_is_only_journalled(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.create_endpoint(ledger, tenant, EndpointSpec(operational=True, filter=("endpoint.*",)))
    await open_breaker(ledger, tenant, endpoint)
    events = await build.count_rows(ledger, "events")
    at = clock()
    await probe(ledger, endpoint, replace(BAD, at=at))
    now = await health_attempts.read_health(ledger, endpoint)
    assert (now.health.breaker.state, now.health.breaker.openings) == (BreakerState.OPEN, 2)
    assert now.health.breaker.probe_at == at + 2 * health_attempts.HEALTH_TERMS.breaker.cool_down
    assert (now.probe_id, now.in_flight) == (None, 0)
    *_, entry = await journal(ledger)
    assert (entry.what, entry.reason) == ("endpoint.breaker_stayed_open", health_attempts.RETRY_REASON)
    assert datetime.fromisoformat(entry.details["probe_at"]) == now.health.breaker.probe_at
    assert await build.count_rows(ledger, "events") == events


async def test_a_good_probe_closes_the_breaker_and_starts_the_ramp(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await open_breaker(ledger, tenant, endpoint)
    since = (await health_attempts.read_health(ledger, endpoint)).health.breaker.since - COOLED_DOWN
    await probe(ledger, endpoint, GOOD)
    now = await health_attempts.read_health(ledger, endpoint)
    assert (now.health.breaker.state, now.probe_id) == (BreakerState.CLOSED, None)
    assert now.health.limit == InFlightLimit(1, ramping=True)
    *_, entry = await journal(ledger)
    assert (entry.what, entry.reason) == ("endpoint.breaker_closed", None)
    assert datetime.fromisoformat(entry.details["opened_at"]) == since
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_the_ramp_doubles_with_each_good_round(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await open_breaker(ledger, tenant, endpoint, owed=40)
    await probe(ledger, endpoint, GOOD)
    sizes = []
    for _ in range(5):
        claim_id, works = await build.claim_and_start(ledger, endpoint)
        sizes.append(len(works))
        await health_attempts.record_attempts(
            ledger, *[health_attempts.make_attempt_result(work, claim_id, GOOD) for work in works]
        )
    assert sizes == [1, 2, 4, 8, 16]


async def test_in_flight_results_do_not_change_an_open_breaker_or_the_limit(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, FAILURES_TO_OPEN + 2)
    await health_attempts.record_attempts(
        ledger, *[health_attempts.make_attempt_result(work, claim_id) for work in works[2:]]
    )
    before = await health_attempts.read_health(ledger, endpoint)
    group = [
        health_attempts.make_attempt_result(works[0], claim_id, GOOD),
        health_attempts.make_attempt_result(works[1], claim_id),
    ]
    await health_attempts.record_attempts(ledger, *group)
    after = await health_attempts.read_health(ledger, endpoint)
    assert (after.health.breaker, after.health.limit) == (before.health.breaker, before.health.limit)
    assert (before.in_flight, after.in_flight) == (2, 0)


async def test_only_the_probe_can_close_a_breaker(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, FAILURES_TO_OPEN + 1)
    await health_attempts.record_attempts(
        ledger, *[health_attempts.make_attempt_result(work, claim_id) for work in works[1:]]
    )
    await health_attempts.shift_into_past(ledger, COOLED_DOWN)
    (probing,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    await health_attempts.record_attempts(
        ledger, health_attempts.make_attempt_result(works[0], claim_id, GOOD)
    )
    now = await health_attempts.read_health(ledger, endpoint)
    assert now.health.breaker.state is BreakerState.HALF_OPEN
    assert now.probe_id == (await build.start_claim(ledger, probing))[0].delivery_id


@pytest.mark.parametrize("way", ["broken off", "handed back", "postponed", "rescued"])
async def test_lost_probe_keeps_the_breaker_open_and_allows_another_probe(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, way: str
) -> None:
    await open_breaker(ledger, tenant, endpoint)
    await health_attempts.shift_into_past(ledger, COOLED_DOWN)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    before = (await health_attempts.read_health(ledger, endpoint)).health.breaker
    await lose(ledger, claim_id, way)
    now = await health_attempts.read_health(ledger, endpoint)
    assert now.health.breaker == replace(
        before, state=BreakerState.OPEN, probe_at=now.health.breaker.probe_at
    )
    assert (now.probe_id, now.in_flight) == (None, 0)
    assert await list_actions(ledger) == ["endpoint.breaker_opened"]
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def lose(ledger: Ledger, claim_id: ClaimId, way: str) -> None:
    """End a claim of one delivery without a meaningful attempt."""
    async with ledger.transaction() as tx:
        if way == "handed back":
            await claims.return_claims(tx, [claim_id])
            return
    (work,) = await build.start_claim(ledger, claim_id)
    if way == "broken off":
        await health_attempts.record_attempts(
            ledger, health_attempts.make_attempt_result(work, claim_id, LOST)
        )
    elif way == "postponed":
        async with ledger.transaction() as tx:
            await results.postpone(tx, claim_id, [work.delivery_id], delay=timedelta(0))
    else:
        await build.expire_lease(ledger, claim_id)
        await build.rescue_lapsed(ledger)


async def test_only_the_probe_result_reopens_the_breaker(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await health_attempts.start_deliveries(ledger, tenant, endpoint, 1)
    (early,) = [row.id for row in await build.fetch_rows(ledger, "select id from claims")]
    await build.execute(ledger, "update endpoint_health set breaker = 'open', probe_at = clock_timestamp()")
    await build.accept_event(ledger, tenant)
    await build.claim_deliveries(ledger, [endpoint])
    await build.expire_lease(ledger, early)
    await build.rescue_lapsed(ledger)
    now = await health_attempts.read_health(ledger, endpoint)
    assert (now.health.breaker.state, now.in_flight) == (BreakerState.HALF_OPEN, 1)


# ---- disabled
async def state_of(ledger: Ledger, endpoint: EndpointId) -> tuple[object, ...]:
    found = await build.fetch_row(
        ledger, "select state, state_reason, state_actor from endpoints where id = :id", id=endpoint
    )
    return tuple(found)


async def test_gone_endpoint_is_disabled_and_caches_are_invalidated(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    versions = "select e.version, t.endpoints_version from endpoints e join tenants t on t.id = e.tenant_id"
    before = await build.fetch_row(ledger, versions)
    at = clock()
    await health_attempts.record_each(ledger, tenant, endpoint, [replace(GONE, at=at)])
    assert await state_of(ledger, endpoint) == ("disabled", "gone", "waybill")
    (entry,) = await journal(ledger)
    assert (entry.what, entry.actor, entry.reason) == ("endpoint.disabled", "waybill", "gone")
    assert (entry.endpoint_id, entry.at) == (endpoint, at)
    after = await build.fetch_row(ledger, versions)
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1]
    await build.accept_event(ledger, tenant)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0


async def test_gone_from_an_old_url_does_not_disable(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, (work,) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 1)
    await build.execute(ledger, "update endpoints set url = url || '/new'")
    await health_attempts.record_attempts(ledger, health_attempts.make_attempt_result(work, claim_id, GONE))
    assert (await state_of(ledger, endpoint))[0] == "active"
    assert await journal(ledger) == []
    assert (await build.read_delivery_state(ledger, work.delivery_id)).status == "failed"


async def test_an_endpoint_is_disabled_once_and_keeps_its_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, (first, second) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 2)
    await build.execute(ledger, "update endpoints set state = 'disabled', state_reason = 'by hand'")
    await health_attempts.record_attempts(
        ledger, *[health_attempts.make_attempt_result(work, claim_id, GONE) for work in (first, second)]
    )
    assert (await state_of(ledger, endpoint))[:2] == ("disabled", "by hand")
    assert await journal(ledger) == []


async def test_gone_disables_a_paused_endpoint(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, (work,) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 1)
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    await health_attempts.record_attempts(ledger, health_attempts.make_attempt_result(work, claim_id, GONE))
    assert (await state_of(ledger, endpoint))[:2] == ("disabled", "gone")


async def fail_at(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, times: Sequence[datetime]) -> None:
    """Record a failure at each of these times; the breaker stays closed."""
    patient = HealthConfig(BreakerConfig(consecutive=4, minimum=1_000), disable_after=10 * DAY)
    for at in times:
        await health_attempts.record_each(
            ledger, tenant, endpoint, [AttemptSignal(at=at, terms=patient, final_reason="spent")]
        )


async def test_a_failing_endpoint_is_warned_of_twice_and_then_disabled(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    began = clock()
    moments = [began + days * DAY for days in (0, 4.9, 5, 7, 9, 9.5, 9.9)]
    # An open breaker would let only probes through; this is about the time of failing.
    for at in moments:
        await build.execute(
            ledger, "update endpoint_health set breaker = 'closed', probe_at = null, consecutive = 0"
        )
        await fail_at(ledger, tenant, endpoint, [at])
    warnings = await journal(ledger)
    assert [entry.what for entry in warnings] == ["endpoint.disable_warning"] * 2
    assert [(entry.reason, entry.details["percent"]) for entry in warnings] == [
        ("failing", 50),
        ("failing", 90),
    ]
    for entry in warnings:
        assert datetime.fromisoformat(entry.details["failing_since"]) == began
        assert datetime.fromisoformat(entry.details["disabled_at"]) == began + 10 * DAY
    assert (await state_of(ledger, endpoint))[0] == "active"
    await fail_at(ledger, tenant, endpoint, [began + 10 * DAY])
    assert await state_of(ledger, endpoint) == ("disabled", "failing", "waybill")
    *_, entry = await journal(ledger)
    assert (entry.what, entry.reason) == ("endpoint.disabled", "failing")
    assert datetime.fromisoformat(entry.details["failing_since"]) == began


async def test_failing_at_an_old_url_does_not_disable(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    began = clock()
    await fail_at(ledger, tenant, endpoint, [began + days * DAY for days in (0, 1, 2)])
    claim_id, (work,) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 1)
    await build.execute(ledger, "update endpoints set url = url || '/new'")
    result = AttemptSignal(
        at=began + 10 * DAY, terms=HealthConfig(BreakerConfig(consecutive=4), disable_after=10 * DAY)
    )
    await health_attempts.record_attempts(ledger, health_attempts.make_attempt_result(work, claim_id, result))
    assert (await state_of(ledger, endpoint))[0] == "active"
    assert "endpoint.disabled" not in await list_actions(ledger)


# ---- requested waits
async def request_waits(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, *seconds: float, at: datetime
) -> None:
    """Let the endpoint request each of these waits, with the breaker closed."""
    patient = replace(health_attempts.HEALTH_TERMS, breaker=BreakerConfig(consecutive=1_000, minimum=1_000))
    result = [
        AttemptSignal(Signal.CONGESTED, retry_after=wait * SECOND, at=at, terms=patient) for wait in seconds
    ]
    await health_attempts.record_each(ledger, tenant, endpoint, result)


async def test_a_requested_wait_holds_the_whole_endpoint(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    at = clock()
    await request_waits(ledger, tenant, endpoint, 60, 90, 30, at=at)
    assert (await health_attempts.read_health(ledger, endpoint)).health.waits_until == at + 90 * SECOND
    await build.accept_events(ledger, tenant, 5)  # unrelated to the wait
    held = await build.claim_deliveries(ledger, [endpoint])
    assert held.delivery_count == 0
    assert 80 < held.retry_in_seconds[endpoint] <= 90
    await health_attempts.shift_into_past(ledger, 90 * SECOND)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 8


async def test_retry_after_is_journalled_once_for_concurrent_attempts(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.create_endpoint(ledger, tenant, EndpointSpec(operational=True))
    at = clock()
    await request_waits(ledger, tenant, endpoint, 60, 60, 60.5, 30, at=at)
    (entry,) = await journal(ledger)
    assert (entry.what, entry.reason, entry.actor) == ("endpoint.waiting", "retry_after", "waybill")
    assert datetime.fromisoformat(entry.details["until"]) == at + 60 * SECOND
    assert await build.count_rows(ledger, "events") == 4  # waits cause no system event


async def test_longer_and_new_waits_are_journalled(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    at = clock()
    await request_waits(ledger, tenant, endpoint, 60, 90, at=at)
    await health_attempts.shift_into_past(ledger, 90 * SECOND)
    await request_waits(ledger, tenant, endpoint, 10, at=at)
    untils = [datetime.fromisoformat(entry.details["until"]) for entry in await journal(ledger)]
    assert untils == [at + wait * SECOND for wait in (60, 90, 10)]


async def test_a_wait_holds_no_other_endpoint(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    other = await build.create_endpoint(ledger, tenant)
    await health_attempts.record_each(
        ledger, tenant, endpoint, [AttemptSignal(Signal.CONGESTED, retry_after=60 * SECOND)]
    )
    assert (await build.claim_deliveries(ledger, [endpoint, other])).counts_by_endpoint == {other: 1}


# ---- notifications
async def collect_notifications(
    ledger: Ledger, tenant: TenantId, act: Callable[[], Awaitable[object]]
) -> set[EndpointId]:
    """Return the endpoints that the relay is notified of while this is done."""
    last = await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("nothing",)))
    listener = await NotificationListener.open(ledger)
    await act()
    await build.notify_due(ledger, tenant, last)
    heard: set[EndpointId] = set()
    async with asyncio.timeout(10):
        async for _, pairs in listener.receive_notifications():
            heard |= {endpoint for _, endpoint in pairs}
            if last in heard:
                break
    await listener.close()
    return heard - {last}


async def limited(ledger: Ledger, tenant: TenantId) -> EndpointId:
    return await build.create_endpoint(ledger, tenant, EndpointSpec(limits=EndpointLimits(in_flight=3)))


LIMITED = replace(health_attempts.HEALTH_TERMS, max_in_flight=3)


@pytest.mark.parametrize(("under_way", "woken"), [(2, False), (3, True)])
async def test_relay_is_notified_only_of_endpoints_at_their_limit(
    ledger: Ledger, tenant: TenantId, under_way: int, *, woken: bool
) -> None:
    endpoint = await limited(ledger, tenant)
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, under_way)
    result = health_attempts.make_attempt_result(works[0], claim_id, replace(GOOD, terms=LIMITED))
    heard = await collect_notifications(
        ledger, tenant, lambda: health_attempts.record_attempts(ledger, result)
    )
    assert heard == ({endpoint} if woken else set())


async def test_relay_is_notified_when_in_flight_exceeds_a_lowered_limit(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await limited(ledger, tenant)
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, 2)
    await build.execute(ledger, "update endpoint_health set limit_now = 2")
    result = health_attempts.make_attempt_result(works[0], claim_id, replace(GOOD, terms=LIMITED))
    assert await collect_notifications(
        ledger, tenant, lambda: health_attempts.record_attempts(ledger, result)
    ) == {endpoint}


async def test_relay_is_notified_when_a_breaker_closes_not_while_open(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await open_breaker(ledger, tenant, endpoint)
    assert await collect_notifications(ledger, tenant, lambda: probe(ledger, endpoint, BAD)) == set()
    await health_attempts.shift_into_past(ledger, COOLED_DOWN)
    assert await collect_notifications(ledger, tenant, lambda: probe(ledger, endpoint, GOOD)) == {endpoint}


async def test_the_relay_is_notified_at_commit(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await limited(ledger, tenant)
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, 3)

    async def undone() -> None:
        async with ledger.transaction() as tx:
            await record_and_update(
                tx, [health_attempts.make_attempt_result(works[0], claim_id, replace(GOOD, terms=LIMITED))]
            )
            await tx.rollback()

    assert await collect_notifications(ledger, tenant, undone) == set()


# ---- concurrency
ROUNDS = 30
FORGIVEN = """
    update endpoint_health
    set breaker = 'closed', probe_at = null, probe_id = null, waits_until = null, limit_now = 100
"""


class Crowd:
    """Two tenants' endpoints, with claims at several workers, and concurrent changes."""

    def __init__(self, ledger: Ledger, endpoints: Sequence[EndpointId]) -> None:
        self._ledger = ledger
        self._endpoints = endpoints

    async def in_hand(self) -> list[tuple[ClaimId, list[ClaimedDelivery]]]:
        """Give each of several workers a claim of a few deliveries of each endpoint."""
        taken = await build.claim_deliveries(self._ledger, self._endpoints, take=6, batch=9)
        return [(claim_id, await build.start_claim(self._ledger, claim_id)) for claim_id in taken.claim_ids]

    async def record(
        self, pairs: Sequence[tuple[ClaimId, ClaimedDelivery]], expected: Sequence[AttemptSignal]
    ) -> None:
        group = [
            health_attempts.make_attempt_result(work, c, each)
            for (c, work), each in zip(pairs, cycle(expected), strict=False)
        ]
        await health_attempts.record_attempts(self._ledger, *group)

    async def postpone(self, claim_id: ClaimId, works: Sequence[ClaimedDelivery]) -> None:
        async with self._ledger.transaction() as tx:
            await results.postpone(tx, claim_id, [work.delivery_id for work in works], delay=timedelta(0))

    async def claim_and_hand_back(self) -> None:
        taken = await build.claim_deliveries(self._ledger, self._endpoints, take=2, batch=3)
        async with self._ledger.transaction() as tx:
            await claims.return_claims(tx, taken.claim_ids)

    async def enable(self, tenant: TenantId, endpoint: EndpointId) -> None:
        """Lock as enabling an endpoint does: its health, then itself, then its tenant."""
        async with self._ledger.transaction() as tx:
            standing = (await endpoint_health.lock(tx, [endpoint]))[endpoint]
            locked = await endpoints.read(tx, tenant, endpoint, lock=True)
            assert locked is not None
            await endpoints.write(tx, replace(locked, state=EndpointState.ACTIVE, version=locked.version + 1))
            await tenants.bump_endpoints_version(tx, tenant)
            await endpoint_health.write(
                tx, {endpoint: standing.health.reset_after_enabling(clock())}, released={}
            )
            await enqueue.notify_due(tx, {(tenant, endpoint)})

    async def rotate(self, tenant: TenantId, endpoint: EndpointId) -> None:
        """Lock as other changes of an endpoint do: the endpoint, then its tenant."""
        async with self._ledger.transaction() as tx:
            locked = await endpoints.read(tx, tenant, endpoint, lock=True)
            assert locked is not None
            await endpoints.write(tx, replace(locked, version=locked.version + 1))
            await tenants.bump_endpoints_version(tx, tenant)

    async def recount(self) -> None:
        async with self._ledger.transaction() as tx:
            assert await endpoint_health.recount_in_flight(tx) == []


async def test_concurrent_health_updates_never_deadlock(ledger: Ledger, tenant: TenantId) -> None:
    others = await build.create_tenant(ledger)
    of = {await build.create_endpoint(ledger, each): each for each in (tenant, others) * 4}
    crowd = Crowd(ledger, list(of))
    result = [BAD, GOOD, GONE, AttemptSignal(Signal.CONGESTED, retry_after=timedelta(0)), BAD, LOST]
    for number in range(ROUNDS):
        await build.execute(ledger, FORGIVEN)
        await build.execute(ledger, "update endpoints set state = 'active'")
        await build.accept_events(ledger, tenant, 6)
        await build.accept_events(ledger, others, 6)
        lapsing, postponed, *rest = await crowd.in_hand()
        await build.expire_lease(ledger, lapsing[0])
        pairs = [(claim_id, work) for claim_id, works in rest for work in works]
        half = len(pairs) // 2
        endpoint, neighbour = list(of)[number % len(of)], list(of)[(number + 1) % len(of)]
        await asyncio.gather(
            crowd.record(pairs[:half], result),
            crowd.record(pairs[:half - 1:-1], result),
            build.rescue_lapsed(ledger),
            crowd.postpone(*postponed),
            crowd.claim_and_hand_back(),
            crowd.enable(of[endpoint], endpoint),
            crowd.rotate(of[neighbour], neighbour),
            crowd.recount(),
        )  # fmt: skip
    await crowd.recount()


async def test_concurrent_disabling_does_not_deadlock(ledger: Ledger, tenant: TenantId) -> None:
    others = await build.create_tenant(ledger)
    for _ in range(ROUNDS):
        first = [await build.create_endpoint(ledger, each) for each in (tenant, others)]
        second = [await build.create_endpoint(ledger, each) for each in (others, tenant)]
        await build.accept_event(ledger, tenant)
        await build.accept_event(ledger, others)
        groups = [[await build.claim_and_start(ledger, each) for each in both] for both in (first, second)]
        await asyncio.gather(
            *[
                health_attempts.record_attempts(
                    ledger, *[health_attempts.make_attempt_result(works[0], c, GONE) for c, works in group]
                )
                for group in groups
            ]
        )
        assert {(await state_of(ledger, each))[0] for each in (*first, *second)} == {"disabled"}
        await build.execute(ledger, "delete from schedule")
