"""Updates the health of endpoints from their attempts, in the transaction that records these."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, assert_never

from delivery.domain.accounts import ENGINE_ACTOR
from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.queue import endpoint_health, enqueue
from delivery.ledger.queue.results import DeliveryFinished, RecordedAttempt
from delivery.ledger.records import endpoints, journal, tenants
from delivery.ledger.records.journal import JournalEntry
from delivery.pipeline import system_events
from retries.breaker import BreakerState
from retries.health import (
    BreakerClosed,
    BreakerOpened,
    DisableWarning,
    FailedTooLong,
    Health,
    HealthSample,
    WaitRequested,
    update_health,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction
    from delivery.ledger.queue.endpoint_health import EndpointHealthRow
    from delivery.ledger.queue.results import RecordingResult
    from retries.health import HealthChange, HealthConfig


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """An attempt that has ended: its record, and what it says about its endpoint.

    `disable_reason` is set if the endpoint must be disabled. An `operational` endpoint causes no system
    events.
    """

    result: RecordedAttempt
    sample: HealthSample
    health_config: HealthConfig
    operational: bool
    disable_reason: str | None = None
    priority: Priority = Priority.LIVE

    @property
    def endpoint_id(self) -> EndpointId:
        """The endpoint that the attempt was for."""
        return self.result.attempt.endpoint_id


async def apply_results(
    tx: Transaction,
    attempts: Sequence[FinishedAttempt],
    recorded: RecordingResult,
    *,
    rng: Callable[[], float],
) -> Counter[BreakerState]:
    """Update the health of the attempts' endpoints, and release what the attempts held in flight.

    Attempts whose claim is gone do not count: they are history only. Returns how many breakers changed into
    each state.
    """
    breaker_changes: Counter[BreakerState] = Counter()
    if not recorded.released:
        return breaker_changes
    rows = await endpoint_health.lock(tx, recorded.released)
    counted = [
        attempt
        for attempt in attempts
        if attempt.result.claim_id not in recorded.orphaned_claims and attempt.endpoint_id in rows
    ]
    if not counted:
        return breaker_changes
    healths, entries = await _update_healths(tx, counted, rows, rng)
    await endpoint_health.write(tx, healths, released=recorded.released)
    await enqueue.notify_due(tx, _find_endpoints_with_room(counted, rows, healths))
    # An endpoint gets few replays at a time: where some have ended, more are likely due.
    replayed = {
        (attempt.result.attempt.tenant_id, attempt.endpoint_id)
        for attempt in counted
        if attempt.priority is Priority.REPLAY
    }
    await enqueue.notify_due(tx, replayed, priority=Priority.REPLAY)
    await _record_entries(tx, counted, entries)
    for endpoint_id, health in healths.items():
        before, now = rows[endpoint_id].health.breaker.state, health.breaker.state
        if now is not before and now is not BreakerState.HALF_OPEN:
            breaker_changes[now] += 1
    return breaker_changes


async def _update_healths(
    tx: Transaction,
    attempts: Sequence[FinishedAttempt],
    rows: Mapping[EndpointId, EndpointHealthRow],
    rng: Callable[[], float],
) -> tuple[dict[EndpointId, Health], list[JournalEntry]]:
    """Apply the attempts one after another; returns the new healths and the journal entries."""
    healths = {endpoint_id: row.health for endpoint_id, row in rows.items()}
    entries: list[JournalEntry] = []
    for attempt in attempts:
        health = healths[attempt.endpoint_id]
        sample = replace(attempt.sample, is_probe=_is_probe(attempt, rows[attempt.endpoint_id], health))
        healths[attempt.endpoint_id], changes = update_health(
            health, sample, config=attempt.health_config, jitter=rng()
        )
        entries += await _apply_changes(tx, attempt, changes)
    return healths, entries


async def _record_entries(
    tx: Transaction, attempts: Sequence[FinishedAttempt], entries: Sequence[JournalEntry]
) -> None:
    """Write journal entries, and publish system events to the tenants that subscribe to them."""
    await journal.append(tx, [entry for entry in entries if entry.action != "delivery.failed"])
    with_events = {attempt.endpoint_id for attempt in attempts if not attempt.operational}
    published = [entry for entry in entries if entry.endpoint_id in with_events]
    await system_events.publish_system_events(tx, published, now=attempts[-1].sample.ended_at)
    # After all endpoints and in one order, so that concurrent transactions cannot deadlock.
    for tenant_id in sorted({entry.tenant_id for entry in entries if entry.action == "endpoint.disabled"}):
        await tenants.bump_endpoints_version(tx, tenant_id)


def _find_endpoints_with_room(
    attempts: Sequence[FinishedAttempt],
    rows: Mapping[EndpointId, EndpointHealthRow],
    healths: Mapping[EndpointId, Health],
) -> set[tuple[TenantId, EndpointId]]:
    return {
        (attempt.result.attempt.tenant_id, attempt.endpoint_id)
        for attempt in attempts
        if _has_room_again(rows[attempt.endpoint_id], healths[attempt.endpoint_id], attempt.health_config)
    }


def _is_probe(finished: FinishedAttempt, row: EndpointHealthRow, health: Health) -> bool:
    is_half_open = health.breaker.state is BreakerState.HALF_OPEN
    return is_half_open and finished.result.attempt.delivery_id == row.probe_id


def _has_room_again(before: EndpointHealthRow, now: Health, config: HealthConfig) -> bool:
    """Whether the relay should look again: there was no room before, and now there may be some."""
    if now.breaker.state is not BreakerState.CLOSED:
        return False
    was_closed = before.health.breaker.state is BreakerState.CLOSED
    return not was_closed or before.in_flight >= min(before.health.limit.now, config.max_in_flight)


async def _apply_changes(
    tx: Transaction, finished: FinishedAttempt, changes: Sequence[HealthChange]
) -> list[JournalEntry]:
    """Disable the endpoint if it must be; returns the journal entries of an attempt's consequences."""
    entries = [
        _build_change_entry(finished, change) for change in changes if not isinstance(change, FailedTooLong)
    ]
    reason, details = finished.disable_reason, {}
    for change in changes:
        if isinstance(change, FailedTooLong):
            reason, details = "failing", {"failing_since": change.failing_since}
    attempt, next_state = finished.result.attempt, finished.result.next_state
    if reason is not None and await endpoints.disable(
        tx,
        attempt.endpoint_id,
        url=attempt.url,
        reason=reason,
        actor=ENGINE_ACTOR,
        at=finished.sample.ended_at,
    ):
        entries.append(_build_entry(finished, "endpoint.disabled", reason=reason, details=details))
    if isinstance(next_state, DeliveryFinished) and next_state.status is DeliveryStatus.FAILED:
        entries.append(_build_failed_entry(finished, next_state))
    return entries


