"""Valid values of an endpoint's own limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.config import parse_settings
from delivery.domain.endpoint import EndpointLimits
from delivery.domain.errors import Invalid, Misconfigured
from delivery.services.endpoints.limits import BREAKER_FIELDS, LIMIT_FIELDS, serialize_limits, validate_limits
from retries.breaker import BreakerConfig
from retries.health import HealthConfig
from retries.rate import RateLimit

DEFAULTS = BreakerConfig()
# The operator's settings of the same terms.
SETTINGS = {
    "consecutive_failures": "breaker_consecutive",
    "failure_ratio": "breaker_ratio",
    "minimum_requests": "breaker_minimum",
    "window_seconds": "breaker_window_seconds",
    "cool_down_seconds": "breaker_cool_down_seconds",
    "longest_cool_down_seconds": "breaker_longest_cool_down_seconds",
}
WHOLE = [name for name, term in BREAKER_FIELDS.items() if term.is_integer]


def limits(**asked: Any) -> EndpointLimits:
    return EndpointLimits(**validate_limits(asked, DEFAULTS))


def test_what_is_not_asked_for_is_the_operators() -> None:
    assert limits() == limits(**dict.fromkeys(LIMIT_FIELDS[:-1]), permanent_statuses=[]) == EndpointLimits()
    assert limits().apply_defaults(HealthConfig()) == HealthConfig()


def test_what_is_asked_for_is_the_endpoints_own() -> None:
    own = limits(
        in_flight_max=20,
        rate_limit={"limit": 100, "per_seconds": 60},
        breaker={"consecutive_failures": 3, "cool_down_seconds": 2.5},
        disable_after_hours=48,
        permanent_statuses=[404, 422, 404],
    )
    assert own.rate == RateLimit(100, timedelta(minutes=1))
    assert own.permanent == (404, 422)
    assert own.apply_defaults(HealthConfig()) == HealthConfig(
        BreakerConfig(consecutive=3, cool_down=timedelta(seconds=2.5)),
        max_in_flight=20,
        disable_after=timedelta(days=2),
    )


def test_a_breaker_without_numbers_of_its_own_is_none() -> None:
    assert limits(breaker={}) == limits(breaker={"failure_ratio": None}) == EndpointLimits()
    assert serialize_limits(limits(breaker={}))["breaker"] is None


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"in_flight_max": 0}, "in_flight_max"),
        ({"in_flight_max": 1_001}, "in_flight_max"),
        ({"in_flight_max": 1.5}, "in_flight_max"),
        ({"rate_limit": {"limit": 0, "per_seconds": 1}}, "rate_limit.limit"),
        ({"rate_limit": {"limit": 100_001, "per_seconds": 1}}, "rate_limit.limit"),
        ({"rate_limit": {"limit": 1, "per_seconds": 0}}, "rate_limit.per_seconds"),
        ({"rate_limit": {"limit": 1, "per_seconds": 1e-9}}, "rate_limit.per_seconds"),
        ({"rate_limit": {"limit": 1, "per_seconds": 86_401}}, "rate_limit.per_seconds"),
        ({"rate_limit": {"limit": 1, "per_seconds": float("nan")}}, "rate_limit.per_seconds"),
        ({"rate_limit": {"limit": 1, "per_seconds": float("inf")}}, "rate_limit.per_seconds"),
        ({"rate_limit": {"limit": 1, "per_seconds": 10**400}}, "rate_limit.per_seconds"),
        ({"breaker": {"trips": 1}}, "breaker.trips"),
        ({"breaker": {"consecutive_failures": 2.0}}, "breaker.consecutive_failures"),
        ({"breaker": {"failure_ratio": float("nan")}}, "breaker.failure_ratio"),
        ({"breaker": {"window_seconds": 1e-9}}, "breaker.window_seconds"),
        ({"breaker": {"window_seconds": float("inf")}}, "breaker.window_seconds"),
        ({"breaker": {"cool_down_seconds": 601}}, "breaker.cool_down_seconds"),
        ({"breaker": {"longest_cool_down_seconds": 29}}, "breaker.longest_cool_down_seconds"),
        (
            {"breaker": {"cool_down_seconds": 50, "longest_cool_down_seconds": 49}},
            "breaker.longest_cool_down_seconds",
        ),
        ({"disable_after_hours": 0}, "disable_after_hours"),
        ({"disable_after_hours": 1e-12}, "disable_after_hours"),
        ({"disable_after_hours": 8_760.5}, "disable_after_hours"),
        ({"permanent_statuses": [404, 503]}, "permanent_statuses.1"),
        ({"permanent_statuses": [429]}, "permanent_statuses.0"),
        ({"permanent_statuses": [404] * 101}, "permanent_statuses"),
    ],
    ids=range(25),
)
def test_invalid_limits_name_their_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        limits(**asked)
    assert refused.value.field == field


@pytest.mark.parametrize("name", BREAKER_FIELDS)
def test_an_endpoint_may_have_what_the_operator_may_set(name: str) -> None:
    others = {"cool_down_seconds": 0.1, "longest_cool_down_seconds": 3_600.0}
    for value in (0.001, 0.1, 0.5, 1, 1.5, 3_600, 3_601, 100_000, 100_001, 0, -1):
        if name in WHOLE and not isinstance(value, int):
            continue
        assert _takes(others | {name: value}) is _operator_may(SETTINGS[name], value), value


def _takes(breaker: dict[str, float]) -> bool:
    try:
        limits(breaker=breaker)
    except Invalid as refused:
        # That the two cool-downs fit each other is another matter.
        return "cool-down" in refused.why
    return True


def _operator_may(setting: str, value: float) -> bool:
    try:
        parse_settings({setting: value})
    except Misconfigured as refused:
        return "must not be shorter" in str(refused)
    return True


def test_an_operators_own_cool_downs_are_no_endpoints_fault() -> None:
    odd = BreakerConfig(cool_down=timedelta(minutes=20), longest_cool_down=timedelta(minutes=10))
    assert validate_limits({"breaker": {"consecutive_failures": 3}}, odd) == {"breaker": {"consecutive": 3}}


numbers = st.integers(1, 100_000)
times = st.floats(1, 3_600)
breakers = st.fixed_dictionaries(
    {},
    optional={
        "consecutive_failures": numbers,
        "failure_ratio": st.floats(0.001, 1),
        "minimum_requests": numbers,
        "window_seconds": times,
        "cool_down_seconds": st.floats(0.1, 30),
        "longest_cool_down_seconds": st.floats(30, 3_600),
    },
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "in_flight_max": st.integers(1, 1_000),
            "rate_limit": st.fixed_dictionaries({"limit": numbers, "per_seconds": times}),
            "breaker": breakers,
            "disable_after_hours": st.floats(0.001, 8_760),
            "permanent_statuses": st.lists(st.integers(430, 499)),
        },
    )
)
def test_what_is_shown_can_be_asked_for_again(asked: dict[str, Any]) -> None:
    own = limits(**asked)
    again = limits(**serialize_limits(own))
    assert (again.in_flight, again.rate, again.permanent) == (own.in_flight, own.rate, own.permanent)
    assert again.breaker == own.breaker
    assert again.apply_defaults(HealthConfig()) == own.apply_defaults(HealthConfig())
