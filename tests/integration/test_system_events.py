"""System events: their recipients and contents, and that they cause no further ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.clock import clock
from delivery.domain.ids import DeliveryId, EventId, Prefix, format_id, parse_id
from delivery.services.maintenance import MaintenanceService, MaxAges
from retries.breaker import BreakerConfig
from retries.health import Signal
from tests.support import health_attempts
from tests.support import ledger_builders as build
from tests.support.health_attempts import BAD, FAILURES_TO_OPEN, GONE, GOOD, AttemptSignal
from tests.support.ledger_builders import EndpointSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger

TYPES = (
    "endpoint.breaker_opened",
    "endpoint.breaker_closed",
    "endpoint.disabled",
    "endpoint.disable_warning",
    "delivery.failed",
)
DAY = timedelta(days=1)
OLDEST = timedelta(days=30)
SPENT = AttemptSignal(final_reason="schedule_spent")
# Failures that open no breaker, so that each has its own consequences only.
PATIENT = replace(health_attempts.HEALTH_TERMS, breaker=BreakerConfig(consecutive=1_000, minimum=1_000))


@dataclass(frozen=True, slots=True)
class Event:
    """A system event, and the endpoints that it is owed to."""

    id: EventId
    type: str
    body: dict[str, Any]
    created_at: datetime
    owed_to: set[EndpointId]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["data"]
        return found


@pytest.fixture
async def endpoint(ledger: Ledger, tenant: TenantId) -> EndpointId:
    """An endpoint without system events."""
    return await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("order.*",)))


async def events(ledger: Ledger, *types: str) -> list[Event]:
    """Load the events of these types, oldest first."""
    found = await build.fetch_rows(
        ledger,
        """
        select e.id, e.type, e.body, e.created_at, array_agg(d.endpoint_id) as owed_to
        from events e left join deliveries d on d.event_id = e.id
        where e.type = any (:types) group by e.id, e.type, e.body, e.created_at order by e.id
        """,
        types=list(types or TYPES),
    )
    return [
        Event(EventId(row.id), row.type, json.loads(bytes(row.body)), row.created_at, set(row.owed_to))
        for row in found
    ]


# ---- what happens
@dataclass(frozen=True, slots=True)
class Scene:
    """An endpoint with attempts; `operational` is what its worker knows."""

    ledger: Ledger
    tenant: TenantId
    endpoint: EndpointId
    operational: bool = False

    async def owe(self, count: int) -> None:
        """Create this many deliveries; a tenant's event would give an operational endpoint none."""
        for _ in range(count):
            event_id = await build.accept_event(self.ledger, self.tenant, "nobody.cares")
            await build.execute(self.ledger, OWED, id=event_id, tenant=self.tenant, endpoint=self.endpoint)

    async def attempt_each(self, *expected: AttemptSignal) -> None:
        """Record an attempt for each, in one transaction."""
        await self.owe(len(expected))
        (claim_id,) = (
            await build.claim_deliveries(self.ledger, [self.endpoint], take=len(expected))
        ).claim_ids
        works = await build.start_claim(self.ledger, claim_id)
        group = [
            health_attempts.make_attempt_result(work, claim_id, replace(each, operational=self.operational))
            for work, each in zip(works, expected, strict=True)
        ]
        await health_attempts.record_attempts(self.ledger, *group)


OWED = """
    with made as (
        insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, created_at)
        values (:id, :tenant, :id, :endpoint, 'nobody.cares', now())
    )
    insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
    values (:id, :tenant, :endpoint, :id, now())
"""


async def its_breaker_opens(scene: Scene) -> None:
    await scene.attempt_each(*[BAD] * FAILURES_TO_OPEN)


async def its_breaker_closes(scene: Scene) -> None:
    await its_breaker_opens(scene)
    await health_attempts.shift_into_past(scene.ledger, timedelta(minutes=1))
    await scene.attempt_each(GOOD)


async def it_is_gone(scene: Scene) -> None:
    await scene.attempt_each(GONE)


async def it_fails_for_long(scene: Scene) -> None:
    began = clock()
    await scene.attempt_each(*[AttemptSignal(at=began + days * DAY, terms=PATIENT) for days in (0, 3)])


async def its_delivery_is_spent(scene: Scene) -> None:
    await scene.attempt_each(SPENT)


