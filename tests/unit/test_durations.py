"""Durations and times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.durations import format_exact_duration, parse_duration, parse_time

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
DURATIONS = st.timedeltas(timedelta(0), timedelta(days=999)) | st.integers(0, 10**6).map(
    lambda minutes: timedelta(minutes=minutes)
)


@given(DURATIONS)
def test_exact_durations_are_read_as_they_were_written(duration: timedelta) -> None:
    assert parse_duration(format_exact_duration(duration), default_unit="s", allow_space=True) == duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("1.5m", timedelta(seconds=90)),
        ("5min", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
    ],
)
def test_durations_have_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "5 m", "5w", "m", "-1h", "1e3s", ".5s", "٣h", "9999999999d"])
def test_malformed_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as"):
        parse_duration(text)


def test_a_space_and_a_bare_number_are_accepted_only_on_request() -> None:
    assert parse_duration("5", default_unit="s") == timedelta(seconds=5)
    assert parse_duration("5 m", allow_space=True) == timedelta(minutes=5)
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("5 ", default_unit="s", allow_space=True)


def test_the_longest_duration_fits() -> None:
    assert parse_duration("999999999.999999d") <= timedelta.max


def test_an_age_counts_back_from_now() -> None:
    assert parse_time("90m", now=NOW) == NOW - timedelta(minutes=90)


def test_a_time_without_a_zone_is_utc_only_on_request() -> None:
    assert parse_time("2026-11-25T12:00", now=NOW, naive_is_utc=True) == NOW - timedelta(hours=6)
    with pytest.raises(ValueError, match="neither an age"):
        parse_time("2026-11-25T12:00", now=NOW)


@pytest.mark.parametrize("text", ["yesterday", "30000d", "999999999d", "1969-12-31T23:59:59Z", ""])
def test_times_before_1970_and_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither an age"):
        parse_time(text, now=NOW, naive_is_utc=True)
