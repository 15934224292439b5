"""From attempts that ended to the health of their endpoints, in the transaction that records them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, assert_never

from delivery import operational
from delivery.ledger import accepting, endpoints, health, journal, tenants
from delivery.ledger.journal import ENGINE, Entry
from delivery.ledger.recording import Final, Result
from delivery.model import DeliveryStatus, Lane, Prefix, show_id
from retries.breaker import BreakerState
from retries.health import (
    BreakerClosed,
    BreakerOpened,
    DisableWarning,
    FailedTooLong,
    Health,
    Sign,
    Waiting,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.ledger import Transaction
    from delivery.ledger.health import Standing
    from delivery.ledger.recording import Recorded
    from delivery.model import EndpointId, TenantId
    from retries.health import Change, HealthTerms


@dataclass(frozen=True, slots=True)
class Ended:
    """One attempt that ended: what is recorded of it, and what it tells of its endpoint.

    `disable` is the reason for which the endpoint wants no more at all. What happens to an operational
    endpoint is told to nobody.
    """

    result: Result
    sign: Sign
    terms: HealthTerms
    operational: bool
    disable: str | None = None
    lane: Lane = Lane.LIVE

    @property
    def endpoint_id(self) -> EndpointId:
        """Whose attempt it was."""
        return self.result.attempt.endpoint_id


async def judge_all(
    tx: Transaction, ended: Sequence[Ended], recorded: Recorded, *, dice: Callable[[], float]
) -> Counter[BreakerState]:
    """Count attempts into the health of their endpoints, and let what they held in flight go.

    Returns how many breakers went into which state.
    Only attempts under claims that still exist count; what an orphan found out is history alone.
    """
    valid = [one for one in ended if one.result.claim_id not in recorded.orphans]
    turned: Counter[BreakerState] = Counter()
    if not recorded.released:
        return turned
    standings = await health.lock(tx, recorded.released)
    known = [one for one in valid if one.endpoint_id in standings]
    if not known:
        return turned
    healths, entries = await _judged(tx, known, standings, dice)
    await health.write(tx, healths, released=recorded.released)
    await accepting.wake(tx, _with_room_again(known, standings, healths))
    # Replays come to an endpoint in small numbers: where some have ended, there are likely more.
    replayed = {(one.result.attempt.tenant_id, one.endpoint_id) for one in known if one.lane is Lane.REPLAY}
    await accepting.wake(tx, replayed, lane=Lane.REPLAY)
    await _tell(tx, known, entries)
    for endpoint_id, now in healths.items():
        before = standings[endpoint_id].health.breaker.state
        if now.breaker.state is not before and now.breaker.state is not BreakerState.HALF_OPEN:
            turned[now.breaker.state] += 1
    return turned


async def _judged(
    tx: Transaction,
    ended: Sequence[Ended],
    standings: Mapping[EndpointId, Standing],
    dice: Callable[[], float],
) -> tuple[dict[EndpointId, Health], list[Entry]]:
    """What the attempts make of their endpoints, one after another, and what is to be told of it."""
    healths = {endpoint_id: standing.health for endpoint_id, standing in standings.items()}
    entries: list[Entry] = []
    for one in ended:
        health_now = healths[one.endpoint_id]
        sign = replace(one.sign, probe=_is_probe(one, standings[one.endpoint_id], health_now))
        healths[one.endpoint_id], changes = judge(health_now, sign, terms=one.terms, jitter=dice())
        entries += await _follow(tx, one, changes)
    return healths, entries


async def _tell(tx: Transaction, ended: Sequence[Ended], entries: Sequence[Entry]) -> None:
    """Write down what happened, and tell the tenants of it who want to know."""
    await journal.append(tx, [entry for entry in entries if entry.what != "delivery.failed"])
    loud = {one.endpoint_id for one in ended if not one.operational}
    heard = [entry for entry in entries if entry.endpoint_id in loud]
    await operational.tell(tx, heard, now=ended[-1].sign.at)
    # After every endpoint and in one order, so that no two who disable wait for each other.
    for tenant_id in sorted({entry.tenant_id for entry in entries if entry.what == "endpoint.disabled"}):
        await tenants.endpoints_changed(tx, tenant_id)


def _with_room_again(
    ended: Sequence[Ended],
    standings: Mapping[EndpointId, Standing],
    healths: Mapping[EndpointId, Health],
) -> set[tuple[TenantId, EndpointId]]:
    return {
        (one.result.attempt.tenant_id, one.endpoint_id)
        for one in ended
        if _has_room_again(standings[one.endpoint_id], healths[one.endpoint_id], one.terms)
    }


def _is_probe(one: Ended, standing: Standing, now: Health) -> bool:
    return now.breaker.state is BreakerState.HALF_OPEN and one.result.attempt.delivery_id == standing.probe_id


def _has_room_again(before: Standing, now: Health, terms: HealthTerms) -> bool:
    """Whether the relay should look again: it found no room before, and now there may be some."""
    if now.breaker.state is not BreakerState.CLOSED:
        return False
    was_closed = before.health.breaker.state is BreakerState.CLOSED
    return not was_closed or before.in_flight >= min(before.health.limit.now, terms.in_flight)


async def _follow(tx: Transaction, one: Ended, changes: Sequence[Change]) -> list[Entry]:
    """What is to be told of an attempt's consequences; an endpoint that has to be disabled is."""
    entries = [_entry(one, change) for change in changes if not isinstance(change, FailedTooLong)]
    reason, details = one.disable, {}
    for change in changes:
        if isinstance(change, FailedTooLong):
            reason, details = "failing", {"failing_since": change.failing_since}
    attempt = one.result.attempt
    if reason is not None and await endpoints.disable(
        tx, attempt.endpoint_id, url=attempt.url, reason=reason, actor=ENGINE, at=one.sign.at
    ):
        entries.append(_about(one, "endpoint.disabled", reason=reason, details=details))
    if isinstance(one.result.follows, Final) and one.result.follows.status is DeliveryStatus.FAILED:
        entries.append(_failed(one, one.result.follows))
    return entries


