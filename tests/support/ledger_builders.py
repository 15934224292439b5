"""Builders for tests on a real ledger: tenants, endpoints with sealed secrets, events, claims and results."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.clock import clock
from delivery.destinations.http.auth import parse_credentials
from delivery.domain.attempt import Attempt, Timings
from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.endpoint import Endpoint, EndpointLimits, EndpointState, Signature
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.domain.ids import (
    AttemptId,
    ClaimId,
    DeliveryId,
    EndpointId,
    EventId,
    Prefix,
    TenantId,
    new_id,
    parse_id,
)
from delivery.domain.secret_box import SecretBox, SecretKeys
from delivery.domain.tenant import Tenant
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from delivery.ledger.queue import claims, endpoint_health, enqueue
from delivery.ledger.queue import results as recording
from delivery.ledger.queue.results import DeliveryFinished, DeliveryRescheduled, RecordedAttempt
from delivery.ledger.records import endpoint_secrets, endpoints, tenants
from delivery.pipeline import claiming
from delivery.pipeline.claiming import ClaimConfig, ClaimRound, OpenClaim, Quota
from delivery.pipeline.health_update import FinishedAttempt, apply_results
from delivery.pipeline.intake import Intake
from delivery.pipeline.parsing import IntakeLimits, NewEvent
from delivery.services.endpoints.authentication import with_auth
from delivery.services.endpoints.identity import with_identity
from delivery.services.endpoints.sealing import seal_headers, seal_secret
from delivery.services.maintenance import MaintenanceService, MaxAges
from retries.health import Health, HealthConfig, HealthSample, Signal
from retries.limit import InFlightLimit
from signing import generate_hmac

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Row

    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.ledger.db.session import Transaction
    from delivery.ledger.queue.claims import ClaimedDelivery
    from signing import Secret

BOX = SecretBox.from_keys(SecretKeys.parse(base64.b64encode(bytes(range(32))).decode()))
SECRET = generate_hmac(b"s" * 32)
LIMITS = IntakeLimits()
LEASE = timedelta(seconds=45)
QUEUE_LEASE = timedelta(seconds=20)
# Nothing is sent there: tests that send say where to.
DEAD_URL = "http://127.0.0.1:9/hook"
# So many in flight that no test reaches it that is not about it.
HIGH_IN_FLIGHT = 10_000
GONE_STATUS = 410
UNLIMITED = EndpointLimits(in_flight=HIGH_IN_FLIGHT)


@asynccontextmanager
async def open_ledger(url: str, *, pool_size: int = 8) -> AsyncIterator[Ledger]:
    """A ledger on a migrated database, with its partitions; closed at the end."""
    ledger = Ledger(url, pool_size=pool_size, application_name="waybill test")
    try:
        async with ledger.transaction() as tx:
            await partitions.ensure_partitions(tx, now=clock())
        yield ledger
    finally:
        await ledger.close()


# Most tables and partitions have no pages, so no rows. `replica` switches off the journal's trigger.
_EMPTY_TABLES = text(
    """
    do $$
    declare name text;
    begin
        set local session_replication_role = replica;
        for name in
            select format('%I', relname) from pg_class
            where relnamespace = 'public'::regnamespace and relkind = 'r'
                and relname <> 'alembic_version' and pg_relation_size(oid) > 0
        loop
            execute 'delete from ' || name;
        end loop;
    end $$
    """
)


async def empty_ledger(ledger: Ledger) -> None:
    """Delete every row."""
    async with ledger.transaction() as tx:
        await tx.execute(_EMPTY_TABLES)


async def fetch_rows(ledger: Ledger, statement: str, **values: object) -> Sequence[Row[*tuple[Any, ...]]]:
    """Fetch the rows of a test's query."""
    async with ledger.transaction() as tx:
        return (await tx.execute(text(statement), values)).all()


async def fetch_row(ledger: Ledger, statement: str, **values: object) -> Row[*tuple[Any, ...]]:
    """The one row that a query of the test's own finds."""
    (only,) = await fetch_rows(ledger, statement, **values)
    return only


async def execute(ledger: Ledger, statement: str, **values: object) -> None:
    """Change rows behind the engine's back."""
    async with ledger.transaction() as tx:
        await tx.execute(text(statement), values)


