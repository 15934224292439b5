"""Charts: their labels state the data, and every drawing stays inside the chart."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.console.views import charts
from delivery.domain.histogram import SLOT_BOUNDS_US
from delivery.ledger.stats.live import RecentResult
from delivery.services.stats.series import IntervalCounts, TimeRange, build_series, compute_first_point

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from markupsafe import Markup

    from delivery.services.stats.series import Series

NOW = datetime(2030, 3, 1, 12, 34, 56, tzinfo=UTC)
COUNTS = st.integers(1, 10**12)
OUTCOMES = st.dictionaries(st.sampled_from(["delivered", "refused", "timed_out", "interrupted"]), COUNTS)
LATENCIES = st.dictionaries(st.integers(0, len(SLOT_BOUNDS_US)), COUNTS)
SPARKS = st.lists(st.builds(RecentResult, st.booleans(), st.none() | st.integers(0, 2**31 - 1)), max_size=40)
# What says where something is or how large it is.
ACROSS, DOWN = ("x", "x1", "x2", "cx"), ("y", "y1", "y2", "cy")
BARS = re.compile(r"M([0-9.]+) ([0-9.]+)v-([0-9.]+)h([0-9.]+)v[0-9.]+z")
CLASSES = re.compile(r"^(chart|spark|grid|chart-(ok|bad|move|wait)|line-(move|wait|bad))$")


@st.composite
def some_series(draw: st.DrawFn) -> Series:
    span = draw(st.sampled_from(TimeRange))
    places = st.integers(0, span.point_count - 1)
    first = compute_first_point(span, now=NOW)
    counted = [
        IntervalCounts(first + span.interval * place, outcomes, latencies)
        for place, outcomes, latencies in draw(st.lists(st.tuples(places, OUTCOMES, LATENCIES), max_size=12))
    ]
    return build_series(span, counted, now=NOW, as_of=NOW)


def make_hour_series(**outcomes: int) -> Series:
    """A series of one hour with these counts in one minute."""
    return build_series(TimeRange.HOUR, [IntervalCounts(NOW, outcomes, {20: 100})], now=NOW, as_of=NOW)


def drawn(chart: Markup) -> Element:
    """Parse a chart's SVG."""
    return ET.fromstring(chart)  # noqa: S314  drawn here


def spots(root: Element) -> Iterator[tuple[float, float]]:
    """Yield every corner of every shape."""
    for element in root.iter():
        xs = [float(element.attrib[name]) for name in ACROSS if name in element.attrib]
        ys = [float(element.attrib[name]) for name in DOWN if name in element.attrib]
        if element.tag == "rect":
            xs.append(xs[0] + float(element.attrib["width"]))
            ys.append(ys[0] + float(element.attrib["height"]))
        for x, y, up, right in BARS.findall(element.attrib.get("d", "")):
            xs += [float(x), float(x) + float(right)]
            ys += [float(y), float(y) - float(up)]
        for pair in element.attrib.get("points", "").split():
            x, y = pair.split(",")
            xs.append(float(x))
            ys.append(float(y))
        yield from ((x, y) for x in xs for y in ys)


def check(chart: Markup) -> None:
    """Check what holds for every chart."""
    root = drawn(chart)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    for x, y in spots(root):
        # Written with one digit, so that each may be off by half of one.
        assert left - 0.1 <= x <= left + width + 0.1
        assert top - 0.1 <= y <= top + height + 0.1
    for element in root.iter():
        assert "style" not in element.attrib
        assert not any(name.startswith("on") for name in element.attrib)
        assert CLASSES.match(element.attrib.get("class", "chart"))


@given(some_series())
def test_outcome_bars_stay_inside_the_chart(some: Series):
    check(charts.draw_outcomes(some))


@given(some_series())
def test_latency_lines_stay_inside_the_chart(some: Series):
    check(charts.draw_latencies(some))


@given(SPARKS)
def test_recent_results_stay_inside_the_chart(sparks: list[RecentResult]):
    chart = charts.draw_recent_results(sparks)
    if sparks:
        check(chart)
        assert chart.count("M") == len(sparks)


def test_no_results_are_a_dash():
    assert charts.draw_recent_results([]) == '<span class="quiet">—</span>'


