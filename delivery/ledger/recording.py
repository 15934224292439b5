"""The record: many outcomes in one transaction, each only under the claim that its worker started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from delivery.ledger.session import Transaction
    from delivery.model import Attempt, AttemptId, ClaimId, DeliveryId, DeliveryStatus, EndpointId

# Locking the claim's row first is what keeps rescue away: whoever comes second finds it changed or gone.
_FENCE = text("""
    with done as (
        select * from unnest(cast(:claims as uuid[]), cast(:counts as int[])) as d (id, finished)
    )
    update claims set remaining = remaining - done.finished from done where claims.id = done.id
    returning claims.id, claims.remaining
""")
_CLOSE = text("delete from claims where id = any (cast(:claims as uuid[]))")
_FINISH = text("""
    with final as materialized (
        select *
        from unnest(cast(:ids as uuid[]), cast(:claims as uuid[]), cast(:statuses as text[]),
                    cast(:reasons as text[]), cast(:attempts as int[]), cast(:moments as timestamptz[]))
            as f (id, claim_id, status, reason, attempts, finished_at)
    ), gone as (
        delete from schedule using final
        where schedule.delivery_id = final.id and schedule.claim_id = final.claim_id
        returning final.*, schedule.tenant_id
    )
    update deliveries
    set status = gone.status, reason = gone.reason, attempts = gone.attempts, finished_at = gone.finished_at
    from gone where deliveries.id = gone.id and deliveries.tenant_id = gone.tenant_id
""")
_AGAIN = text("""
    with again as (
        select * from unnest(cast(:ids as uuid[]), cast(:claims as uuid[]), cast(:moments as timestamptz[]),
                             cast(:attempts as int[]), cast(:steps as int[]))
            as a (id, claim_id, due_at, attempts, step)
    )
    update schedule
    set claim_id = null, due_at = again.due_at, attempts = again.attempts, step = again.step
    from again where schedule.delivery_id = again.id and schedule.claim_id = again.claim_id
""")
_ATTEMPTS = text("""
    insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, dns_us,
        connect_us, tls_us, first_byte_us, total_us, url, address, request_headers, body_sha256, key_ids,
        status, response_headers, response_body, response_truncated, outcome, detail, decision, reason,
        next_due_at, worker)
    select a.id, a.delivery_id, a.tenant_id, a.endpoint_id, a.event_id, a.number, a.started_at, a.dns_us,
        a.connect_us, a.tls_us, a.first_byte_us, a.total_us, a.url, a.address,
        cast(a.request_headers as json), a.body_sha256, a.key_ids, a.status,
        cast(a.response_headers as json), a.response_body, a.response_truncated, a.outcome, a.detail,
        a.decision, a.reason, a.next_due_at, a.worker
    from unnest(cast(:id as uuid[]), cast(:delivery_id as uuid[]), cast(:tenant_id as uuid[]),
        cast(:endpoint_id as uuid[]), cast(:event_id as uuid[]), cast(:number as int[]),
        cast(:started_at as timestamptz[]), cast(:dns_us as int[]), cast(:connect_us as int[]),
        cast(:tls_us as int[]), cast(:first_byte_us as int[]), cast(:total_us as int[]), cast(:url as text[]),
        cast(:address as text[]), cast(:request_headers as text[]), cast(:body_sha256 as bytea[]),
        cast(:key_ids as text[]), cast(:status as smallint[]), cast(:response_headers as text[]),
        cast(:response_body as bytea[]), cast(:response_truncated as bool[]), cast(:outcome as text[]),
        cast(:detail as text[]), cast(:decision as text[]), cast(:reason as text[]),
        cast(:next_due_at as timestamptz[]), cast(:worker as text[]))
      as a (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, dns_us, connect_us, tls_us,
        first_byte_us, total_us, url, address, request_headers, body_sha256, key_ids, status,
        response_headers, response_body, response_truncated, outcome, detail, decision, reason, next_due_at,
        worker)
""")
_POSTPONE = text("""
    with fence as (
        update claims set remaining = remaining - cardinality(cast(:ids as uuid[]))
        where id = :claim returning id
    )
    update schedule set claim_id = null, due_at = clock_timestamp() + :by
    from fence
    where schedule.claim_id = fence.id and schedule.delivery_id = any (cast(:ids as uuid[]))
""")
_IS_RECORDED = text("select id from attempts where id = :id")
_CLOSE_SPENT = text("delete from claims where id = :claim and remaining <= 0")
_DISABLE = text("""
    with told as (
        select * from unnest(cast(:ids as uuid[]), cast(:reasons as text[])) as t (id, reason)
    ), changed as (
        update endpoints
        set state = 'disabled', state_reason = told.reason, state_actor = 'waybill',
            state_changed_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp()
        from told where endpoints.id = told.id and endpoints.state <> 'disabled'
        returning endpoints.tenant_id
    )
    update tenants set endpoints_version = endpoints_version + 1
    where id in (select tenant_id from changed)
