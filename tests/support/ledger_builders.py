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

from delivery.accept import Accepter, AcceptLimits, NewEvent
from delivery.bootstrap import clock
from delivery.credentials import read_credentials
from delivery.dispatch import claims
from delivery.dispatch.claims import Begun, Claimed, ClaimTerms, Quota
from delivery.dispatch.judging import Ended, judge_all
from delivery.endpoints.authentication import with_auth
from delivery.endpoints.identity import with_identity
from delivery.endpoints.sealing import seal_headers, seal_secret
from delivery.ledger import (
    Ledger,
    accepting,
    claiming,
    endpoint_secrets,
    endpoints,
    health,
    partitions,
    recording,
    tenants,
)
from delivery.ledger.recording import Again, Final, Result
from delivery.ledger.tables import metadata
from delivery.model import (
    Attempt,
    AttemptId,
    ClaimId,
    DeliveryId,
    DeliveryStatus,
    Endpoint,
    EndpointId,
    EndpointLimits,
    EndpointState,
    EventId,
    Format,
    Lane,
    PayloadKind,
    Prefix,
    Signature,
    Tenant,
    TenantId,
    Timings,
    new_id,
    parse_id,
)
from delivery.secrets import SecretBox
from retries.health import Health, HealthTerms, Sign
from retries.limit import InFlightLimit
from retries.policy import Signal
from signing import generate_hmac

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Row

    from delivery.certificates import ClientIdentity
    from delivery.ledger import Transaction
    from delivery.ledger.claiming import Work
    from signing import Secret

BOX = SecretBox.from_keys(base64.b64encode(bytes(range(32))).decode())
SECRET = generate_hmac(b"s" * 32)
LIMITS = AcceptLimits()
LEASE = timedelta(seconds=45)
QUEUE_LEASE = timedelta(seconds=20)
# Nothing is sent there: tests that send say where to.
NOWHERE = "http://127.0.0.1:9/hook"
# So many in flight that no test reaches it that is not about it.
PLENTY = 10_000
GONE = 410
UNLIMITED = EndpointLimits(in_flight=PLENTY)


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 8) -> AsyncIterator[Ledger]:
    """A ledger on a migrated database, with its partitions; closed at the end."""
    ledger = Ledger(url, pool_size=pool_size, application="waybill test")
    try:
        async with ledger.transaction() as tx:
            await partitions.ensure(tx, now=clock())
        yield ledger
    finally:
        await ledger.close()


async def emptied(ledger: Ledger) -> None:
    """Take away what an earlier test has left."""
    async with ledger.transaction() as tx:
        await tx.execute(text("set local session_replication_role = replica"))  # the journal too
        for table in reversed(metadata.sorted_tables):
            await tx.execute(table.delete())


async def rows(ledger: Ledger, statement: str, **values: object) -> Sequence[Row[*tuple[Any, ...]]]:
    """What a query of the test's own finds."""
    async with ledger.transaction() as tx:
        return (await tx.execute(text(statement), values)).all()


async def row(ledger: Ledger, statement: str, **values: object) -> Row[*tuple[Any, ...]]:
    """The one row that a query of the test's own finds."""
    (only,) = await rows(ledger, statement, **values)
    return only


async def change(ledger: Ledger, statement: str, **values: object) -> None:
    """Change rows behind the engine's back."""
    async with ledger.transaction() as tx:
        await tx.execute(text(statement), values)


