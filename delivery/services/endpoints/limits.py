"""An endpoint's own limits: the checks on them, and their JSON form. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.errors import Invalid
from delivery.domain.validation import validating_field
from retries.policy import check_permanent_status
from retries.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from delivery.domain.endpoint import EndpointLimits
    from retries.breaker import BreakerConfig

# By their names in API, CLI and console.
LIMIT_FIELDS: Final = ("in_flight_max", "rate_limit", "breaker", "disable_after_hours", "permanent_statuses")
MAX_IN_FLIGHT: Final = 1_000
MAX_RATE_LIMIT: Final = 100_000
MAX_RATE_PERIOD: Final = timedelta(days=1)
MAX_DISABLE_AFTER: Final = timedelta(hours=8_760)
MAX_PERMANENT_STATUSES: Final = 100
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BreakerField:
    """One number of a breaker: its name in BreakerConfig, and its bounds.

    An integer is at least 1, a duration at least `minimum` seconds, other numbers are more than 0.
    """

    name: str
    maximum: int
    is_integer: bool = False
    is_duration: bool = False
    minimum: float = 0.0


# The bounds are those of the operator's WAYBILL_BREAKER_… settings.
BREAKER_FIELDS: Final[Mapping[str, BreakerField]] = {
    "consecutive_failures": BreakerField("consecutive", 100_000, is_integer=True),
    "failure_ratio": BreakerField("ratio", 1),
    "minimum_requests": BreakerField("minimum", 100_000, is_integer=True),
    "window_seconds": BreakerField("window", 3_600, is_duration=True, minimum=1),
    "cool_down_seconds": BreakerField("cool_down", 3_600, is_duration=True, minimum=0.1),
    "longest_cool_down_seconds": BreakerField("longest_cool_down", 3_600, is_duration=True, minimum=0.1),
}


def validate_limits(requested: Mapping[str, Any], defaults: BreakerConfig) -> dict[str, Any]:
    """Check the requested limits and return them by the names of EndpointLimits' fields."""
    checked: dict[str, Any] = {}
    if "in_flight_max" in requested:
        checked["in_flight"] = _validate_in_flight(requested["in_flight_max"])
    if "rate_limit" in requested:
        checked["rate"] = _validate_rate(requested["rate_limit"])
    if "breaker" in requested:
        checked["breaker"] = _validate_breaker(requested["breaker"] or {}, defaults)
    if "disable_after_hours" in requested:
        checked["disable_after"] = _validate_disable_after(requested["disable_after_hours"])
    if "permanent_statuses" in requested:
        checked["permanent"] = _validate_permanent_statuses(requested["permanent_statuses"])
    return checked


def serialize_limits(limits: EndpointLimits) -> dict[str, Any]:
    """The limits in their JSON form; null is the operator's default."""
    rate, disable_after = limits.rate, limits.disable_after
    breaker = {
        name: limits.breaker[term.name]
        for name, term in BREAKER_FIELDS.items()
        if term.name in limits.breaker
    }
    return {
        "in_flight_max": limits.in_flight,
        "rate_limit": None
        if rate is None
        else {"limit": rate.limit, "per_seconds": _simplify_number(rate.per.total_seconds())},
        "breaker": {name: _simplify_number(value) for name, value in breaker.items()} or None,
        "disable_after_hours": None if disable_after is None else _simplify_number(disable_after / _HOUR),
        "permanent_statuses": list(limits.permanent),
    }


def _validate_in_flight(limit: int | None) -> int | None:
    return None if limit is None else _validate_integer("in_flight_max", limit, maximum=MAX_IN_FLIGHT)


def _validate_rate(rate: Mapping[str, Any] | None) -> RateLimit | None:
    if rate is None:
        return None
    return RateLimit(
        _validate_integer("rate_limit.limit", rate["limit"], maximum=MAX_RATE_LIMIT),
        _validate_duration(
            "rate_limit.per_seconds", rate["per_seconds"], timedelta(seconds=1), maximum=MAX_RATE_PERIOD
        ),
    )


def _validate_disable_after(hours: float | None) -> timedelta | None:
    return (
        None
        if hours is None
        else _validate_duration("disable_after_hours", hours, _HOUR, maximum=MAX_DISABLE_AFTER)
    )


def _validate_permanent_statuses(statuses: Sequence[int]) -> tuple[int, ...]:
    if len(statuses) > MAX_PERMANENT_STATUSES:
        raise Invalid(
            "permanent_statuses", f"must have at most {MAX_PERMANENT_STATUSES} statuses, not {len(statuses)}"
        )
    for position, status in enumerate(statuses):
        with validating_field(f"permanent_statuses.{position}"):
            check_permanent_status(status)
    return tuple(dict.fromkeys(statuses))


def _validate_breaker(requested: Mapping[str, float | None], defaults: BreakerConfig) -> dict[str, float]:
    own: dict[str, float] = {}
    for name, value in requested.items():
        if (term := BREAKER_FIELDS.get(name)) is None:
            raise Invalid(f"breaker.{name}", f"is not one of {', '.join(BREAKER_FIELDS)}")
        if value is not None:
            own[term.name] = _validate_breaker_field(f"breaker.{name}", term, value)
    _check_cool_downs(own, defaults)
    return own


def _validate_breaker_field(name: str, spec: BreakerField, value: float) -> float:
    if spec.is_integer:
        return _validate_integer(name, value, maximum=spec.maximum)
    if spec.is_duration:
        if not spec.minimum <= value <= spec.maximum:
            raise Invalid(name, f"must be from {spec.minimum:g} to {spec.maximum} seconds")
        return _simplify_number(value)
    if not 0 < value <= spec.maximum:
        raise Invalid(name, f"must be more than 0 and at most {spec.maximum}")
    return value


def _check_cool_downs(own: Mapping[str, float], defaults: BreakerConfig) -> None:
    """Check that the cool-down is at most the longest; the operator's own settings are not checked."""
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


def _validate_integer(name: str, value: float, *, maximum: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= maximum:
        raise Invalid(name, f"must be a whole number from 1 to {maximum}")
    return value


def _validate_duration(name: str, value: float, unit: timedelta, *, maximum: timedelta) -> timedelta:
    # Compared as a number first: it may be too large for a timedelta. A value that rounds to zero is refused.
    if 0 < value <= maximum / unit and (time := value * unit):
        return time
    raise Invalid(name, f"must be more than 0 and at most {maximum / unit:g}")


def _simplify_number(value: float) -> float:
    """A whole number as an integer: 5, not 5.0."""
    return int(value) if math.isfinite(value) and float(value).is_integer() else value
