"""Records many outcomes in one transaction, each only under the claim that its worker started."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import text

from delivery.ledger.db.fast_path import execute
from delivery.ledger.queue import endpoint_health

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from delivery.domain.attempt import Attempt
    from delivery.domain.delivery import DeliveryStatus
    from delivery.domain.ids import AttemptId, ClaimId, DeliveryId, EndpointId
    from delivery.ledger.db.session import Transaction

# Locking the claim's row first excludes rescue: the second of the two finds it changed or gone.
_LOCK_CLAIMS = text("""
    with done as (
        select * from unnest(cast(:claims as uuid[]), cast(:counts as int[])) as d (id, finished)
    )
    update claims set remaining = remaining - done.finished from done where claims.id = done.id
    returning claims.id, claims.remaining
""")
_CLOSE_CLAIMS = text("delete from claims where id = any (cast(:claims as uuid[]))")
# `is not distinct from`, so that no index by claim seems to help: it would read the whole claim for each row.
_FINISH = text("""
    with final as materialized (
        select *
        from unnest(cast(:ids as uuid[]), cast(:claims as uuid[]), cast(:statuses as text[]),
                    cast(:reasons as text[]), cast(:attempts as int[]), cast(:moments as timestamptz[]),
                    cast(:outcomes as text[]), cast(:http_statuses as smallint[]))
            as f (id, claim_id, status, reason, attempts, finished_at, outcome, http_status)
    ), gone as (
        delete from schedule using final
        where schedule.delivery_id = final.id and schedule.claim_id is not distinct from final.claim_id
        returning final.*, schedule.tenant_id, schedule.endpoint_id, schedule.sequence
    ), ended as (
        update deliveries
        set status = gone.status, reason = gone.reason, attempts = gone.attempts,
            finished_at = gone.finished_at, outcome = gone.outcome, http_status = gone.http_status,
            sequence = gone.sequence
        from gone where deliveries.id = gone.id and deliveries.tenant_id = gone.tenant_id
    )
    select endpoint_id, count(*) as released from gone group by endpoint_id
""")
_RESCHEDULE = text("""
    with again as (
        select * from unnest(cast(:ids as uuid[]), cast(:claims as uuid[]), cast(:moments as timestamptz[]),
                             cast(:attempts as int[]), cast(:steps as int[]), cast(:outcomes as text[]),
                             cast(:http_statuses as smallint[]))
            as a (id, claim_id, due_at, attempts, step, outcome, http_status)
    ), due as (
        update schedule
        set claim_id = null, due_at = again.due_at, attempts = again.attempts, step = again.step,
            outcome = again.outcome, http_status = again.http_status
        from again
        where schedule.delivery_id = again.id and schedule.claim_id is not distinct from again.claim_id
        returning schedule.endpoint_id
    )
    select endpoint_id, count(*) as released from due group by endpoint_id
""")
_INSERT_ATTEMPTS = text("""
    insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, claimed_at,
        started_at, dns_us,
        connect_us, tls_us, first_byte_us, total_us, url, address, request_headers, body_sha256, key_ids,
        status, response_headers, response_body, response_truncated, outcome, detail, decision, reason,
        next_due_at, worker)
    select a.id, a.delivery_id, a.tenant_id, a.endpoint_id, a.event_id, a.number, a.claimed_at,
        a.started_at, a.dns_us,
        a.connect_us, a.tls_us, a.first_byte_us, a.total_us, a.url, a.address,
        cast(a.request_headers as json), a.body_sha256, a.key_ids, a.status,
        cast(a.response_headers as json), a.response_body, a.response_truncated, a.outcome, a.detail,
        a.decision, a.reason, a.next_due_at, a.worker
    from unnest(cast(:id as uuid[]), cast(:delivery_id as uuid[]), cast(:tenant_id as uuid[]),
        cast(:endpoint_id as uuid[]), cast(:event_id as uuid[]), cast(:number as int[]),
        cast(:claimed_at as timestamptz[]), cast(:started_at as timestamptz[]),
        cast(:dns_us as int[]), cast(:connect_us as int[]),
        cast(:tls_us as int[]), cast(:first_byte_us as int[]), cast(:total_us as int[]), cast(:url as text[]),
        cast(:address as text[]), cast(:request_headers as text[]), cast(:body_sha256 as bytea[]),
        cast(:key_ids as text[]), cast(:status as smallint[]), cast(:response_headers as text[]),
        cast(:response_body as bytea[]), cast(:response_truncated as bool[]), cast(:outcome as text[]),
        cast(:detail as text[]), cast(:decision as text[]), cast(:reason as text[]),
        cast(:next_due_at as timestamptz[]), cast(:worker as text[]))
      as a (id, delivery_id, tenant_id, endpoint_id, event_id, number, claimed_at, started_at, dns_us,
        connect_us, tls_us, first_byte_us, total_us, url, address, request_headers, body_sha256, key_ids,
        status, response_headers, response_body, response_truncated, outcome, detail, decision, reason,
        next_due_at, worker)