async def new_tenant(ledger: Ledger) -> TenantId:
    """A tenant without endpoints."""
    tenant = Tenant(TenantId(new_id()), "a tenant", clock())
    async with ledger.transaction() as tx:
        await tenants.insert(tx, tenant)
    return tenant.id


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an endpoint of a test is to be."""

    url: str = NOWHERE
    filter: tuple[str, ...] = ("*",)
    headers: Mapping[str, str] | None = None
    auth: Mapping[str, str] | None = None
    identity: ClientIdentity | None = None
    schedule: tuple[timedelta, ...] | None = None
    timeout: timedelta | None = None
    secret: Secret = SECRET
    box: SecretBox = BOX
    operational: bool = False
    format: Format = Format.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    limits: EndpointLimits = UNLIMITED
    channels: tuple[str, ...] = ()
    condition: str | None = None


async def new_endpoint(ledger: Ledger, tenant_id: TenantId, wanted: Wanted | None = None) -> EndpointId:
    """An active endpoint with one sealed secret; accepters hear of it as they do in production."""
    wanted = wanted or Wanted()
    endpoint_id, now = EndpointId(new_id()), clock()
    endpoint = Endpoint(
        id=endpoint_id,
        tenant_id=tenant_id,
        url=wanted.url,
        description="",
        filter=wanted.filter,
        state=EndpointState.ACTIVE,
        state_reason=None,
        state_actor="test",
        state_changed_at=now,
        **seal_headers(wanted.box, tenant_id, endpoint_id, wanted.headers or {}),
        signature=Signature.V1,
        schedule=wanted.schedule,
        timeout=wanted.timeout,
        operational=wanted.operational,
        format=wanted.format,
        payload=wanted.payload,
        limits=wanted.limits,
        version=1,
        created_at=now,
        updated_at=now,
        channels=wanted.channels,
        condition=wanted.condition,
    )
    if wanted.auth is not None:
        endpoint = with_auth(wanted.box, endpoint, read_credentials(wanted.auth))
    endpoint = with_identity(wanted.box, endpoint, wanted.identity)
    async with ledger.transaction() as tx:
        await tenants.endpoints_changed(tx, tenant_id)
        await endpoints.insert(tx, endpoint)
        # At full speed from the start, unless its limits say otherwise.
        most = wanted.limits.in_flight or PLENTY
        at_speed = replace(Health.fresh(now, most=most), limit=InFlightLimit(most, ramping=False))
        await health.insert(tx, endpoint_id, at_speed, now=now)
        await endpoint_secrets.insert(tx, seal_secret(wanted.box, endpoint, wanted.secret, now=now).kept)
    return endpoint_id


async def rotate(ledger: Ledger, tenant_id: TenantId, endpoint_id: EndpointId, secret: Secret) -> None:
    """Give an endpoint a newer secret; the older ones sign for another hour."""
    now = clock()
    async with ledger.transaction() as tx:
        endpoint = await endpoints.read(tx, tenant_id, endpoint_id, lock=True)
        assert endpoint is not None
        await endpoint_secrets.end(tx, tenant_id, endpoint_id, by=now + timedelta(hours=1))
        await endpoint_secrets.insert(tx, seal_secret(BOX, endpoint, secret, now=now).kept)
        await endpoints.write(tx, replace(endpoint, version=endpoint.version + 1))


async def set_state(ledger: Ledger, endpoint_id: EndpointId, state: EndpointState) -> None:
    """Pause, disable or resume an endpoint."""
    await change(
        ledger,
        "update endpoints set state = :state, version = version + 1 where id = :id",
        state=state,
        id=endpoint_id,
    )


async def wake(ledger: Ledger, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """Tell the relay that an endpoint may have something due."""
    async with ledger.transaction() as tx:
        await accepting.wake(tx, {(tenant_id, endpoint_id)})


async def delete_endpoint(ledger: Ledger, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """Delete an endpoint, as its owner does."""
    async with ledger.transaction() as tx:
        await endpoints.delete(tx, tenant_id, endpoint_id, at=clock())
        await tenants.endpoints_changed(tx, tenant_id)
        await accepting.wake(tx, {(tenant_id, endpoint_id)})


def accepter(ledger: Ledger) -> Accepter:
    """An accepter, as one web process has it."""
    return Accepter(ledger, limits=LIMITS, clock=clock)


async def accept(
    ledger: Ledger, tenant_id: TenantId, type_: str = "order.created", data: bytes = b"{}"
) -> EventId:
    """Accept one event through an accepter of its own."""
    accepted = await accepter(ledger).accept(tenant_id, [NewEvent(type_, data)], single=True)
    return EventId(parse_id(Prefix.EVENT, json.loads(accepted.answer)["id"]))


async def accept_many(ledger: Ledger, tenant_id: TenantId, count: int) -> None:
    """Accept a batch of events that differ in nothing but their number."""
    events = [NewEvent("order.created", b"%d" % number) for number in range(count)]
    await accepter(ledger).accept(tenant_id, events, single=False)


async def claim(
    ledger: Ledger,
    endpoint_ids: Iterable[EndpointId],
    *,
    take: int = 100,
    batch: int = 100,
    lease: timedelta = QUEUE_LEASE,
    lane: Lane = Lane.LIVE,
) -> Claimed:
    """Claim what is due for these endpoints, in a transaction of its own."""
    async with ledger.transaction() as tx:
        return await claim_within(tx, endpoint_ids, take=take, batch=batch, lease=lease, lane=lane)


async def claim_within(  # noqa: PLR0913  as a relay may
    tx: Transaction,
    endpoint_ids: Iterable[EndpointId],
    *,
    take: int = 100,
    batch: int = 100,
    lease: timedelta = QUEUE_LEASE,
    lane: Lane = Lane.LIVE,
    begun: Begun | None = None,
) -> Claimed:
    """Claim what is due for these endpoints within a transaction, which may have begun a claim."""
    quotas = [Quota(endpoint_id, take) for endpoint_id in endpoint_ids]
    return await claims.claim(tx, quotas, ClaimTerms(lane, batch, lease, PLENTY), begun=begun)


async def start(ledger: Ledger, claim_id: ClaimId, *, lease: timedelta = LEASE) -> list[Work]:
    """Start a claim as a worker does."""
    async with ledger.at_once() as door:
        return await claiming.start(door, claim_id, worker="worker 1", lease=lease)


async def claim_and_start(
    ledger: Ledger, endpoint_id: EndpointId, *, lane: Lane = Lane.LIVE
) -> tuple[ClaimId, list[Work]]:
    """Claim all that is due for an endpoint, as one claim, and start it."""
    taken = await claim(ledger, [endpoint_id], lane=lane)
    (claim_id,) = taken.claims
    return claim_id, await start(ledger, claim_id)


async def lapse(ledger: Ledger, claim_id: ClaimId) -> None:
    """Let a claim's lease be over."""
    await change(
        ledger,
        "update claims set lease_until = clock_timestamp() - interval '1 s' where id = :id",
        id=claim_id,
    )


