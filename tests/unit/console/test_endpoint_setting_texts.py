"""An endpoint's terms in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from delivery.config import Settings
from delivery.console.terms import Term, told_terms
from delivery.model import Endpoint, EndpointLimits
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT

SETTINGS = Settings.model_validate({"attempt_timeout": 15})
PLAIN = replace(ENDPOINT, limits=EndpointLimits(), schedule=None, timeout=None)


def told(endpoint: Endpoint) -> dict[str, Term]:
    return {one.name: one for one in told_terms(endpoint, SETTINGS)}


def test_what_an_endpoint_says_nothing_of_is_the_operator_s() -> None:
    assert [one.name for one in told_terms(PLAIN, SETTINGS) if one.own] == ["Signature"]


def test_a_rate_is_said_with_its_time() -> None:
    limits = EndpointLimits(rate=RateLimit(100, timedelta(minutes=1)))
    assert told(replace(PLAIN, limits=limits))["Rate"] == Term("Rate", "100 in 1 min", own=True)


def test_a_breaker_of_its_own_is_said_with_what_it_leaves_to_the_operator() -> None:
    breaker = told(replace(PLAIN, limits=EndpointLimits(breaker={"consecutive": 3, "ratio": 0.125})))[
        "Breaker"
    ]
    assert breaker.own
    assert breaker.told.startswith(
        "opens after 3 failures in a row, or when 12.5 % of at least 20 in 1 min fail"
    )


def test_statuses_of_its_own_are_named() -> None:
    statuses = told(replace(PLAIN, limits=EndpointLimits(permanent=(404, 422))))["Permanent"]
    assert statuses == Term("Permanent", "404, 422 end a delivery at once", own=True)


def test_a_schedule_is_said_whole() -> None:
    own = replace(PLAIN, schedule=(timedelta(0), timedelta(seconds=5)))
    assert told(own)["Attempts"] == Term("Attempts", "2: at once, 5 s", own=True)
