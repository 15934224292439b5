"""Claiming within what each endpoint may be sent: lock its health, decide, take."""

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

# An endpoint whose health somebody has locked is looked at again after so many seconds.
LOCKED_RETRY_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Quota:
    """How many deliveries of one endpoint the relay wants to take now."""

    endpoint_id: EndpointId
    limit: int


@dataclass(frozen=True, slots=True)
class ClaimConfig:
    """How claims are made: in which lane, how many deliveries in each, for how long they may wait.

    `in_flight` is how many an endpoint may have on their way that has no limit of its own.
    """

    priority: Priority
    batch_size: int
    lease: timedelta
    default_max_in_flight: int


class OpenClaim(NamedTuple):
    """The last claim that a transaction has made, and how many deliveries it holds."""

    claim_id: ClaimId
    delivery_count: int


@dataclass(frozen=True, slots=True)
class ClaimRound:
    """The claims to publish, how many deliveries of each endpoint they got, and who to look at again when.

    `last` is the last of the transaction's claims so far. `later` is in seconds from now. An endpoint that
    had less than its quota and is not in it has nothing more due, or is held until an attempt of its has
    ended or its time has come.
    """

    claim_ids: tuple[ClaimId, ...]
    counts_by_endpoint: Mapping[EndpointId, int]
    retry_in_seconds: Mapping[EndpointId, float]
    open_claim: OpenClaim | None = None

    @property
    def delivery_count(self) -> int:
        """Deliveries in all."""
        return sum(self.counts_by_endpoint.values())


async def claim_deliveries(
    tx: Transaction, quotas: Sequence[Quota], config: ClaimConfig, *, open_claim: OpenClaim | None = None
) -> ClaimRound:
    """Take what is due within the quotas and within what each endpoint may be sent.

    A claim that this transaction has `begun` before is filled first, so that none but the last holds little:
    each costs a message and what a worker does for it.
    """
    gates, busy = await endpoint_health.lock_gates(tx, [quota.endpoint_id for quota in quotas])
    grants, later = grant_quotas(quotas, gates, config)
    later |= dict.fromkeys(busy, LOCKED_RETRY_SECONDS)
    if not grants:
        return ClaimRound((), {}, later, open_claim)
    if open_claim is not None and open_claim.delivery_count >= config.batch_size:
        open_claim = None
    holds = 0 if open_claim is None else open_claim.delivery_count
    most = math.ceil((holds + sum(grant.limit for grant in grants)) / config.batch_size)
    ids = [ClaimId(new_id()) for _ in range(most)]
    if open_claim is not None:
        ids[0] = open_claim.claim_id
    taken = await claims.claim_deliveries(
        tx,
        grants,
        priority=config.priority,
        claim_ids=ids,
        batch_size=config.batch_size,
        lease=config.lease,
        already_claimed=holds,
    )
    if not taken.claims:
        return ClaimRound((), {}, later, open_claim)
    last = max(taken.claims, key=ids.index)
    size = taken.claims[last] + (holds if last == ids[0] else 0)
    return ClaimRound(tuple(taken.claims), taken.by_endpoint, later, OpenClaim(last, size))


def grant_quotas(
    quotas: Sequence[Quota], gates: Mapping[EndpointId, EndpointGate], config: ClaimConfig
) -> tuple[list[ClaimGrant], dict[EndpointId, float]]:
    """Say what of the quotas is granted, and in how many seconds a rate limit lets more go. Pure."""
    grants: list[ClaimGrant] = []
    later: dict[EndpointId, float] = {}
    for quota in quotas:
        gate = gates.get(quota.endpoint_id)
        if gate is None:
            continue
        allowed = _compute_allowance(gate, config.default_max_in_flight)
        take = min(quota.limit, allowed.count)
        if config.priority is Priority.REPLAY and not allowed.is_probe:
            take = min(
                take,
                count_replay_room(
                    gate.health_row, max_in_flight=gate.max_in_flight or config.default_max_in_flight
                ),
            )
        if take:
            interval = None if gate.rate is None else gate.rate.interval
            grants.append(
                ClaimGrant(quota.endpoint_id, take, allowed.is_probe, allowed.counts_from, interval)
            )
        if take < quota.limit and allowed.check_again_at is not None:
            later[quota.endpoint_id] = (allowed.check_again_at - gate.now).total_seconds()
    return grants, later


def count_replay_room(health_row: EndpointHealthRow, *, max_in_flight: int) -> int:
    """How many replays may join what is in flight: half of an endpoint's places are for live work. Pure."""
    limit = min(max_in_flight, health_row.health.limit.now)
    return max(0, max(1, limit // 2) - health_row.in_flight)


def _compute_allowance(gate: EndpointGate, default_max_in_flight: int) -> Allowance:
    standing = gate.health_row
    return compute_allowance(
        standing.health,
        in_flight=standing.in_flight,
        max_in_flight=gate.max_in_flight or default_max_in_flight,
        rate=gate.rate,
        next_at=standing.next_at,
        now=gate.now,
    )
