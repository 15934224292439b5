"""Claims due deliveries within each endpoint's limits: lock its health, decide, claim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from delivery.domain.delivery import Priority
from delivery.domain.ids import ClaimId, EndpointId, new_id
from delivery.ledger.queue import claims, endpoint_health
from delivery.ledger.queue.claims import ClaimGrant
from retries.health import compute_allowance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from delivery.ledger.db.session import Transaction
    from delivery.ledger.queue.endpoint_health import EndpointGate, EndpointHealthRow
    from retries.health import Allowance

# How soon an endpoint is looked at again when another transaction has locked its health.
LOCKED_RETRY_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Quota:
    """How many deliveries of one endpoint the relay wants to claim now."""

    endpoint_id: EndpointId
    limit: int


@dataclass(frozen=True, slots=True)
class ClaimConfig:
    """How claims are made: their priority, their size, and how long they may wait in the queue.

    `default_max_in_flight` is for endpoints without a limit of their own.
    """

    priority: Priority
    batch_size: int
    lease: timedelta
    default_max_in_flight: int


class OpenClaim(NamedTuple):
    """The last claim of a transaction, which later rounds may fill, and its deliveries so far."""

    claim_id: ClaimId
    delivery_count: int


@dataclass(frozen=True, slots=True)
class ClaimRound:
    """The claims to publish, their deliveries by endpoint, and which endpoints to look at again, and when.

    An endpoint that got less than its quota and is not in `retry_in_seconds` has nothing more due, or is held
    until one of its attempts ends or a scan finds it.
    """

    claim_ids: tuple[ClaimId, ...]
    counts_by_endpoint: Mapping[EndpointId, int]
    retry_in_seconds: Mapping[EndpointId, float]
    open_claim: OpenClaim | None = None

    @property
    def delivery_count(self) -> int:
        """The number of deliveries in all claims."""
        return sum(self.counts_by_endpoint.values())


async def claim_deliveries(
    tx: Transaction, quotas: Sequence[Quota], config: ClaimConfig, *, open_claim: OpenClaim | None = None
) -> ClaimRound:
    """Claim due deliveries within the quotas and within what each endpoint may be sent.

    The transaction's open claim is filled first, so that only the last one is small: each claim costs a
    message and a statement in a worker.
    """
    gates, locked = await endpoint_health.lock_gates(tx, [quota.endpoint_id for quota in quotas])
    grants, retry_in = grant_quotas(quotas, gates, config)
    retry_in |= dict.fromkeys(locked, LOCKED_RETRY_SECONDS)
    if not grants:
        return ClaimRound((), {}, retry_in, open_claim)
    if open_claim is not None and open_claim.delivery_count >= config.batch_size:
        open_claim = None
    already_claimed = 0 if open_claim is None else open_claim.delivery_count
    max_claims = math.ceil((already_claimed + sum(grant.limit for grant in grants)) / config.batch_size)
    claim_ids = [ClaimId(new_id()) for _ in range(max_claims)]
    if open_claim is not None:
        claim_ids[0] = open_claim.claim_id
    claimed = await claims.claim_deliveries(
        tx,
        grants,
        priority=config.priority,
        claim_ids=claim_ids,
        batch_size=config.batch_size,
        lease=config.lease,
        already_claimed=already_claimed,
    )
    if not claimed.claims:
        return ClaimRound((), {}, retry_in, open_claim)
    last = max(claimed.claims, key=claim_ids.index)
    size = claimed.claims[last] + (already_claimed if last == claim_ids[0] else 0)
    return ClaimRound(tuple(claimed.claims), claimed.by_endpoint, retry_in, OpenClaim(last, size))


def grant_quotas(
    quotas: Sequence[Quota], gates: Mapping[EndpointId, EndpointGate], config: ClaimConfig
) -> tuple[list[ClaimGrant], dict[EndpointId, float]]:
    """Grant what each endpoint may be sent of its quota, and in how many seconds it may get more. Pure."""
    grants: list[ClaimGrant] = []
    retry_in: dict[EndpointId, float] = {}
    for quota in quotas:
        gate = gates.get(quota.endpoint_id)
        if gate is None:
            continue
        allowance = _compute_allowance(gate, config.default_max_in_flight)
        count = min(quota.limit, allowance.count)
        if config.priority is Priority.REPLAY and not allowance.is_probe:
            max_in_flight = gate.max_in_flight or config.default_max_in_flight
            count = min(count, count_replay_room(gate.health_row, max_in_flight=max_in_flight))
        if count:
            interval = None if gate.rate is None else gate.rate.interval
            grants.append(
                ClaimGrant(quota.endpoint_id, count, allowance.is_probe, allowance.counts_from, interval)
            )
        if count < quota.limit and allowance.check_again_at is not None:
            retry_in[quota.endpoint_id] = (allowance.check_again_at - gate.now).total_seconds()
    return grants, retry_in


def count_replay_room(health_row: EndpointHealthRow, *, max_in_flight: int) -> int:
    """Return how many more replays may be in flight: half of an endpoint's limit is for live work. Pure."""
    limit = min(max_in_flight, health_row.health.limit.now)
    return max(0, max(1, limit // 2) - health_row.in_flight)


def _compute_allowance(gate: EndpointGate, default_max_in_flight: int) -> Allowance:
    health_row = gate.health_row
    return compute_allowance(
        health_row.health,
        in_flight=health_row.in_flight,
        max_in_flight=gate.max_in_flight or default_max_in_flight,
        rate=gate.rate,
        next_at=health_row.next_at,
        now=gate.now,
    )
