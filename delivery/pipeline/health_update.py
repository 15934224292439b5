"""From attempts that ended to the health of their endpoints, in the transaction that records them."""

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
    from datetime import datetime

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction
    from delivery.ledger.queue.endpoint_health import EndpointHealthRow
    from delivery.ledger.queue.results import RecordingResult
    from retries.health import HealthChange, HealthConfig


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """One attempt that ended: what is recorded of it, and what it tells of its endpoint.

    `disable` is the reason for which the endpoint wants no more at all. What happens to an operational
    endpoint is told to nobody.
    """

    result: RecordedAttempt
    sample: HealthSample
    health_config: HealthConfig
    operational: bool
    disable_reason: str | None = None
    priority: Priority = Priority.LIVE

    @property
    def endpoint_id(self) -> EndpointId:
        """Whose attempt it was."""
        return self.result.attempt.endpoint_id


async def apply_results(
    tx: Transaction,
    attempts: Sequence[FinishedAttempt],
    recorded: RecordingResult,
    *,
    rng: Callable[[], float],
) -> Counter[BreakerState]:
    """Count attempts into the health of their endpoints, and let what they held in flight go.

    Returns how many breakers went into which state.
    Only attempts under claims that still exist count; what an orphan found out is history alone.
    """
    valid = [one for one in attempts if one.result.claim_id not in recorded.orphaned_claims]
    turned: Counter[BreakerState] = Counter()
    if not recorded.released:
        return turned
    standings = await endpoint_health.lock(tx, recorded.released)
    known = [one for one in valid if one.endpoint_id in standings]
    if not known:
        return turned
    healths, entries = await _update_healths(tx, known, standings, rng)
    await endpoint_health.write(tx, healths, released=recorded.released)
    await enqueue.notify_due(tx, _find_endpoints_with_room(known, standings, healths))
    # Replays come to an endpoint in small numbers: where some have ended, there are likely more.
    replayed = {
        (one.result.attempt.tenant_id, one.endpoint_id) for one in known if one.priority is Priority.REPLAY
    }
    await enqueue.notify_due(tx, replayed, priority=Priority.REPLAY)
    await _record_entries(tx, known, entries)
    for endpoint_id, now in healths.items():
        before = standings[endpoint_id].health.breaker.state
        if now.breaker.state is not before and now.breaker.state is not BreakerState.HALF_OPEN:
            turned[now.breaker.state] += 1
    return turned


async def _update_healths(
    tx: Transaction,
    attempts: Sequence[FinishedAttempt],
    standings: Mapping[EndpointId, EndpointHealthRow],
    rng: Callable[[], float],
) -> tuple[dict[EndpointId, Health], list[JournalEntry]]:
    """What the attempts make of their endpoints, one after another, and what is to be told of it."""
    healths = {endpoint_id: standing.health for endpoint_id, standing in standings.items()}
    entries: list[JournalEntry] = []
    for one in attempts:
        health_now = healths[one.endpoint_id]
        sign = replace(one.sample, is_probe=_is_probe(one, standings[one.endpoint_id], health_now))
        healths[one.endpoint_id], changes = update_health(
            health_now, sign, config=one.health_config, jitter=rng()
        )
        entries += await _apply_changes(tx, one, changes)
    return healths, entries


async def _record_entries(
    tx: Transaction, attempts: Sequence[FinishedAttempt], entries: Sequence[JournalEntry]
) -> None:
    """Write down what happened, and tell the tenants of it who want to know."""
    await journal.append(tx, [entry for entry in entries if entry.action != "delivery.failed"])
    loud = {one.endpoint_id for one in attempts if not one.operational}
    heard = [entry for entry in entries if entry.endpoint_id in loud]
    await system_events.publish_system_events(tx, heard, now=attempts[-1].sample.ended_at)
    # After every endpoint and in one order, so that no two who disable wait for each other.
    for tenant_id in sorted({entry.tenant_id for entry in entries if entry.action == "endpoint.disabled"}):
        await tenants.bump_endpoints_version(tx, tenant_id)


def _find_endpoints_with_room(
    attempts: Sequence[FinishedAttempt],
    standings: Mapping[EndpointId, EndpointHealthRow],
    healths: Mapping[EndpointId, Health],
) -> set[tuple[TenantId, EndpointId]]:
    return {
        (one.result.attempt.tenant_id, one.endpoint_id)
        for one in attempts
        if _has_room_again(standings[one.endpoint_id], healths[one.endpoint_id], one.health_config)
    }


def _is_probe(finished: FinishedAttempt, standing: EndpointHealthRow, now: Health) -> bool:
    return (
        now.breaker.state is BreakerState.HALF_OPEN
        and finished.result.attempt.delivery_id == standing.probe_id
    )


def _has_room_again(before: EndpointHealthRow, now: Health, config: HealthConfig) -> bool:
    """Whether the relay should look again: it found no room before, and now there may be some."""
    if now.breaker.state is not BreakerState.CLOSED:
        return False
    was_closed = before.health.breaker.state is BreakerState.CLOSED
    return not was_closed or before.in_flight >= min(before.health.limit.now, config.max_in_flight)


async def _apply_changes(
    tx: Transaction, finished: FinishedAttempt, changes: Sequence[HealthChange]
) -> list[JournalEntry]:
    """What is to be told of an attempt's consequences; an endpoint that has to be disabled is."""
    entries = [
        _build_change_entry(finished, change) for change in changes if not isinstance(change, FailedTooLong)
    ]
    reason, details = finished.disable_reason, {}
    for change in changes:
        if isinstance(change, FailedTooLong):
            reason, details = "failing", {"failing_since": change.failing_since}
    attempt = finished.result.attempt
    if reason is not None and await endpoints.disable(
        tx,
        attempt.endpoint_id,
        url=attempt.url,
        reason=reason,
        actor=ENGINE_ACTOR,
        at=finished.sample.ended_at,
    ):
        entries.append(_build_entry(finished, "endpoint.disabled", reason=reason, details=details))
    if (
        isinstance(finished.result.next_state, DeliveryFinished)
        and finished.result.next_state.status is DeliveryStatus.FAILED
    ):
        entries.append(_build_failed_entry(finished, finished.result.next_state))
    return entries


def _build_change_entry(
    finished: FinishedAttempt, change: BreakerOpened | BreakerClosed | WaitRequested | DisableWarning
) -> JournalEntry:
    match change:
        case BreakerOpened(probe_at, again):
            # Its tenant has heard of an opening; that it goes on is for the journal alone.
            what = "endpoint.breaker_stayed_open" if again else "endpoint.breaker_opened"
            return _build_entry(
                finished, what, reason=finished.result.attempt.reason, details={"probe_at": probe_at}
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
    about = _build_entry(finished, "delivery.failed", reason=final.reason, details=details)
    return replace(about, delivery_id=attempt.delivery_id)


def _build_entry(
    finished: FinishedAttempt, what: str, *, reason: str | None = None, details: dict[str, Any]
) -> JournalEntry:
    at: datetime = finished.sample.ended_at
    return JournalEntry(
        tenant_id=finished.result.attempt.tenant_id,
        action=what,
        actor=ENGINE_ACTOR,
        at=at,
        reason=reason,
        endpoint_id=finished.endpoint_id,
        details=details,
    )