async def create_tenant(ledger: Ledger) -> TenantId:
    """A tenant without endpoints."""
    tenant = Tenant(TenantId(new_id()), "a tenant", clock())
    async with ledger.transaction() as tx:
        await tenants.insert(tx, tenant)
    return tenant.id


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """How an endpoint of a test is to be."""

    url: str = DEAD_URL
    filter: tuple[str, ...] = ("*",)
    headers: Mapping[str, str] | None = None
    auth: Mapping[str, str] | None = None
    identity: ClientIdentity | None = None
    schedule: tuple[timedelta, ...] | None = None
    timeout: timedelta | None = None
    secret: Secret = SECRET
    box: SecretBox = BOX
    operational: bool = False
    format: PayloadFormat = PayloadFormat.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    limits: EndpointLimits = UNLIMITED
    channels: tuple[str, ...] = ()
    condition: str | None = None


async def create_endpoint(
    ledger: Ledger, tenant_id: TenantId, spec: EndpointSpec | None = None
) -> EndpointId:
    """An active endpoint with one sealed secret; accepters hear of it as they do in production."""
    spec = spec or EndpointSpec()
    endpoint_id, now = EndpointId(new_id()), clock()
    endpoint = Endpoint(
        id=endpoint_id,
        tenant_id=tenant_id,
        url=spec.url,
        description="",
        filter=spec.filter,
        state=EndpointState.ACTIVE,
        state_reason=None,
        state_actor="test",
        state_changed_at=now,
        **seal_headers(spec.box, tenant_id, endpoint_id, spec.headers or {}),
        signature=Signature.V1,
        schedule=spec.schedule,
        timeout=spec.timeout,
        operational=spec.operational,
        format=spec.format,
        payload=spec.payload,
        limits=spec.limits,
        version=1,
        created_at=now,
        updated_at=now,
        channels=spec.channels,
        condition=spec.condition,
    )
    if spec.auth is not None:
        endpoint = with_auth(spec.box, endpoint, parse_credentials(spec.auth))
    endpoint = with_identity(spec.box, endpoint, spec.identity)
    async with ledger.transaction() as tx:
        await tenants.bump_endpoints_version(tx, tenant_id)
        await endpoints.insert(tx, endpoint)
        # At full speed from the start, unless its limits say otherwise.
        most = spec.limits.in_flight or HIGH_IN_FLIGHT
        at_speed = replace(Health.fresh(now, max_in_flight=most), limit=InFlightLimit(most, ramping=False))
        await endpoint_health.insert(tx, endpoint_id, at_speed, now=now)
        await endpoint_secrets.insert(tx, seal_secret(spec.box, endpoint, spec.secret, now=now).secret)
    return endpoint_id


async def rotate_secret(ledger: Ledger, tenant_id: TenantId, endpoint_id: EndpointId, secret: Secret) -> None:
    """Give an endpoint a newer secret; the older ones sign for another hour."""
    now = clock()
    async with ledger.transaction() as tx:
        endpoint = await endpoints.read(tx, tenant_id, endpoint_id, lock=True)
        assert endpoint is not None
        await endpoint_secrets.expire(tx, tenant_id, endpoint_id, until=now + timedelta(hours=1))
        await endpoint_secrets.insert(tx, seal_secret(BOX, endpoint, secret, now=now).secret)
        await endpoints.write(tx, replace(endpoint, version=endpoint.version + 1))


async def set_state(ledger: Ledger, endpoint_id: EndpointId, state: EndpointState) -> None:
    """Pause, disable or resume an endpoint."""
    await execute(
        ledger,
        "update endpoints set state = :state, version = version + 1 where id = :id",
        state=state,
        id=endpoint_id,
    )