async def its_delivery_expires(scene: Scene) -> None:
    await scene.owe(1)
    await run_maintenance(scene.ledger)


async def run_maintenance(ledger: Ledger) -> None:
    """Run a round of maintenance, a month and a day later."""
    later = MaintenanceService(ledger, MaxAges(DAY, OLDEST), clock=lambda: clock() + OLDEST + DAY)
    await later.run_round()
    assert await has_nothing_due(ledger)


async def has_nothing_due(ledger: Ledger) -> bool:
    """Whether only system events are scheduled."""
    return not await build.fetch_rows(
        ledger,
        """
        select 1 from schedule s join deliveries d on d.id = s.delivery_id
        where d.event_type <> all (:types) and s.claim_id is null
        """,
        types=list(TYPES),
    )


HAPPENINGS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "endpoint.breaker_opened": its_breaker_opens,
    "endpoint.breaker_closed": its_breaker_closes,
    "endpoint.disabled": it_is_gone,
    "endpoint.disable_warning": it_fails_for_long,
    "delivery.failed": its_delivery_is_spent,
}


async def listening(ledger: Ledger, tenant: TenantId, *patterns: str) -> EndpointId:
    """Create an operational endpoint that subscribes to these types, or to everything."""
    return await build.create_endpoint(
        ledger, tenant, EndpointSpec(filter=patterns or ("*",), operational=True)
    )


# ---- recipients
@pytest.mark.parametrize("type_", TYPES)
async def test_events_reach_the_subscribed_operational_endpoints(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, type_: str
) -> None:
    noun = type_.partition(".")[0]
    asking = {
        await listening(ledger, tenant),
        await listening(ledger, tenant, type_),
        await listening(ledger, tenant, "nothing", f"{noun}.*"),
    }
    await listening(ledger, tenant, "order.*")
    await listening(ledger, await build.create_tenant(ledger))
    await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("*",)))
    await build.create_endpoint(ledger, tenant, EndpointSpec(filter=(type_,)))
    await HAPPENINGS[type_](Scene(ledger, tenant, endpoint))
    (event,) = await events(ledger, type_)
    assert event.owed_to == asking
    found = await build.fetch_rows(
        ledger, "select endpoint_id from deliveries where event_type = :type", type=type_
    )
    assert len(found) == len(asking)


@pytest.mark.parametrize("type_", TYPES)
async def test_nothing_is_written_without_subscribers(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, type_: str
) -> None:
    await listening(ledger, tenant, "order.*")
    await listening(ledger, await build.create_tenant(ledger))
    await HAPPENINGS[type_](Scene(ledger, tenant, endpoint))
    assert await events(ledger, type_) == []


async def test_a_deleted_operational_endpoint_gets_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.delete_endpoint(ledger, tenant, await listening(ledger, tenant))
    await it_is_gone(Scene(ledger, tenant, endpoint))
    assert await events(ledger) == []


