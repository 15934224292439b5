"""The endpoint form: parsed and filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.console.forms.endpoint import (
    build_form_values,
    describe_field_error,
    format_schedule_input,
    parse_changes,
    parse_delays,
    parse_headers,
    parse_new_endpoint,
)
from delivery.console.web.context import Form
from delivery.domain.endpoint import EndpointLimits
from delivery.domain.errors import Invalid
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT


def form(**fields: str) -> Form:
    return Form({name: [value] for name, value in fields.items()})


@given(st.lists(st.integers(0, 10**9).map(lambda us: timedelta(microseconds=us * 1_000)), min_size=1))
def test_schedule_round_trips_through_the_form(schedule: list[timedelta]) -> None:
    assert [
        timedelta(seconds=seconds) for seconds in parse_delays(format_schedule_input(schedule))
    ] == schedule


def test_schedule_accepts_units() -> None:
    assert parse_delays("at once, 5s, 1.5 min, 2 h,1d, 7") == [0, 5, 90, 7200, 86400, 7]


@pytest.mark.parametrize("text", ["soon", "0,,5", "5 weeks", "-1", "nan", "1e9"])
def test_invalid_delay_is_rejected(text: str) -> None:
    with pytest.raises(Invalid, match="schedule"):
        parse_delays(text)


def test_headers_are_one_per_line() -> None:
    assert parse_headers("X-One: a: b\n\n  X-Two: c\n") == {"X-One": "a: b", "X-Two": "c"}


def test_header_without_a_value_is_removed() -> None:
    assert parse_changes(form(headers="X-One:"))["headers"] == {"X-One": None}


@pytest.mark.parametrize("text", ["X-One", ": a", "X-One: a\nx-one: b"])
def test_invalid_or_duplicate_header_is_rejected(text: str) -> None:
    with pytest.raises(Invalid, match="headers"):
        parse_headers(text)


def test_empty_field_means_the_default() -> None:
    asked = parse_new_endpoint(form(url="https://a.example", filter="*"))
    assert (asked.timeout_seconds, asked.in_flight_max, asked.rate_limit, asked.schedule) == (None,) * 4


def test_patterns_are_split_at_lines_spaces_and_commas() -> None:
    assert parse_new_endpoint(form(filter="a, b\nc  d")).filter == ["a", "b", "c", "d"]


def test_rate_period_defaults_to_one_second() -> None:
    assert parse_new_endpoint(form(rate_limit="5")).rate_limit == {"limit": 5, "per_seconds": 1}


@pytest.mark.parametrize(
    ("field", "value", "beside"),
    [
        ("timeout_seconds", "inf", "timeout_seconds"),
        ("timeout_seconds", "ten", "timeout_seconds"),
        ("in_flight_max", "1.5", "in_flight_max"),
        ("in_flight_max", "²", "in_flight_max"),
        ("rate_limit", "x", "rate_limit"),
        ("rate_seconds", "5", "rate_limit"),
        ("rate_seconds", "x", "rate_seconds"),
        ("signature", "v2", "signature"),
    ],
)
def test_invalid_value_shows_an_error_at_its_field(field: str, value: str, beside: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_new_endpoint(form(**{field: value}))
    assert describe_field_error(refused.value)[0] == beside


def test_change_omits_headers_when_none_are_entered() -> None:
    assert "headers" not in parse_changes(form(url="https://a.example"))


def test_unchanged_form_changes_nothing() -> None:
    limits = EndpointLimits(in_flight=7, rate=RateLimit(5, timedelta(seconds=12_345.25)))
    schedule = (timedelta(0), timedelta(seconds=1_234_567), timedelta(milliseconds=1))
    endpoint = replace(ENDPOINT, limits=limits, schedule=schedule, timeout=timedelta(seconds=2.5))
    asked = parse_changes(Form(build_form_values(endpoint)))
    assert asked["schedule"] == [0, 1_234_567, 0.001]
    assert asked["rate_limit"] == {"limit": 5, "per_seconds": 12_345.25}
    assert asked["timeout_seconds"] == 2.5


def test_pattern_error_names_its_line() -> None:
    assert describe_field_error(Invalid("filter.1", "is no pattern")) == ("filter", "Line 2: is no pattern")


def test_header_error_keeps_the_header_name_case() -> None:
    assert describe_field_error(Invalid("headers.x-one", "is ours")) == ("headers", "x-one: is ours")


def test_field_error_is_a_sentence() -> None:
    assert describe_field_error(Invalid("url", "must be https")) == ("url", "Must be https.")
