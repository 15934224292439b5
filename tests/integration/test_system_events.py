"""What the engine tells a tenant by events: to whom, in which words, and that nothing comes of telling."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.bootstrap import clock
from delivery.model import DeliveryId, EventId, Prefix, parse_id, show_id
from retries.breaker import BreakerTerms
from retries.policy import Signal
from tests.support import judging
from tests.support import ledger as on
from tests.support.judging import BAD, GONE, GOOD, OPENS_AT, Told
from tests.support.ledger import Wanted
from workers.upkeep import Ages, Upkeep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId

TYPES = (
    "endpoint.breaker_opened",
    "endpoint.breaker_closed",
    "endpoint.disabled",
    "endpoint.disable_warning",
    "delivery.failed",
)
DAY = timedelta(days=1)
OLDEST = timedelta(days=30)
SPENT = Told(final="schedule_spent")
# Failures that open no breaker: this is about what comes of each alone.
PATIENT = replace(judging.TERMS, breaker=BreakerTerms(consecutive=1_000, minimum=1_000))


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the engine's own, and whom it is owed to."""

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
    """One that asks for nothing of what the engine says."""
    return await on.new_endpoint(ledger, tenant, Wanted(filter=("order.*",)))


async def events(ledger: Ledger, *types: str) -> list[Event]:
    """The events of these types, oldest first."""
    found = await on.rows(
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


# ---- what can happen
@dataclass(frozen=True, slots=True)
class Scene:
    """An endpoint to which something happens; `operational` is what its worker knows of it."""

    ledger: Ledger
    tenant: TenantId
    endpoint: EndpointId
    operational: bool = False

    async def owe(self, count: int) -> None:
        """Make so many deliveries; by an event of its tenant an operational endpoint would get none."""
        for _ in range(count):
            event_id = await on.accept(self.ledger, self.tenant, "nobody.cares")
            await on.change(self.ledger, OWED, id=event_id, tenant=self.tenant, endpoint=self.endpoint)

    async def attempt_each(self, *told: Told) -> None:
        """An attempt for each, judged one after the other in one transaction."""
        await self.owe(len(told))
        (claim_id,) = (await on.claim(self.ledger, [self.endpoint], take=len(told))).claims
        works = await on.start(self.ledger, claim_id)
        group = [
            judging.ended(work, claim_id, replace(each, operational=self.operational))
            for work, each in zip(works, told, strict=True)
        ]
        await judging.record(self.ledger, *group)


OWED = """
    with made as (
        insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, created_at)
        values (:id, :tenant, :id, :endpoint, 'nobody.cares', now())
    )
    insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
    values (:id, :tenant, :endpoint, :id, now())
"""


async def its_breaker_opens(scene: Scene) -> None:
    await scene.attempt_each(*[BAD] * OPENS_AT)


async def its_breaker_closes(scene: Scene) -> None:
    await its_breaker_opens(scene)
    await judging.time_passes(scene.ledger, timedelta(minutes=1))
    await scene.attempt_each(GOOD)


async def it_is_gone(scene: Scene) -> None:
    await scene.attempt_each(GONE)


async def it_fails_for_long(scene: Scene) -> None:
    began = clock()
    await scene.attempt_each(*[Told(at=began + days * DAY, terms=PATIENT) for days in (0, 3)])


async def its_delivery_is_spent(scene: Scene) -> None:
    await scene.attempt_each(SPENT)


async def its_delivery_expires(scene: Scene) -> None:
    await scene.owe(1)
    await upkept(scene.ledger)


async def upkept(ledger: Ledger) -> None:
    """Let the relay's upkeep do its round, a month and a day later."""
    upkeep = Upkeep(ledger, Ages(DAY, OLDEST), clock=lambda: clock() + OLDEST + DAY)
    running = asyncio.create_task(upkeep.run())
    await on.until(lambda: nothing_old(ledger))
    running.cancel()
    await asyncio.wait([running])


async def nothing_old(ledger: Ledger) -> bool:
    """Whether nothing is scheduled but what the engine has to say of it."""
    return not await on.rows(
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
    """An operational endpoint that asks for these types, or for everything."""
    return await on.new_endpoint(ledger, tenant, Wanted(filter=patterns or ("*",), operational=True))


# ---- to whom
@pytest.mark.parametrize("type_", TYPES)
async def test_it_reaches_exactly_the_tenant_s_operational_endpoints_that_ask_for_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, type_: str
) -> None:
    noun = type_.partition(".")[0]
    asking = {
        await listening(ledger, tenant),
        await listening(ledger, tenant, type_),
        await listening(ledger, tenant, "nothing", f"{noun}.*"),
    }
    await listening(ledger, tenant, "order.*")
    await listening(ledger, await on.new_tenant(ledger))
    await on.new_endpoint(ledger, tenant, Wanted(filter=("*",)))
    await on.new_endpoint(ledger, tenant, Wanted(filter=(type_,)))
    await HAPPENINGS[type_](Scene(ledger, tenant, endpoint))
    (event,) = await events(ledger, type_)
    assert event.owed_to == asking
    found = await on.rows(ledger, "select endpoint_id from deliveries where event_type = :type", type=type_)
    assert len(found) == len(asking)


@pytest.mark.parametrize("type_", TYPES)
async def test_nothing_is_written_when_nobody_asks(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, type_: str
) -> None:
    await listening(ledger, tenant, "order.*")
    await listening(ledger, await on.new_tenant(ledger))
    await HAPPENINGS[type_](Scene(ledger, tenant, endpoint))
    assert await events(ledger, type_) == []


async def test_a_deleted_operational_endpoint_is_told_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.delete_endpoint(ledger, tenant, await listening(ledger, tenant))
    await it_is_gone(Scene(ledger, tenant, endpoint))
    assert await events(ledger) == []


async def test_a_paused_operational_endpoint_is_told_when_it_is_resumed(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    paused = await listening(ledger, tenant, "endpoint.*")
    await on.change(ledger, "update endpoints set state = 'paused' where id = :id", id=paused)
    await it_is_gone(Scene(ledger, tenant, endpoint))
    assert (await on.claim(ledger, [paused])).size == 0
    await on.change(ledger, "update endpoints set state = 'active' where id = :id", id=paused)
    assert (await on.claim(ledger, [paused])).size == 1


async def test_each_tenant_is_told_of_its_own_endpoints(ledger: Ledger, tenant: TenantId) -> None:
    other = await on.new_tenant(ledger)
    claims, told = [], {}
    for each in (tenant, other):
        failing = await on.new_endpoint(ledger, each)
        told[await listening(ledger, each, "endpoint.*")] = failing
        claims.append(await judging.under_way(ledger, each, failing, 1))
    group = [judging.ended(work, claim_id, GONE) for claim_id, works in claims for work in works]
    await judging.record(ledger, *group)
    found = await events(ledger)
    assert {(min(event.owed_to), event.data["endpoint_id"]) for event in found} == {
        (listener, show_id(Prefix.ENDPOINT, failing)) for listener, failing in told.items()
    }


async def test_a_worker_gets_it_like_any_other_delivery(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listener = await listening(ledger, tenant, "endpoint.disabled")
    await it_is_gone(Scene(ledger, tenant, endpoint))
    _, (work,) = await on.claim_and_start(ledger, listener)
    (event,) = await events(ledger)
    assert work.event_id == event.id
    assert json.loads(work.body or b"") == event.body


# ---- in which words
async def told_of(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, type_: str
) -> tuple[Event, dict[str, Any]]:
    """The event and its data, without what all have in common, which is checked here."""
    await listening(ledger, tenant)
    began = clock()
    await HAPPENINGS[type_](Scene(ledger, tenant, endpoint))
    (event,) = await events(ledger, type_)
    assert event.body.keys() == {"type", "timestamp", "data"}
    assert event.body["type"] == type_
    assert abs(datetime.fromisoformat(event.body["timestamp"]) - event.created_at) < timedelta(milliseconds=1)
    data = dict(event.data)
    assert datetime.fromisoformat(data.pop("at")) >= began
    assert data.pop("endpoint_id") == show_id(Prefix.ENDPOINT, endpoint)
    assert data.pop("actor") == "waybill"
    return event, data


async def test_of_a_breaker_that_opened_it_tells_why_and_when_it_is_probed(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await told_of(ledger, tenant, endpoint, "endpoint.breaker_opened")
    breaker = (await judging.read(ledger, endpoint)).health.breaker
    assert datetime.fromisoformat(data.pop("probe_at")) == breaker.probe_at
    assert data == {"reason": judging.REASON}


async def test_of_a_breaker_that_closed_it_tells_since_when_it_was_open(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    event, data = await told_of(ledger, tenant, endpoint, "endpoint.breaker_closed")
    open_for = event.created_at - datetime.fromisoformat(data.pop("opened_at"))
    assert timedelta(minutes=1) <= open_for < timedelta(minutes=2)
    assert data == {"reason": None}


async def test_of_a_disabled_endpoint_it_tells_the_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await told_of(ledger, tenant, endpoint, "endpoint.disabled")
    assert data == {"reason": "gone"}


async def test_of_an_endpoint_disabled_for_failing_it_tells_since_when_it_failed(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await listening(ledger, tenant, "endpoint.disabled")
    began = clock()
    patient = replace(PATIENT, breaker=BreakerTerms(consecutive=4, minimum=1_000))
    told = [Told(at=began + days * DAY, terms=patient, final="schedule_spent") for days in (0, 1, 2)]
    await Scene(ledger, tenant, endpoint).attempt_each(*told)
    await Scene(ledger, tenant, endpoint).attempt_each(Told(at=began + 5 * DAY, terms=patient))
    (event,) = await events(ledger)
    assert event.data["reason"] == "failing"
    assert datetime.fromisoformat(event.data["failing_since"]) == began


async def test_of_an_endpoint_that_only_fails_it_tells_since_when_and_when_it_will_be_disabled(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await told_of(ledger, tenant, endpoint, "endpoint.disable_warning")
    since = datetime.fromisoformat(data.pop("failing_since"))
    assert datetime.fromisoformat(data.pop("disabled_at")) == since + judging.TERMS.disable_after
    assert data == {"reason": "failing", "percent": 50}


async def test_of_a_failed_delivery_it_tells_which_one_after_how_many_attempts_and_the_last_answer(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    _, data = await told_of(ledger, tenant, endpoint, "delivery.failed")
    (delivery_id,) = await on.delivery_ids(ledger, endpoint)
    failed = await on.row(ledger, "select event_id from deliveries where id = :id", id=delivery_id)
    assert DeliveryId(parse_id(Prefix.DELIVERY, data.pop("delivery_id"))) == delivery_id
    assert parse_id(Prefix.EVENT, data.pop("event_id")) == failed.event_id
    assert data == {"reason": "schedule_spent", "attempts": 1, "outcome": "refused", "status": 503}


async def test_of_an_expired_delivery_it_tells_that_it_expired(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listener = await listening(ledger, tenant, "delivery.failed")
    await its_delivery_expires(Scene(ledger, tenant, endpoint))
    (event,) = await events(ledger)
    assert event.owed_to == {listener}
    (delivery_id,) = await on.delivery_ids(ledger, endpoint)
    data = dict(event.data)
    assert data.pop("delivery_id") == show_id(Prefix.DELIVERY, delivery_id)
    assert data.pop("endpoint_id") == show_id(Prefix.ENDPOINT, endpoint)
    assert data.keys() == {"at", "actor", "reason", "event_id", "attempts"}
    assert (data["actor"], data["reason"], data["attempts"]) == ("waybill", "expired", 0)


@pytest.mark.parametrize("reason", ["too_large", "permanent_status"])
async def test_a_delivery_that_is_refused_for_good_has_failed_too(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, reason: str
) -> None:
    await listening(ledger, tenant, "delivery.failed")
    told = [Told(Signal.ALIVE, final=reason)]
    await Scene(ledger, tenant, endpoint).attempt_each(*told)
    (event,) = await events(ledger)
    assert event.data["reason"] == reason


async def test_a_delivery_that_is_to_be_tried_again_has_not_failed(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await listening(ledger, tenant)
    await Scene(ledger, tenant, endpoint).attempt_each(BAD, GOOD)
    assert await events(ledger) == []


async def test_each_failed_delivery_is_told_of_once(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await listening(ledger, tenant, "delivery.failed")
    told = [replace(SPENT, terms=PATIENT)] * 5
    await Scene(ledger, tenant, endpoint).attempt_each(*told)
    failed = {event.data["delivery_id"] for event in await events(ledger)}
    assert failed == {show_id(Prefix.DELIVERY, id_) for id_ in await on.delivery_ids(ledger, endpoint)}
    assert len(await events(ledger)) == 5


# ---- nothing comes of it
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
async def test_what_happens_to_an_operational_endpoint_is_told_to_nobody(
    ledger: Ledger, tenant: TenantId, happens: Callable[[Scene], Awaitable[None]]
) -> None:
    failing = await listening(ledger, tenant)
    await listening(ledger, tenant)
    await happens(Scene(ledger, tenant, failing, operational=True))
    assert await events(ledger) == []


async def test_an_operational_endpoint_s_journal_is_kept_all_the_same(
    ledger: Ledger, tenant: TenantId
) -> None:
    failing = await listening(ledger, tenant)
    await its_breaker_closes(Scene(ledger, tenant, failing, operational=True))
    await it_is_gone(Scene(ledger, tenant, failing, operational=True))
    found = await on.rows(ledger, "select what from journal order by id")
    assert [row.what for row in found] == [
        "endpoint.breaker_opened",
        "endpoint.breaker_closed",
        "endpoint.disabled",
    ]


async def test_telling_ends_when_everybody_who_is_told_fails_for_good(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listeners = [await listening(ledger, tenant) for _ in range(2)]
    await Scene(ledger, tenant, endpoint).attempt_each(SPENT, SPENT, GONE)
    before = await events(ledger)
    for listener in listeners:
        claim_id, works = await on.claim_and_start(ledger, listener)
        assert len(works) == len(before)
        spent = replace(SPENT, operational=True)
        await judging.record(ledger, *[judging.ended(work, claim_id, spent) for work in works])
    assert await events(ledger) == before
    assert await on.nothing_scheduled(ledger)


async def test_of_operational_and_other_endpoints_in_one_record_only_the_others_are_told_of(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    listener = await listening(ledger, tenant)
    await Scene(ledger, tenant, listener).owe(1)
    loud, (work,) = await judging.under_way(ledger, tenant, endpoint, 1)
    quiet, (own,) = await on.claim_and_start(ledger, listener)
    group = [judging.ended(work, loud, SPENT), judging.ended(own, quiet, replace(SPENT, operational=True))]
    await judging.record(ledger, *group)
    (event,) = await events(ledger)
    assert event.data["endpoint_id"] == show_id(Prefix.ENDPOINT, endpoint)


async def test_a_tenant_s_own_event_of_such_a_type_goes_to_its_own_endpoints_alone(
    ledger: Ledger, tenant: TenantId
) -> None:
    await listening(ledger, tenant)
    await listening(ledger, tenant, "delivery.failed")
    ordinary = {
        await on.new_endpoint(ledger, tenant, Wanted(filter=("delivery.failed",))),
        await on.new_endpoint(ledger, tenant),
    }
    await on.accept(ledger, tenant, "delivery.failed", b'{"van":7}')
    (event,) = await events(ledger)
    assert event.owed_to == ordinary
    assert event.data == {"van": 7}