def _entry(one: Ended, change: BreakerOpened | BreakerClosed | Waiting | DisableWarning) -> Entry:
    match change:
        case BreakerOpened(probe_at, again):
            # Its tenant has heard of an opening; that it goes on is for the journal alone.
            what = "endpoint.breaker_stayed_open" if again else "endpoint.breaker_opened"
            return _about(one, what, reason=one.result.attempt.reason, details={"probe_at": probe_at})
        case BreakerClosed(opened_at):
            return _about(one, "endpoint.breaker_closed", details={"opened_at": opened_at})
        case Waiting(until):
            return _about(one, "endpoint.waiting", reason="retry_after", details={"until": until})
        case DisableWarning(percent, failing_since, disabled_at):
            details = {"percent": percent, "failing_since": failing_since, "disabled_at": disabled_at}
            return _about(one, "endpoint.disable_warning", reason="failing", details=details)
        case _:
            assert_never(change)


def _failed(one: Ended, final: Final) -> Entry:
    attempt = one.result.attempt
    details = {
        "event_id": show_id(Prefix.EVENT, attempt.event_id),
        "attempts": attempt.number,
        "outcome": attempt.outcome,
        "status": attempt.status,
    }
    about = _about(one, "delivery.failed", reason=final.reason, details=details)
    return replace(about, delivery_id=attempt.delivery_id)


def _about(one: Ended, what: str, *, reason: str | None = None, details: dict[str, Any]) -> Entry:
    at: datetime = one.sign.at
    return Entry(
        tenant_id=one.result.attempt.tenant_id,
        what=what,
        actor=ENGINE,
        at=at,
        reason=reason,
        endpoint_id=one.endpoint_id,
        details=details,
    )