""")

# An escaped NUL, and not an escaped backslash before `u0000`.
_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")

_PLAIN_COLUMNS = (
    "id", "delivery_id", "tenant_id", "endpoint_id", "event_id", "number", "started_at", "url", "address",
    "body_sha256", "status", "response_body", "response_truncated", "outcome", "detail", "decision", "reason",
    "next_due_at", "worker",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Final:
    """The delivery is over."""

    status: DeliveryStatus
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Again:
    """The delivery is due again; `step` counts what is burned of its retry schedule."""

    due_at: datetime
    step: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one attempt came to, under which claim, and what follows from it."""

    claim_id: ClaimId
    attempt: Attempt
    follows: Final | Again
    disable_endpoint: str | None = None


async def record(tx: Transaction, results: Sequence[Result]) -> set[ClaimId]:
    """Append the attempts and move their deliveries on.

    Attempts are recorded always: they happened. Deliveries move only under claims that still exist; the
    claims that do not (rescued meanwhile) are returned.
    """
    counts: dict[ClaimId, int] = {}
    for result in results:
        counts[result.claim_id] = counts.get(result.claim_id, 0) + 1
    remaining = await _fence(tx, counts)
    await _insert_attempts(tx, [result.attempt for result in results])
    valid = [result for result in results if result.claim_id in remaining]
    await _finish(tx, [(r, r.follows) for r in valid if isinstance(r.follows, Final)])
    await _again(tx, [(r, r.follows) for r in valid if isinstance(r.follows, Again)])
    await _disable(tx, {r.attempt.endpoint_id: r.disable_endpoint for r in valid if r.disable_endpoint})
    if finished := [claim_id for claim_id, left in remaining.items() if left <= 0]:
        await tx.execute(_CLOSE, {"claims": finished})
    return counts.keys() - remaining.keys()


async def is_recorded(tx: Transaction, attempt_id: AttemptId) -> bool:
    """Whether this attempt is in the ledger."""
    return (await tx.execute(_IS_RECORDED, {"id": attempt_id})).scalar_one_or_none() is not None


async def postpone(
    tx: Transaction, claim_id: ClaimId, deliveries: Sequence[DeliveryId], *, by: timedelta
) -> None:
    """Give deliveries of a claim back without an attempt; due again after this while."""
    await tx.execute(_POSTPONE, {"claim": claim_id, "ids": list(deliveries), "by": by})
    await tx.execute(_CLOSE_SPENT, {"claim": claim_id})


async def _fence(tx: Transaction, counts: dict[ClaimId, int]) -> dict[ClaimId, int]:
    ordered = sorted(counts)
    rows = await tx.execute(_FENCE, {"claims": ordered, "counts": [counts[c] for c in ordered]})
    return {row.id: row.remaining for row in rows}


async def _finish(tx: Transaction, finals: list[tuple[Result, Final]]) -> None:
    if not finals:
        return
    await tx.execute(
        _FINISH,
        {
            "ids": [result.attempt.delivery_id for result, _ in finals],
            "claims": [result.claim_id for result, _ in finals],
            "statuses": [final.status for _, final in finals],
            "reasons": [final.reason for _, final in finals],
            "attempts": [result.attempt.number for result, _ in finals],
            "moments": [final.at for _, final in finals],
        },
    )


async def _again(tx: Transaction, agains: list[tuple[Result, Again]]) -> None:
    if not agains:
        return
    await tx.execute(
        _AGAIN,
        {
            "ids": [result.attempt.delivery_id for result, _ in agains],
            "claims": [result.claim_id for result, _ in agains],
            "moments": [again.due_at for _, again in agains],
            "attempts": [result.attempt.number for result, _ in agains],
            "steps": [again.step for _, again in agains],
        },
    )


async def _disable(tx: Transaction, endpoints: dict[EndpointId, str]) -> None:
    if endpoints:
        await tx.execute(_DISABLE, {"ids": list(endpoints), "reasons": list(endpoints.values())})


async def _insert_attempts(tx: Transaction, attempts: Sequence[Attempt]) -> None:
    columns: dict[str, list[object]] = {
        name: [getattr(attempt, name) for attempt in attempts] for name in _PLAIN_COLUMNS
    }
    for step in ("dns", "connect", "tls", "first_byte", "total"):
        columns[f"{step}_us"] = [_microseconds(getattr(attempt.timings, step)) for attempt in attempts]
    columns["request_headers"] = _json(dict(attempt.request_headers) for attempt in attempts)
    columns["response_headers"] = _json(attempt.response_headers for attempt in attempts)
    columns["key_ids"] = [",".join(attempt.key_ids) for attempt in attempts]
    await tx.execute(_ATTEMPTS, columns)


def _microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration.total_seconds() * 1_000_000)


def _json(values: Iterable[object]) -> list[object]:
    # Not every reader of json takes NUL, which a receiver may well send.
    return [_NUL.sub(r"\1", msgspec.json.encode(value).decode()) for value in values]