def test_chart_label_has_the_totals():
    root = drawn(charts.draw_outcomes(make_hour_series(delivered=12_345, refused=2, timed_out=1)))
    assert root.attrib["aria-label"] == "12,345 delivered and 3 failed attempts"


def test_bar_tooltip_has_time_and_counts():
    root = drawn(charts.draw_outcomes(make_hour_series(delivered=7, refused=2)))
    titles = [title.text for title in root.iter("title")]
    assert titles == ["12:34: 7 delivered, 2 failed"] * 2


def test_failures_are_stacked_on_deliveries():
    well, badly = drawn(charts.draw_outcomes(make_hour_series(delivered=6, refused=2))).iter("rect")
    assert (well.attrib["class"], badly.attrib["class"]) == ("chart-ok", "chart-bad")
    foot = float(badly.attrib["y"]) + float(badly.attrib["height"])
    assert foot == pytest.approx(float(well.attrib["y"]), abs=0.11)
    assert float(well.attrib["height"]) / float(badly.attrib["height"]) == pytest.approx(3, rel=0.01)


def test_single_failure_among_millions_is_visible():
    _, badly = drawn(charts.draw_outcomes(make_hour_series(delivered=10_000_000, refused=1))).iter("rect")
    assert float(badly.attrib["height"]) > 0.5


def test_chart_label_has_the_percentiles():
    label = drawn(charts.draw_latencies(make_hour_series(delivered=100))).attrib["aria-label"]
    assert re.fullmatch(r"Response time: p50 \d+ ms, p95 \d+ ms, p99 \d+ ms", label)


def test_percentiles_of_nothing_are_unknown():
    nothing = build_series(TimeRange.WEEK, [], now=NOW, as_of=NOW)
    label = drawn(charts.draw_latencies(nothing)).attrib["aria-label"]
    assert label == "Response time: p50 unknown, p95 unknown, p99 unknown"


def test_line_has_a_gap_where_values_are_missing():
    minutes = (0, 1, 2, 30, 31)
    first = compute_first_point(TimeRange.HOUR, now=NOW)
    counted = [IntervalCounts(first + timedelta(minutes=n), {"delivered": 1}, {9: 1}) for n in minutes]
    root = drawn(charts.draw_latencies(build_series(TimeRange.HOUR, counted, now=NOW, as_of=NOW)))
    p50 = [line for line in root.iter("polyline") if line.attrib["class"] == "line-move"]
    assert [len(line.attrib["points"].split()) for line in p50] == [3, 2]


def test_single_point_is_a_dot():
    assert len(list(drawn(charts.draw_latencies(make_hour_series(delivered=1))).iter("circle"))) == 3


@pytest.mark.parametrize("span", TimeRange)
def test_time_axis_has_labels(span: TimeRange):
    root = drawn(charts.draw_outcomes(build_series(span, [], now=NOW, as_of=NOW)))
    moments = [text for text in root.iter("text") if text.attrib["text-anchor"] == "middle"]
    assert 3 < len(moments) < 9
    assert all(text.text for text in moments)


def test_scales_have_whole_numbers():
    root = drawn(charts.draw_outcomes(make_hour_series(delivered=7)))
    ticks = [text.text for text in root.iter("text") if text.attrib["text-anchor"] == "end"]
    assert ticks == ["0", "4", "8"]


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0, ["0", "1"]),
        (900_000, ["0", "500,000", "1 M"]),
        (3_600_000, ["0", "2 M", "4 M"]),
        (5 * 10**9, ["0", "3 bn", "6 bn"]),
    ],
)
def test_scale_labels_are_short(most: int, ticks: list[str]):
    root = drawn(charts.draw_outcomes(make_hour_series(delivered=most)))
    assert [text.text for text in root.iter("text") if text.attrib["text-anchor"] == "end"] == ticks


def test_recent_results_label_has_the_counts():
    sparks = [RecentResult(succeeded=number % 4 != 0, duration_us=1_000) for number in range(8)]
    assert (
        drawn(charts.draw_recent_results(sparks)).attrib["aria-label"]
        == "The last 8 results: 6 delivered, 2 failed"
    )