async def notify_due(ledger: Ledger, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """Tell the relay that an endpoint may have something due."""
    async with ledger.transaction() as tx:
        await enqueue.notify_due(tx, {(tenant_id, endpoint_id)})


async def delete_endpoint(ledger: Ledger, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """Delete an endpoint, as its owner does."""
    async with ledger.transaction() as tx:
        await endpoints.delete(tx, tenant_id, endpoint_id, at=clock())
        await tenants.bump_endpoints_version(tx, tenant_id)
        await enqueue.notify_due(tx, {(tenant_id, endpoint_id)})


def make_intake(ledger: Ledger) -> Intake:
    """The intake of one web process."""
    return Intake(ledger, limits=LIMITS, clock=clock)


def make_maintenance(ledger: Ledger) -> MaintenanceService:
    """Maintenance under which nothing that a test makes is too old."""
    return MaintenanceService(ledger, MaxAges(timedelta(days=1), timedelta(days=30)), clock=clock)


async def accept_event(
    ledger: Ledger, tenant_id: TenantId, type_: str = "order.created", data: bytes = b"{}"
) -> EventId:
    """Accept one event through an intake of its own."""
    accepted = await make_intake(ledger).accept_events(tenant_id, [NewEvent(type_, data)], single=True)
    return EventId(parse_id(Prefix.EVENT, json.loads(accepted.response_body)["id"]))


async def accept_events(ledger: Ledger, tenant_id: TenantId, count: int) -> None:
    """Accept a batch of events that differ in nothing but their number."""
    events = [NewEvent("order.created", b"%d" % number) for number in range(count)]
    await make_intake(ledger).accept_events(tenant_id, events, single=False)


async def claim_deliveries(
    ledger: Ledger,
    endpoint_ids: Iterable[EndpointId],
    *,
    take: int = 100,
    batch: int = 100,
    lease: timedelta = QUEUE_LEASE,
    lane: Priority = Priority.LIVE,
) -> ClaimRound:
    """Claim what is due for these endpoints, in a transaction of its own."""
    async with ledger.transaction() as tx:
        return await claim_in_transaction(tx, endpoint_ids, take=take, batch=batch, lease=lease, lane=lane)


async def claim_in_transaction(  # noqa: PLR0913  as a relay may
    tx: Transaction,
    endpoint_ids: Iterable[EndpointId],
    *,
    take: int = 100,
    batch: int = 100,
    lease: timedelta = QUEUE_LEASE,
    lane: Priority = Priority.LIVE,
    open_claim: OpenClaim | None = None,
) -> ClaimRound:
    """Claim what is due for these endpoints within a transaction, which may have begun a claim."""
    quotas = [Quota(endpoint_id, take) for endpoint_id in endpoint_ids]
    return await claiming.claim_deliveries(
        tx, quotas, ClaimConfig(lane, batch, lease, HIGH_IN_FLIGHT), open_claim=open_claim
    )


async def start_claim(
    ledger: Ledger, claim_id: ClaimId, *, lease: timedelta = LEASE
) -> list[ClaimedDelivery]:
    """Start a claim as a worker does."""
    async with ledger.autocommit() as door:
        return await claims.start_claim(door, claim_id, worker="worker 1", lease=lease)


async def claim_and_start(
    ledger: Ledger, endpoint_id: EndpointId, *, lane: Priority = Priority.LIVE
) -> tuple[ClaimId, list[ClaimedDelivery]]:
    """Claim all that is due for an endpoint, as one claim, and start it."""
    taken = await claim_deliveries(ledger, [endpoint_id], lane=lane)
    (claim_id,) = taken.claim_ids
    return claim_id, await start_claim(ledger, claim_id)


async def expire_lease(ledger: Ledger, claim_id: ClaimId) -> None:
    """Let a claim's lease be over."""
    await execute(
        ledger,
        "update claims set lease_until = clock_timestamp() - interval '1 s' where id = :id",
        id=claim_id,
    )


async def rescue_lapsed(ledger: Ledger) -> claims.RescueResult:
    """Take back what lapsed, as the relay does."""
    async with ledger.transaction() as tx:
        return await claims.rescue_claims(tx)


async def record_results(ledger: Ledger, *results: RecordedAttempt) -> set[ClaimId]:
    """Record and judge results in one transaction; returns the claims that were rescued meanwhile."""
    group = [make_attempt_result(result) for result in results]
    async with ledger.transaction() as tx:
        recorded = await recording.record_attempts(tx, results)
        await apply_results(tx, group, recorded, rng=lambda: 0.0)
    return recorded.orphaned_claims


def make_attempt_result(result: RecordedAttempt, *, lane: Priority = Priority.LIVE) -> FinishedAttempt:
    """A result with what it tells of its endpoint: that it is well, or with 410 that it is gone."""
    attempt = result.attempt
    good = attempt.outcome == "delivered"
    return FinishedAttempt(
        result,
        HealthSample(Signal.GOOD if good else Signal.ALIVE, attempt.started_at, clock()),
        HealthConfig(max_in_flight=HIGH_IN_FLIGHT),
        operational=False,
        disable_reason="gone" if attempt.status == GONE_STATUS else None,
        priority=lane,
    )


def make_attempt(work: ClaimedDelivery, *, status: int = 200) -> Attempt:
    """An attempt for this delivery, as one that went well."""
    return Attempt(
        id=AttemptId(new_id()),
        delivery_id=work.delivery_id,
        tenant_id=work.tenant_id,
        endpoint_id=work.endpoint_id,
        event_id=work.event_id,
        number=work.attempts + 1,
        claimed_at=work.claimed_at,
        started_at=clock(),
        timings=Timings(total=timedelta(milliseconds=5)),
        url=DEAD_URL,
        address="127.0.0.1",
        request_headers={"content-type": "application/json"},
        body_sha256=work.body_sha256,
        key_ids=("key",),
        status=status,
        response_headers=(("server", "test"),),
        response_body=b"ok",
        response_truncated=False,
        outcome="delivered",
        detail="The endpoint answered.",
        decision="succeed",
        reason="delivered",
        next_due_at=None,
        worker="worker 1",
    )


def make_success(work: ClaimedDelivery, claim_id: ClaimId) -> RecordedAttempt:
    """The result of a delivery that was taken."""
    return RecordedAttempt(
        claim_id, make_attempt(work), DeliveryFinished(DeliveryStatus.SUCCEEDED, "delivered", clock())
    )


def make_failure(work: ClaimedDelivery, claim_id: ClaimId, *, is_gone: bool = False) -> RecordedAttempt:
    """The result of a delivery that was refused for good; `gone`: the endpoint wants no more at all."""
    attempt = replace(make_attempt(work, status=GONE_STATUS if is_gone else 413), outcome="refused")
    final = DeliveryFinished(DeliveryStatus.FAILED, "gone" if is_gone else "too_large", clock())
    return RecordedAttempt(claim_id, attempt, final)


def make_retry(
    work: ClaimedDelivery, claim_id: ClaimId, *, delay: timedelta = timedelta(0), steps: int = 1
) -> RecordedAttempt:
    """The result of a delivery that is to be tried again."""
    attempt = replace(make_attempt(work, status=503), outcome="refused", decision="retry")
    return RecordedAttempt(claim_id, attempt, DeliveryRescheduled(clock() + delay, work.step + steps))


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """Where a delivery stands in both of its rows; what is None has no row in `schedule`."""

    status: str
    reason: str | None
    attempts: int
    scheduled: bool
    claim_id: ClaimId | None
    due_at: datetime | None
    step: int | None
    recorded: int


async def read_delivery_state(ledger: Ledger, delivery_id: DeliveryId) -> DeliveryState:
    """Where a delivery stands; `recorded` counts its attempts."""
    found = await fetch_row(
        ledger,
        """
        select d.status, d.reason, coalesce(s.attempts, d.attempts), s.delivery_id is not null, s.claim_id,
               s.due_at, s.step, (select count(*) from attempts a where a.delivery_id = d.id)
        from deliveries d left join schedule s on s.delivery_id = d.id
        where d.id = :id
        """,
        id=delivery_id,
    )
    return DeliveryState(*found)


async def list_delivery_ids(ledger: Ledger, endpoint_id: EndpointId) -> list[DeliveryId]:
    """The deliveries of an endpoint, oldest first."""
    found = await fetch_rows(
        ledger, "select id from deliveries where endpoint_id = :id order by id", id=endpoint_id
    )
    return [DeliveryId(each.id) for each in found]


async def wait_until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    """Ask again and again until the answer is yes; TimeoutError when it never is."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


async def has_lock_waiter(ledger: Ledger) -> bool:
    """Whether any connection to this database waits for what another one holds."""
    found = await fetch_row(
        ledger,
        """
        select exists (select 1 from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock')
        """,
    )
    return bool(found[0])


async def is_everything_claimed(ledger: Ledger) -> bool:
    """Whether everything that is owed is in a claim."""
    return not await fetch_rows(ledger, "select 1 from schedule where claim_id is null limit 1")


async def is_nothing_claimed(ledger: Ledger) -> bool:
    """Whether nothing that is owed is in a claim."""
    return not await fetch_rows(ledger, "select 1 from schedule where claim_id is not null limit 1")


async def is_schedule_empty(ledger: Ledger) -> bool:
    """Whether nothing is owed any more."""
    return await count_rows(ledger, "schedule") == 0


async def lock_table(tx: Transaction, table: str) -> None:
    """Keep everybody from writing to a table until this transaction ends; they may read."""
    await tx.execute(text(f"lock table {table} in exclusive mode"))


async def count_rows(ledger: Ledger, table: str) -> int:
    """How many rows a table has."""
    return int((await fetch_row(ledger, f"select count(*) from {table}"))[0])  # noqa: S608  names from tests alone
