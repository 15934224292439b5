"""Idempotency keys: a request that is repeated under its key gets the first one's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.errors import Conflict, Unavailable
from delivery.ledger.queue import enqueue
from delivery.pipeline.fanout import FanoutPlan
from delivery.pipeline.intake_request import IntakeResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.errors import Refusal
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.pipeline.intake_request import IntakeRequest


async def find_earlier_result(ledger: Ledger, request: IntakeRequest) -> IntakeResult | None:
    """Return what this very request was answered before under its key. Raises Conflict."""
    if request.idempotency_key is None:
        return None
    key = (request.tenant_id, request.idempotency_key)
    async with ledger.transaction() as tx:
        stored = (await enqueue.find_idempotency_keys(tx, [key])).get(key)
    if stored is None:
        return None
    outcome = _compare_with_stored(request, stored)
    if isinstance(outcome, IntakeResult):
        return outcome
    raise outcome


async def store_idempotency_keys(
    tx: Transaction,
    requests: Sequence[IntakeRequest],
    plans: Sequence[FanoutPlan | Refusal],
    *,
    now: datetime,
) -> dict[int, IntakeResult | Exception]:
    """Store the keys of these requests, and return the outcomes of those whose key was used before.

    The outcomes are by `id(request)`. Of requests in one group with the same key, the first one stores it.
    """
    by_key: dict[tuple[TenantId, str], list[tuple[IntakeRequest, bytes]]] = {}
    for request, plan in zip(requests, plans, strict=True):
        if request.idempotency_key is not None and isinstance(plan, FanoutPlan):
            key = (request.tenant_id, request.idempotency_key)
            by_key.setdefault(key, []).append((request, plan.response_body))
    if not by_key:
        return {}
    firsts = {key: same_key[0] for key, same_key in by_key.items()}
    new_keys = await enqueue.insert_idempotency_keys(
        tx,
        [
            enqueue.IdempotencyKeyRow(tenant_id, key, request.request_sha256, response_body, now)
            for (tenant_id, key), (request, response_body) in firsts.items()
        ],
    )
    has_duplicates = len(new_keys) < len(requests)
    stored = await enqueue.find_idempotency_keys(tx, list(by_key)) if has_duplicates else {}
    return {
        id(request): _compare_with_stored(request, stored.get(key))
        for key, same_key in by_key.items()
        for position, (request, _) in enumerate(same_key)
        if key not in new_keys or position > 0
    }


def _compare_with_stored(
    request: IntakeRequest, stored: tuple[bytes, bytes] | None
) -> IntakeResult | Exception:
    if stored is None:  # it expired between the two statements
        return Unavailable("This Idempotency-Key has just expired; try again.")
    request_sha256, response_body = stored
    if request.request_sha256 == request_sha256:
        return IntakeResult(response_body, replayed=True)
    return Conflict(
        "This Idempotency-Key was used before with another request. Use a new key for a new event."
    )