async def rescue(ledger: Ledger) -> claiming.Rescued:
    """Take back what lapsed, as the relay does."""
    async with ledger.transaction() as tx:
        return await claiming.rescue(tx)


async def record(ledger: Ledger, *results: Result) -> set[ClaimId]:
    """Record and judge results in one transaction; returns the claims that were rescued meanwhile."""
    group = [ended(result) for result in results]
    async with ledger.transaction() as tx:
        recorded = await recording.record(tx, results)
        await judge_all(tx, group, recorded, dice=lambda: 0.0)
    return recorded.orphans


def ended(result: Result, *, lane: Lane = Lane.LIVE) -> Ended:
    """A result with what it tells of its endpoint: that it is well, or with 410 that it is gone."""
    attempt = result.attempt
    good = attempt.outcome == "delivered"
    return Ended(
        result,
        Sign(Signal.GOOD if good else Signal.ALIVE, attempt.started_at, clock()),
        HealthTerms(in_flight=PLENTY),
        operational=False,
        disable="gone" if attempt.status == GONE else None,
        lane=lane,
    )


def attempt_at(work: Work, *, status: int = 200) -> Attempt:
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
        url=NOWHERE,
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


def success(work: Work, claim_id: ClaimId) -> Result:
    """The result of a delivery that was taken."""
    return Result(claim_id, attempt_at(work), Final(DeliveryStatus.SUCCEEDED, "delivered", clock()))


def failure(work: Work, claim_id: ClaimId, *, gone: bool = False) -> Result:
    """The result of a delivery that was refused for good; `gone`: the endpoint wants no more at all."""
    attempt = replace(attempt_at(work, status=GONE if gone else 413), outcome="refused")
    final = Final(DeliveryStatus.FAILED, "gone" if gone else "too_large", clock())
    return Result(claim_id, attempt, final)


def again(work: Work, claim_id: ClaimId, *, after: timedelta = timedelta(0), burned: int = 1) -> Result:
    """The result of a delivery that is to be tried again."""
    attempt = replace(attempt_at(work, status=503), outcome="refused", decision="retry")
    return Result(claim_id, attempt, Again(clock() + after, work.step + burned))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a delivery stands in both of its rows; what is None has no row in `schedule`."""

    status: str
    reason: str | None
    attempts: int
    scheduled: bool
    claim_id: ClaimId | None
    due_at: datetime | None
    step: int | None
    recorded: int


async def standing(ledger: Ledger, delivery_id: DeliveryId) -> Standing:
    """Where a delivery stands; `recorded` counts its attempts."""
    found = await row(
        ledger,
        """
        select d.status, d.reason, coalesce(s.attempts, d.attempts), s.delivery_id is not null, s.claim_id,
               s.due_at, s.step, (select count(*) from attempts a where a.delivery_id = d.id)
        from deliveries d left join schedule s on s.delivery_id = d.id
        where d.id = :id
        """,
        id=delivery_id,
    )
    return Standing(*found)


async def delivery_ids(ledger: Ledger, endpoint_id: EndpointId) -> list[DeliveryId]:
    """The deliveries of an endpoint, oldest first."""
    found = await rows(
        ledger, "select id from deliveries where endpoint_id = :id order by id", id=endpoint_id
    )
    return [DeliveryId(each.id) for each in found]


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    """Ask again and again until the answer is yes; TimeoutError when it never is."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


async def somebody_waits_for_a_lock(ledger: Ledger) -> bool:
    """Whether any connection to this database waits for what another one holds."""
    found = await row(
        ledger,
        """
        select exists (select 1 from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock')
        """,
    )
    return bool(found[0])


async def all_claimed(ledger: Ledger) -> bool:
    """Whether everything that is owed is in a claim."""
    return not await rows(ledger, "select 1 from schedule where claim_id is null limit 1")


async def none_claimed(ledger: Ledger) -> bool:
    """Whether nothing that is owed is in a claim."""
    return not await rows(ledger, "select 1 from schedule where claim_id is not null limit 1")


async def nothing_scheduled(ledger: Ledger) -> bool:
    """Whether nothing is owed any more."""
    return await count(ledger, "schedule") == 0


async def locked(tx: Transaction, table: str) -> None:
    """Keep everybody from writing to a table until this transaction ends; they may read."""
    await tx.execute(text(f"lock table {table} in exclusive mode"))


async def count(ledger: Ledger, table: str) -> int:
    """How many rows a table has."""
    return int((await row(ledger, f"select count(*) from {table}"))[0])  # noqa: S608  names from tests alone
