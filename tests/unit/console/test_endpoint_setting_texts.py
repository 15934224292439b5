"""Texts of an endpoint's settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from delivery.config import parse_settings
from delivery.console.views.settings import EndpointSettingRow, describe_settings
from delivery.domain.endpoint import Endpoint, EndpointLimits
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT

SETTINGS = parse_settings({"attempt_timeout": 15})
PLAIN = replace(ENDPOINT, limits=EndpointLimits(), schedule=None, timeout=None)


def describe_by_name(endpoint: Endpoint) -> dict[str, EndpointSettingRow]:
    return {one.name: one for one in describe_settings(endpoint, SETTINGS)}


def test_unset_endpoint_options_show_operator_defaults() -> None:
    assert [one.name for one in describe_settings(PLAIN, SETTINGS) if one.is_custom] == ["Signature"]


def test_rate_is_described_with_its_period() -> None:
    limits = EndpointLimits(rate=RateLimit(100, timedelta(minutes=1)))
    assert describe_by_name(replace(PLAIN, limits=limits))["Rate"] == EndpointSettingRow(
        "Rate", "100 in 1 min", is_custom=True
    )


def test_custom_breaker_is_merged_with_operator_defaults() -> None:
    breaker = describe_by_name(
        replace(PLAIN, limits=EndpointLimits(breaker={"consecutive": 3, "ratio": 0.125}))
    )["Breaker"]
    assert breaker.is_custom
    assert breaker.text.startswith(
        "opens after 3 failures in a row, or when 12.5 % of at least 20 in 1 min fail"
    )


def test_custom_permanent_statuses_are_listed() -> None:
    statuses = describe_by_name(replace(PLAIN, limits=EndpointLimits(permanent=(404, 422))))["Permanent"]
    assert statuses == EndpointSettingRow("Permanent", "404, 422 end a delivery at once", is_custom=True)


def test_schedule_is_described_in_full() -> None:
    own = replace(PLAIN, schedule=(timedelta(0), timedelta(seconds=5)))
    assert describe_by_name(own)["Attempts"] == EndpointSettingRow(
        "Attempts", "2: at once, 5 s", is_custom=True
    )
