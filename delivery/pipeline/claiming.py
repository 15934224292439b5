"""Claiming within what each endpoint may be sent: lock its health, decide, take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from delivery.ledger import claiming, health
from delivery.ledger.claiming import Grant
from delivery.model import ClaimId, EndpointId, Lane, new_id
from retries.health import allowance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from delivery.ledger import Transaction
    from delivery.ledger.health import Gate, Standing
    from retries.health import Allowance

# An endpoint whose health somebody has locked is looked at again after so many seconds.
BUSY_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Quota:
    """How many deliveries of one endpoint the relay wants to take now."""

    endpoint_id: EndpointId
    take: int


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """How claims are made: in which lane, how many deliveries in each, for how long they may wait.

    `in_flight` is how many an endpoint may have on their way that has no limit of its own.
    """

    lane: Lane
    batch: int
    lease: timedelta
    in_flight: int


class Begun(NamedTuple):
    """The last claim that a transaction has made, and how many deliveries it holds."""

    claim_id: ClaimId
    size: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The claims to publish, how many deliveries of each endpoint they got, and who to look at again when.

    `last` is the last of the transaction's claims so far. `later` is in seconds from now. An endpoint that
    had less than its quota and is not in it has nothing more due, or is held until an attempt of its has
    ended or its time has come.
    """

    claims: tuple[ClaimId, ...]
    by_endpoint: Mapping[EndpointId, int]
    later: Mapping[EndpointId, float]
    last: Begun | None = None

    @property
    def size(self) -> int:
        """Deliveries in all."""
        return sum(self.by_endpoint.values())


async def claim(
    tx: Transaction, quotas: Sequence[Quota], terms: ClaimTerms, *, begun: Begun | None = None
) -> Claimed:
    """Take what is due within the quotas and within what each endpoint may be sent.

    A claim that this transaction has `begun` before is filled first, so that none but the last holds little:
    each costs a message and what a worker does for it.
    """
    gates, busy = await health.gates(tx, [quota.endpoint_id for quota in quotas])
    grants, later = allot(quotas, gates, terms)
    later |= dict.fromkeys(busy, BUSY_SECONDS)
    if not grants:
        return Claimed((), {}, later, begun)
    if begun is not None and begun.size >= terms.batch:
        begun = None
    holds = 0 if begun is None else begun.size
    most = math.ceil((holds + sum(grant.take for grant in grants)) / terms.batch)
    ids = [ClaimId(new_id()) for _ in range(most)]
    if begun is not None:
        ids[0] = begun.claim_id
    taken = await claiming.claim(
        tx,
        grants,
        lane=terms.lane,
        claims=ids,
        batch=terms.batch,
        lease=terms.lease,
        begun=holds,
    )
    if not taken.claims:
        return Claimed((), {}, later, begun)
    last = max(taken.claims, key=ids.index)
    size = taken.claims[last] + (holds if last == ids[0] else 0)
    return Claimed(tuple(taken.claims), taken.by_endpoint, later, Begun(last, size))


def allot(
    quotas: Sequence[Quota], gates: Mapping[EndpointId, Gate], terms: ClaimTerms
) -> tuple[list[Grant], dict[EndpointId, float]]:
    """Say what of the quotas is granted, and in how many seconds a rate limit lets more go. Pure."""
    grants: list[Grant] = []
    later: dict[EndpointId, float] = {}
    for quota in quotas:
        gate = gates.get(quota.endpoint_id)
        if gate is None:
            continue
        allowed = _allowed(gate, terms.in_flight)
        take = min(quota.take, allowed.take)
        if terms.lane is Lane.REPLAY and not allowed.probe:
            take = min(take, left_to_replays(gate.standing, most=gate.most or terms.in_flight))
        if take:
            interval = None if gate.rate is None else gate.rate.interval
            grants.append(Grant(quota.endpoint_id, take, allowed.probe, allowed.counts_from, interval))
        if take < quota.take and allowed.until is not None:
            later[quota.endpoint_id] = (allowed.until - gate.now).total_seconds()
    return grants, later


def left_to_replays(standing: Standing, *, most: int) -> int:
    """How many replays may join what is in flight: half of an endpoint's places are for live work. Pure."""
    limit = min(most, standing.health.limit.now)
    return max(0, max(1, limit // 2) - standing.in_flight)


def _allowed(gate: Gate, in_flight: int) -> Allowance:
    standing = gate.standing
    return allowance(
        standing.health,
        in_flight=standing.in_flight,
        most=gate.most or in_flight,
        rate=gate.rate,
        next_at=standing.next_at,
        now=gate.now,
    )
