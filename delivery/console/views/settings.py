"""An endpoint's terms in words, and which of them are its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.bootstrap import default_schedule
from delivery.moments import length
from delivery.tracing.sentences import counted
from delivery.wording import delays

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.config import Settings
    from delivery.model import Endpoint

_SCHEME: Final = {"v1": "HMAC-SHA256 (v1)", "v1a": "ed25519 (v1a)"}


@dataclass(frozen=True, slots=True)
class Term:
    """One term: what it is, in words; `own`: the endpoint's, and not everybody's default."""

    name: str
    told: str
    own: bool


def told_terms(endpoint: Endpoint, settings: Settings) -> Sequence[Term]:
    """Everything by which an endpoint is delivered to and judged."""
    limits, own = endpoint.limits, endpoint.limits.breaker
    terms = limits.terms(settings.health_terms)
    breaker = terms.breaker
    schedule = endpoint.schedule or default_schedule(settings).delays
    timeout = endpoint.timeout
    rate = limits.rate
    opens = (
        f"opens after {counted(breaker.consecutive, 'failure')} in a row, or when {breaker.ratio * 100:g} % "
        f"of at least {breaker.minimum} in {length(breaker.window)} fail; is open for "
        f"{length(breaker.cool_down)} at first, {length(breaker.longest_cool_down)} at most"
    )
    return (
        Term("Signature", _SCHEME[endpoint.signature], own=True),
        Term("Attempts", f"{len(schedule)}: {delays(schedule)}", endpoint.schedule is not None),
        Term("Time limit", f"{_seconds(timeout, settings)} for one attempt", timeout is not None),
        Term("In flight", f"at most {terms.in_flight:,} at a time", limits.in_flight is not None),
        Term(
            "Rate", "no limit" if rate is None else f"{rate.limit:,} in {length(rate.per)}", rate is not None
        ),
        Term("Breaker", opens, bool(own)),
        Term(
            "Disabled",
            f"after {length(terms.disable_after)} of nothing but failures",
            limits.disable_after is not None,
        ),
        Term("Permanent", _permanent(limits.permanent), bool(limits.permanent)),
    )


def _seconds(timeout: timedelta | None, settings: Settings) -> str:
    return f"{settings.attempt_timeout:g} s" if timeout is None else length(timeout)


def _permanent(statuses: Sequence[int]) -> str:
    if not statuses:
        return "no answers beside those that are for everybody"
    return f"{', '.join(map(str, statuses))} end a delivery at once"