""")
_POSTPONE = text("""
    with fence as (
        update claims set remaining = remaining - cardinality(cast(:ids as uuid[]))
        where id = :claim returning id
    )
    update schedule set claim_id = null, due_at = clock_timestamp() + :by
    from fence
    where schedule.claim_id = fence.id and schedule.delivery_id = any (cast(:ids as uuid[]))
    returning schedule.endpoint_id, schedule.delivery_id
""")
_CANCEL = text("""
    with fence as (
        update claims set remaining = remaining - cardinality(cast(:ids as uuid[]))
        where id = :claim returning id
    ), gone as (
        delete from schedule using fence
        where schedule.claim_id = fence.id and schedule.delivery_id = any (cast(:ids as uuid[]))
        returning schedule.*
    ), ended as (
        update deliveries
        set status = 'cancelled', reason = :reason, attempts = gone.attempts,
            finished_at = clock_timestamp(), outcome = gone.outcome, http_status = gone.http_status,
            sequence = gone.sequence
        from gone where deliveries.id = gone.delivery_id and deliveries.tenant_id = gone.tenant_id
    )
    select endpoint_id, delivery_id from gone
""")
_IS_RECORDED = text("select id from attempts where id = :id")
_CLOSE_FINISHED_CLAIM = text("delete from claims where id = :claim and remaining <= 0")
# An escaped NUL, and not an escaped backslash before `u0000`.
_ESCAPED_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")

_PLAIN_COLUMNS = (
    "id", "delivery_id", "tenant_id", "endpoint_id", "event_id", "number", "claimed_at", "started_at", "url",
    "address",
    "body_sha256", "status", "response_body", "response_truncated", "outcome", "detail", "decision", "reason",
    "next_due_at", "worker",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeliveryFinished:
    """The delivery is over."""

    status: DeliveryStatus
    reason: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRescheduled:
    """The delivery is due again; `step` counts the used steps of its retry schedule."""

    due_at: datetime
    step: int


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt, its claim, and what follows for the delivery."""

    claim_id: ClaimId
    attempt: Attempt
    next_state: DeliveryFinished | DeliveryRescheduled


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """The claims that were rescued meanwhile, and how many of each endpoint are no longer in flight."""

    orphaned_claims: set[ClaimId]
    released: dict[EndpointId, int]


async def record_attempts(tx: Transaction, attempts: Sequence[RecordedAttempt]) -> RecordingResult:
    """Append the attempts and update their deliveries.

    Attempts are always recorded: they happened. Deliveries change only under claims that still exist. The
    update of endpoint health, in the same transaction, changes what is in flight.
    """
    counts: dict[ClaimId, int] = {}
    for result in attempts:
        counts[result.claim_id] = counts.get(result.claim_id, 0) + 1
    remaining = await _lock_claims(tx, counts)
    await _insert_attempts(tx, [result.attempt for result in attempts])
    valid = [result for result in attempts if result.claim_id in remaining]
    released = Counter(
        await _finish_deliveries(
            tx, [(r, r.next_state) for r in valid if isinstance(r.next_state, DeliveryFinished)]
        )
    )
    released.update(
        await _reschedule_deliveries(
            tx, [(r, r.next_state) for r in valid if isinstance(r.next_state, DeliveryRescheduled)]
        )
    )
    if finished := [claim_id for claim_id, left in remaining.items() if left <= 0]:
        await execute(tx, _CLOSE_CLAIMS, {"claims": finished})
    return RecordingResult(counts.keys() - remaining.keys(), dict(released))


async def is_recorded(tx: Transaction, attempt_id: AttemptId) -> bool:
    """Whether this attempt was recorded."""
    return (await tx.execute(_IS_RECORDED, {"id": attempt_id})).scalar_one_or_none() is not None