async def test_a_paused_operational_endpoint_gets_events_after_resuming(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    paused = await listening(ledger, tenant, "endpoint.*")
    await build.execute(ledger, "update endpoints set state = 'paused' where id = :id", id=paused)
    await it_is_gone(Scene(ledger, tenant, endpoint))
    assert (await build.claim_deliveries(ledger, [paused])).delivery_count == 0
    await build.execute(ledger, "update endpoints set state = 'active' where id = :id", id=paused)
    assert (await build.claim_deliveries(ledger, [paused])).delivery_count == 1


async def test_each_tenant_gets_events_of_its_own_endpoints(ledger: Ledger, tenant: TenantId) -> None:
    other = await build.create_tenant(ledger)
    claims, result = [], {}
    for each in (tenant, other):
        failing = await build.create_endpoint(ledger, each)
        result[await listening(ledger, each, "endpoint.*")] = failing
        claims.append(await health_attempts.start_deliveries(ledger, each, failing, 1))
    group = [
        health_attempts.make_attempt_result(work, claim_id, GONE)
        for claim_id, works in claims
        for work in works
    ]
    await health_attempts.record_attempts(ledger, *group)
    found = await events(ledger)
    assert {(min(event.owed_to), event.data["endpoint_id"]) for event in found} == {
        (listener, format_id(Prefix.ENDPOINT, failing)) for listener, failing in result.items()
    }


async def test_a_worker_delivers_it_like_any_other(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listener = await listening(ledger, tenant, "endpoint.disabled")
    await it_is_gone(Scene(ledger, tenant, endpoint))
    _, (work,) = await build.claim_and_start(ledger, listener)
    (event,) = await events(ledger)
    assert work.event_id == event.id
    assert json.loads(work.body or b"") == event.body


# ---- contents
async def load_event(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, type_: str
) -> tuple[Event, dict[str, Any]]:
    """Load the event and its data, after a check of the fields that all have."""
    await listening(ledger, tenant)
    began = clock()
    await HAPPENINGS[type_](Scene(ledger, tenant, endpoint))
    (event,) = await events(ledger, type_)
    assert event.body.keys() == {"type", "timestamp", "data"}
    assert event.body["type"] == type_
    assert abs(datetime.fromisoformat(event.body["timestamp"]) - event.created_at) < timedelta(milliseconds=1)
    data = dict(event.data)
    assert datetime.fromisoformat(data.pop("at")) >= began
    assert data.pop("endpoint_id") == format_id(Prefix.ENDPOINT, endpoint)
    assert data.pop("actor") == "waybill"
    return event, data


async def test_breaker_opened_has_reason_and_probe_time(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await load_event(ledger, tenant, endpoint, "endpoint.breaker_opened")
    breaker = (await health_attempts.read_health(ledger, endpoint)).health.breaker
    assert datetime.fromisoformat(data.pop("probe_at")) == breaker.probe_at
    assert data == {"reason": health_attempts.RETRY_REASON}


async def test_breaker_closed_has_the_time_of_opening(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    event, data = await load_event(ledger, tenant, endpoint, "endpoint.breaker_closed")
    open_for = event.created_at - datetime.fromisoformat(data.pop("opened_at"))
    assert timedelta(minutes=1) <= open_for < timedelta(minutes=2)
    assert data == {"reason": None}


async def test_disabled_has_the_reason(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    _, data = await load_event(ledger, tenant, endpoint, "endpoint.disabled")
    assert data == {"reason": "gone"}


async def test_disabled_for_failing_has_the_start(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await listening(ledger, tenant, "endpoint.disabled")
    began = clock()
    patient = replace(PATIENT, breaker=BreakerConfig(consecutive=4, minimum=1_000))
    result = [
        AttemptSignal(at=began + days * DAY, terms=patient, final_reason="schedule_spent")
        for days in (0, 1, 2)
    ]
    await Scene(ledger, tenant, endpoint).attempt_each(*result)
    await Scene(ledger, tenant, endpoint).attempt_each(AttemptSignal(at=began + 5 * DAY, terms=patient))
    (event,) = await events(ledger)
    assert event.data["reason"] == "failing"
    assert datetime.fromisoformat(event.data["failing_since"]) == began


async def test_failing_event_says_since_when_and_when_it_disables(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await load_event(ledger, tenant, endpoint, "endpoint.disable_warning")
    since = datetime.fromisoformat(data.pop("failing_since"))
    assert (
        datetime.fromisoformat(data.pop("disabled_at")) == since + health_attempts.HEALTH_TERMS.disable_after
    )
    assert data == {"reason": "failing", "percent": 50}


async def test_delivery_failed_event_has_delivery_attempts_and_last_response(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await load_event(ledger, tenant, endpoint, "delivery.failed")
    (delivery_id,) = await build.list_delivery_ids(ledger, endpoint)
    failed = await build.fetch_row(ledger, "select event_id from deliveries where id = :id", id=delivery_id)
    assert DeliveryId(parse_id(Prefix.DELIVERY, data.pop("delivery_id"))) == delivery_id
    assert parse_id(Prefix.EVENT, data.pop("event_id")) == failed.event_id
    assert data == {"reason": "schedule_spent", "attempts": 1, "outcome": "refused", "status": 503}


async def test_delivery_failed_says_that_it_expired(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listener = await listening(ledger, tenant, "delivery.failed")
    await its_delivery_expires(Scene(ledger, tenant, endpoint))
    (event,) = await events(ledger)
    assert event.owed_to == {listener}
    (delivery_id,) = await build.list_delivery_ids(ledger, endpoint)
    data = dict(event.data)
    assert data.pop("delivery_id") == format_id(Prefix.DELIVERY, delivery_id)
    assert data.pop("endpoint_id") == format_id(Prefix.ENDPOINT, endpoint)
    assert data.keys() == {"at", "actor", "reason", "event_id", "attempts"}
    assert (data["actor"], data["reason"], data["attempts"]) == ("waybill", "expired", 0)


@pytest.mark.parametrize("reason", ["too_large", "permanent_status"])
async def test_a_permanent_refusal_is_a_failed_delivery(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, reason: str
) -> None:
    await listening(ledger, tenant, "delivery.failed")
    result = [AttemptSignal(Signal.ALIVE, final_reason=reason)]
    await Scene(ledger, tenant, endpoint).attempt_each(*result)
    (event,) = await events(ledger)
    assert event.data["reason"] == reason


async def test_a_retried_delivery_has_not_failed(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await listening(ledger, tenant)
    await Scene(ledger, tenant, endpoint).attempt_each(BAD, GOOD)
    assert await events(ledger) == []


async def test_each_failed_delivery_has_one_event(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await listening(ledger, tenant, "delivery.failed")
    result = [replace(SPENT, terms=PATIENT)] * 5
    await Scene(ledger, tenant, endpoint).attempt_each(*result)
    failed = {event.data["delivery_id"] for event in await events(ledger)}
    assert failed == {
        format_id(Prefix.DELIVERY, id_) for id_ in await build.list_delivery_ids(ledger, endpoint)
    }
    assert len(await events(ledger)) == 5


# ---- no further events
@pytest.mark.parametrize(
    "happens",
    [
        its_breaker_opens,
        its_breaker_closes,
        it_is_gone,
        it_fails_for_long,
        its_delivery_is_spent,
        its_delivery_expires,
    ],
)
async def test_operational_endpoint_changes_send_no_system_events(
    ledger: Ledger, tenant: TenantId, happens: Callable[[Scene], Awaitable[None]]
) -> None:
    failing = await listening(ledger, tenant)
    await listening(ledger, tenant)
    await happens(Scene(ledger, tenant, failing, operational=True))
    assert await events(ledger) == []


async def test_an_operational_endpoint_has_a_journal(ledger: Ledger, tenant: TenantId) -> None:
    failing = await listening(ledger, tenant)
    await its_breaker_closes(Scene(ledger, tenant, failing, operational=True))
    await it_is_gone(Scene(ledger, tenant, failing, operational=True))
    found = await build.fetch_rows(ledger, "select what from journal order by id")
    assert [row.what for row in found] == [
        "endpoint.breaker_opened",
        "endpoint.breaker_closed",
        "endpoint.disabled",
    ]


async def test_failed_system_event_deliveries_create_no_further_events(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listeners = [await listening(ledger, tenant) for _ in range(2)]
    await Scene(ledger, tenant, endpoint).attempt_each(SPENT, SPENT, GONE)
    before = await events(ledger)
    for listener in listeners:
        claim_id, works = await build.claim_and_start(ledger, listener)
        assert len(works) == len(before)
        spent = replace(SPENT, operational=True)
        await health_attempts.record_attempts(
            ledger, *[health_attempts.make_attempt_result(work, claim_id, spent) for work in works]
        )
    assert await events(ledger) == before
    assert await build.is_schedule_empty(ledger)


async def test_mixed_group_sends_system_events_only_for_ordinary_endpoints(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listener = await listening(ledger, tenant)
    await Scene(ledger, tenant, listener).owe(1)
    loud, (work,) = await health_attempts.start_deliveries(ledger, tenant, endpoint, 1)
    quiet, (own,) = await build.claim_and_start(ledger, listener)
    group = [
        health_attempts.make_attempt_result(work, loud, SPENT),
        health_attempts.make_attempt_result(own, quiet, replace(SPENT, operational=True)),
    ]
    await health_attempts.record_attempts(ledger, *group)
    (event,) = await events(ledger)
    assert event.data["endpoint_id"] == format_id(Prefix.ENDPOINT, endpoint)


async def test_a_tenant_s_own_event_of_such_a_type_goes_to_ordinary_endpoints(
    ledger: Ledger, tenant: TenantId
) -> None:
    await listening(ledger, tenant)
    await listening(ledger, tenant, "delivery.failed")
    ordinary = {
        await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("delivery.failed",))),
        await build.create_endpoint(ledger, tenant),
    }
    await build.accept_event(ledger, tenant, "delivery.failed", b'{"van":7}')
    (event,) = await events(ledger)
    assert event.owed_to == ordinary
    assert event.data == {"van": 7}
