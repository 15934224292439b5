"""An endpoint's own limits: what a person may ask for, the checks on it, and how it is shown. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from delivery.checks import field
from delivery.errors import Invalid
from retries.policy import check_permanent
from retries.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from delivery.model import EndpointLimits
    from retries.breaker import BreakerTerms

# By the names that the doors have.
LIMITS: Final = ("in_flight_max", "rate_limit", "breaker", "disable_after_hours", "permanent_statuses")
MOST_IN_FLIGHT: Final = 1_000
MOST_AT_A_RATE: Final = 100_000
LONGEST_RATE: Final = timedelta(days=1)
LONGEST_FAILING: Final = timedelta(hours=8_760)
MOST_STATUSES: Final = 100
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Term:
    """One number of a breaker: the name it has in BreakerTerms, and its bounds.

    A whole number is at least 1, a time at least `least` seconds, the others are more than 0.
    """

    name: str
    most: int
    whole: bool = False
    time: bool = False
    least: float = 0.0


# The bounds are those of the operator's WAYBILL_BREAKER_… settings.
BREAKER: Final[Mapping[str, Term]] = {
    "consecutive_failures": Term("consecutive", 100_000, whole=True),
    "failure_ratio": Term("ratio", 1),
    "minimum_requests": Term("minimum", 100_000, whole=True),
    "window_seconds": Term("window", 3_600, time=True, least=1),
    "cool_down_seconds": Term("cool_down", 3_600, time=True, least=0.1),
    "longest_cool_down_seconds": Term("longest_cool_down", 3_600, time=True, least=0.1),
}


def checked_limits(asked: Mapping[str, Any], defaults: BreakerTerms) -> dict[str, Any]:
    """What was asked for of the limits, by the names of an EndpointLimits' fields."""
    checked: dict[str, Any] = {}
    if "in_flight_max" in asked:
        checked["in_flight"] = _in_flight(asked["in_flight_max"])
    if "rate_limit" in asked:
        checked["rate"] = _rate(asked["rate_limit"])
    if "breaker" in asked:
        checked["breaker"] = _breaker(asked["breaker"] or {}, defaults)
    if "disable_after_hours" in asked:
        checked["disable_after"] = _disable_after(asked["disable_after_hours"])
    if "permanent_statuses" in asked:
        checked["permanent"] = _permanent(asked["permanent_statuses"])
    return checked


def shown_limits(limits: EndpointLimits) -> dict[str, Any]:
    """The limits as they were asked for; null is the operator's default."""
    rate, disable_after = limits.rate, limits.disable_after
    breaker = {
        name: limits.breaker[term.name] for name, term in BREAKER.items() if term.name in limits.breaker
    }
    return {
        "in_flight_max": limits.in_flight,
        "rate_limit": None
        if rate is None
        else {"limit": rate.limit, "per_seconds": _plain(rate.per.total_seconds())},
        "breaker": {name: _plain(value) for name, value in breaker.items()} or None,
        "disable_after_hours": None if disable_after is None else _plain(disable_after / _HOUR),
        "permanent_statuses": list(limits.permanent),
    }


def _in_flight(most: int | None) -> int | None:
    return None if most is None else _whole("in_flight_max", most, most=MOST_IN_FLIGHT)


def _rate(rate: Mapping[str, Any] | None) -> RateLimit | None:
    if rate is None:
        return None
    return RateLimit(
        _whole("rate_limit.limit", rate["limit"], most=MOST_AT_A_RATE),
        _time("rate_limit.per_seconds", rate["per_seconds"], timedelta(seconds=1), longest=LONGEST_RATE),
    )


def _disable_after(hours: float | None) -> timedelta | None:
    return None if hours is None else _time("disable_after_hours", hours, _HOUR, longest=LONGEST_FAILING)


def _permanent(statuses: Sequence[int]) -> tuple[int, ...]:
    if len(statuses) > MOST_STATUSES:
        raise Invalid(
            "permanent_statuses", f"must have at most {MOST_STATUSES} statuses, not {len(statuses)}"
        )
    for position, status in enumerate(statuses):
        with field(f"permanent_statuses.{position}"):
            check_permanent(status)
    return tuple(dict.fromkeys(statuses))


def _breaker(asked: Mapping[str, float | None], defaults: BreakerTerms) -> dict[str, float]:
    own: dict[str, float] = {}
    for name, value in asked.items():
        if (term := BREAKER.get(name)) is None:
            raise Invalid(f"breaker.{name}", f"is not one of {', '.join(BREAKER)}")
        if value is not None:
            own[term.name] = _of_breaker(f"breaker.{name}", term, value)
    _check_cool_downs(own, defaults)
    return own


def _of_breaker(name: str, term: Term, value: float) -> float:
    if term.whole:
        return _whole(name, value, most=term.most)
    if term.time:
        if not term.least <= value <= term.most:
            raise Invalid(name, f"must be from {term.least:g} to {term.most} seconds")
        return _plain(value)
    if not 0 < value <= term.most:
        raise Invalid(name, f"must be more than 0 and at most {term.most}")
    return value


def _check_cool_downs(own: Mapping[str, float], defaults: BreakerTerms) -> None:
    """The first cool-down must not be longer than the longest. What the operator has set is not judged."""
    if "cool_down" not in own and "longest_cool_down" not in own:
        return
    first = own.get("cool_down", defaults.cool_down.total_seconds())
    longest = own.get("longest_cool_down", defaults.longest_cool_down.total_seconds())
    if first <= longest:
        return
    if "longest_cool_down" in own:
        raise Invalid(
            "breaker.longest_cool_down_seconds", f"must be at least the cool-down, {first:g} seconds"
        )
    raise Invalid(
        "breaker.cool_down_seconds",
        f"must be at most the longest cool-down, {longest:g} seconds; name a longer one too",
    )


def _whole(name: str, value: float, *, most: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= most:
        raise Invalid(name, f"must be a whole number from 1 to {most}")
    return value


def _time(name: str, value: float, unit: timedelta, *, longest: timedelta) -> timedelta:
    # Compared as they come, before they can be too large for a timedelta; what rounds to nothing is nothing.
    if 0 < value <= longest / unit and (time := value * unit):
        return time
    raise Invalid(name, f"must be more than 0 and at most {longest / unit:g}")


def _plain(value: float) -> float:
    """A number as a person would write it: 5, not 5.0."""
    return int(value) if math.isfinite(value) and float(value).is_integer() else value