async def postpone(
    tx: Transaction, claim_id: ClaimId, deliveries: Sequence[DeliveryId], *, delay: timedelta
) -> None:
    """Hand back deliveries of a claim without an attempt; due again after this delay."""
    freed = (await tx.execute(_POSTPONE, {"claim": claim_id, "ids": list(deliveries), "by": delay})).all()
    await tx.execute(_CLOSE_FINISHED_CLAIM, {"claim": claim_id})
    await endpoint_health.release_in_flight(tx, [(row.endpoint_id, row.delivery_id) for row in freed])


async def cancel(
    tx: Transaction, claim_id: ClaimId, deliveries: Sequence[DeliveryId], *, reason: str
) -> None:
    """Finish deliveries of a claim without an attempt: their content is gone."""
    freed = (await tx.execute(_CANCEL, {"claim": claim_id, "ids": list(deliveries), "reason": reason})).all()
    await tx.execute(_CLOSE_FINISHED_CLAIM, {"claim": claim_id})
    await endpoint_health.release_in_flight(tx, [(row.endpoint_id, row.delivery_id) for row in freed])


async def _lock_claims(tx: Transaction, counts: dict[ClaimId, int]) -> dict[ClaimId, int]:
    ordered = sorted(counts)
    rows = await execute(tx, _LOCK_CLAIMS, {"claims": ordered, "counts": [counts[c] for c in ordered]})
    return {row.id: row.remaining for row in rows}


async def _finish_deliveries(
    tx: Transaction, finished: list[tuple[RecordedAttempt, DeliveryFinished]]
) -> dict[EndpointId, int]:
    if not finished:
        return {}
    ended = await execute(
        tx,
        _FINISH,
        {
            "ids": [result.attempt.delivery_id for result, _ in finished],
            "claims": [result.claim_id for result, _ in finished],
            "statuses": [final.status for _, final in finished],
            "reasons": [final.reason for _, final in finished],
            "attempts": [result.attempt.number for result, _ in finished],
            "moments": [final.finished_at for _, final in finished],
            "outcomes": [result.attempt.outcome for result, _ in finished],
            "http_statuses": [result.attempt.status for result, _ in finished],
        },
    )
    return {row.endpoint_id: row.released for row in ended}


async def _reschedule_deliveries(
    tx: Transaction, rescheduled: list[tuple[RecordedAttempt, DeliveryRescheduled]]
) -> dict[EndpointId, int]:
    if not rescheduled:
        return {}
    due = await execute(
        tx,
        _RESCHEDULE,
        {
            "ids": [result.attempt.delivery_id for result, _ in rescheduled],
            "claims": [result.claim_id for result, _ in rescheduled],
            "moments": [again.due_at for _, again in rescheduled],
            "attempts": [result.attempt.number for result, _ in rescheduled],
            "steps": [again.step for _, again in rescheduled],
            "outcomes": [result.attempt.outcome for result, _ in rescheduled],
            "http_statuses": [result.attempt.status for result, _ in rescheduled],
        },
    )
    return {row.endpoint_id: row.released for row in due}


async def _insert_attempts(tx: Transaction, attempts: Sequence[Attempt]) -> None:
    columns: dict[str, list[object]] = {
        name: [getattr(attempt, name) for attempt in attempts] for name in _PLAIN_COLUMNS
    }
    for step in ("dns", "connect", "tls", "first_byte", "total"):
        columns[f"{step}_us"] = [_microseconds(getattr(attempt.timings, step)) for attempt in attempts]
    columns["request_headers"] = _encode_json(dict(attempt.request_headers) for attempt in attempts)
    columns["response_headers"] = _encode_json(attempt.response_headers for attempt in attempts)
    columns["key_ids"] = [",".join(attempt.key_ids) for attempt in attempts]
    await execute(tx, _INSERT_ATTEMPTS, columns)


def _microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration.total_seconds() * 1_000_000)


def _encode_json(values: Iterable[object]) -> list[object]:
    return [_strip_escaped_nul(msgspec.json.encode(value).decode()) for value in values]


def _strip_escaped_nul(encoded: str) -> str:
    # Not every reader of json takes NUL, which a receiver may well send.
    return _ESCAPED_NUL.sub(r"\1", encoded) if "\\u0000" in encoded else encoded
