"""An endpoint's health put together for people: what holds it, what waits for it, how it did. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.holding import Situation, hold_of
from delivery.ledger.health import Standing
from delivery.model import EndpointState
from retries.breaker import BreakerState
from retries.health import SILENCE, Health
from retries.limit import InFlightLimit

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.ledger.endpoint_figures import Backlog, Owed, Recent
    from delivery.model import Endpoint, Held
    from retries.health import HealthTerms

RECENT: Final = timedelta(hours=1)
MOST_SAMPLED: Final = 10_000
MOST_DUE: Final = 1_000
MANY_FAILED: Final = 5


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How an endpoint does.

    `limit` is how many it may have in flight now, `most` how many ever. `hold` is why nothing goes out though
    it is due; `held` counts what is due and held, `waiting` all that no worker has; there may be more where
    they are `bounded`. `disabled_at` is when it will be disabled if it only fails until then.
    """

    endpoint: Endpoint
    standing: Standing
    limit: int
    most: int
    hold: Held | None
    held: int
    oldest_held: Owed | None
    waiting: int
    disabled_at: datetime | None
    recent: Recent
    bounded: bool = False

    @property
    def probe_at(self) -> datetime | None:
        """When a probe may go; None while the breaker is closed, or a probe on its way."""
        breaker = self.standing.health.breaker
        return breaker.probe_at if breaker.state is BreakerState.OPEN else None


@dataclass(frozen=True, slots=True)
class Glance:
    """How an endpoint does, as a list tells it.

    `hold` is what holds something that is due, `held` counts that, up to MOST_DUE.
    """

    breaker: BreakerState
    hold: Held | None
    held: int
    in_flight: int
    last_succeeded_at: datetime | None
    last_failed_at: datetime | None
    failed: int = 0

    @property
    def is_failing(self) -> bool:
        """Whether so many have failed with no success between them that it should be looked at."""
        return self.failed >= MANY_FAILED


@dataclass(frozen=True, slots=True)
class EnablePreview:
    """What enabling an endpoint would let go: so many deliveries, at first so many at a time, then more."""

    endpoint: Endpoint
    held: int
    oldest: Owed | None
    newest: Owed | None
    at_first: int
    up_to: int
    bounded: bool = False


def assemble(
    endpoint: Endpoint, known: Standing | None, backlog: Backlog, recent: Recent, defaults: HealthTerms
) -> EndpointHealth:
    """Put an endpoint's health together from what the ledger knows at one moment."""
    terms = endpoint.limits.terms(defaults)
    standing = known or _fresh(endpoint, terms)
    hold = hold_of(_situation(endpoint, standing, now=backlog.now), in_flight=terms.in_flight)
    return EndpointHealth(
        endpoint=endpoint,
        standing=standing,
        limit=min(standing.health.limit.now, terms.in_flight),
        most=terms.in_flight,
        hold=hold,
        held=0 if hold is None else backlog.due,
        oldest_held=None if hold is None else backlog.oldest_due,
        waiting=backlog.waiting,
        disabled_at=_disabled_at(endpoint, standing.health, terms, now=backlog.now),
        recent=recent,
        bounded=backlog.bounded,
    )


def glance(
    endpoint: Endpoint, known: Standing | None, due: int, defaults: HealthTerms, *, now: datetime
) -> Glance:
    """Put together what a list tells of an endpoint."""
    terms = endpoint.limits.terms(defaults)
    standing = known or _fresh(endpoint, terms)
    hold = hold_of(_situation(endpoint, standing, now=now), in_flight=terms.in_flight)
    return Glance(
        breaker=standing.health.breaker.state,
        hold=hold if due else None,
        held=0 if hold is None else min(due, MOST_DUE),
        in_flight=standing.in_flight,
        last_succeeded_at=standing.health.last_succeeded_at,
        last_failed_at=standing.health.last_failed_at,
        failed=standing.health.failed,
    )


def preview(
    endpoint: Endpoint, known: Standing | None, backlog: Backlog, defaults: HealthTerms
) -> EnablePreview:
    """Tell what enabling would do; to an active endpoint it does nothing."""
    terms = endpoint.limits.terms(defaults)
    if endpoint.state is EndpointState.ACTIVE:
        now = (known or _fresh(endpoint, terms)).health.limit.now
        return EnablePreview(endpoint, 0, None, None, min(now, terms.in_flight), terms.in_flight)
    at_first = InFlightLimit.ramp().now
    return EnablePreview(
        endpoint,
        backlog.waiting,
        backlog.oldest,
        backlog.newest,
        at_first=at_first,
        up_to=terms.in_flight,
        bounded=backlog.bounded,
    )


def _situation(endpoint: Endpoint, standing: Standing, *, now: datetime) -> Situation:
    return Situation(
        state=endpoint.state,
        state_reason=endpoint.state_reason,
        state_actor=endpoint.state_actor,
        state_changed_at=endpoint.state_changed_at,
        health=standing.health,
        in_flight=standing.in_flight,
        most=endpoint.limits.in_flight,
        rate=endpoint.limits.rate,
        next_at=standing.next_at,
        now=now,
    )


def _disabled_at(endpoint: Endpoint, health: Health, terms: HealthTerms, *, now: datetime) -> datetime | None:
    if endpoint.state is not EndpointState.ACTIVE or health.failing_since is None:
        return None
    # After a longer silence than that the next failure is a first one again.
    silence = max(terms.disable_after, SILENCE)
    if health.last_failed_at is not None and now - health.last_failed_at > silence:
        return None
    return health.failing_since + terms.disable_after


def _fresh(endpoint: Endpoint, terms: HealthTerms) -> Standing:
    """What an endpoint has of which nothing is written yet: one that an older release has made."""
    health = Health.fresh(endpoint.created_at, most=terms.in_flight)
    return Standing(endpoint.id, health, in_flight=0, probe_id=None, next_at=None)