def _build_change_entry(
    finished: FinishedAttempt, change: BreakerOpened | BreakerClosed | WaitRequested | DisableWarning
) -> JournalEntry:
    match change:
        case BreakerOpened(probe_at, is_reopened):
            # The first opening was published as a system event; a failed probe is only journaled.
            action = "endpoint.breaker_stayed_open" if is_reopened else "endpoint.breaker_opened"
            return _build_entry(
                finished, action, reason=finished.result.attempt.reason, details={"probe_at": probe_at}
            )
        case BreakerClosed(opened_at):
            return _build_entry(finished, "endpoint.breaker_closed", details={"opened_at": opened_at})
        case WaitRequested(until):
            return _build_entry(finished, "endpoint.waiting", reason="retry_after", details={"until": until})
        case DisableWarning(percent, failing_since, disabled_at):
            details = {"percent": percent, "failing_since": failing_since, "disabled_at": disabled_at}
            return _build_entry(finished, "endpoint.disable_warning", reason="failing", details=details)
        case _:
            assert_never(change)


def _build_failed_entry(finished: FinishedAttempt, final: DeliveryFinished) -> JournalEntry:
    attempt = finished.result.attempt
    details = {
        "event_id": format_id(Prefix.EVENT, attempt.event_id),
        "attempts": attempt.number,
        "outcome": attempt.outcome,
        "status": attempt.status,
    }
    entry = _build_entry(finished, "delivery.failed", reason=final.reason, details=details)
    return replace(entry, delivery_id=attempt.delivery_id)


def _build_entry(
    finished: FinishedAttempt, action: str, *, reason: str | None = None, details: dict[str, Any]
) -> JournalEntry:
    return JournalEntry(
        tenant_id=finished.result.attempt.tenant_id,
        action=action,
        actor=ENGINE_ACTOR,
        at=finished.sample.ended_at,
        reason=reason,
        endpoint_id=finished.endpoint_id,
        details=details,
    )
