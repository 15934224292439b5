"""The bars of an attempt's phases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.console.views.waterfall import WIDTH, build_bars
from delivery.domain.attempt import Timings


def ms(count: float) -> timedelta:
    return timedelta(milliseconds=count)


DURATIONS = st.none() | st.timedeltas(timedelta(0), timedelta(seconds=30))


@given(DURATIONS, DURATIONS, DURATIONS, DURATIONS, DURATIONS)
def test_bars_are_consecutive_and_inside_the_chart(
    dns: timedelta | None,
    connect: timedelta | None,
    tls: timedelta | None,
    first_byte: timedelta | None,
    total: timedelta | None,
):
    found = build_bars(Timings(dns, connect, tls, first_byte, total))
    end = 0.0
    for bar in found:
        assert bar.x == pytest.approx(end)
        assert bar.width >= 0
        end = bar.x + bar.width
    assert end <= WIDTH + 1e-6


def test_bars_share_the_scale_of_the_longest_attempt():
    (bar,) = build_bars(Timings(first_byte=ms(10), total=ms(10)), scale=ms(100))
    assert bar.width == pytest.approx(WIDTH / 10)


def test_attempt_without_response_shows_a_wait_bar():
    assert [bar.phase for bar in build_bars(Timings(connect=ms(5), total=ms(1000)))] == [
        "connect",
        "waiting, no response",
    ]


def test_attempt_without_duration_has_no_bars():
    assert build_bars(Timings()) == ()
