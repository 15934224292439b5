"""Metrics have closed label sets, start at zero, and match their page."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from delivery.domain.networks import parse_host_port
from delivery.telemetry.metrics import instruments
from delivery.telemetry.metrics.prometheus import render_metrics
from delivery.telemetry.metrics.statsd import collect_changes, pack_datagrams
from tests.support.metrics_table import PAGE, replace_table


def test_the_page_has_the_table_of_the_catalogue():
    text = PAGE.read_text()
    assert replace_table(text) == text, "run `python -m tests.support.metrics_table`"


def test_every_value_of_every_label_is_there_from_the_start():
    for metric, values in instruments.LABEL_VALUES:
        samples = [sample for family in metric.collect() for sample in family.samples]
        (label,) = {name for sample in samples for name in sample.labels if name != "le"}
        assert {sample.labels[label] for sample in samples} == set(values)


def test_no_label_is_of_a_tenant_or_an_endpoint():
    families = list(text_string_to_metric_families(render_metrics().decode()))
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    assert labels == {"lane", "outcome", "status", "to", "result", "phase", "le", "what", "state"}


def test_a_process_that_is_no_relay_says_nothing_of_the_ledger():
    shown = {family.name for family in text_string_to_metric_families(render_metrics().decode())}
    of_relay = {family.name for metric in instruments.RELAY_METRICS for family in metric.describe()}
    assert shown.isdisjoint(of_relay)
    assert len(shown) == len(instruments.ALL_METRICS) - len(instruments.RELAY_METRICS)


def test_a_process_that_is_no_relay_sends_a_statsd_nothing_of_the_ledger():
    sent = {line.partition(":")[0].partition(".")[0] for line in collect_changes({})}
    of_relay = {family.name for metric in instruments.RELAY_METRICS for family in metric.describe()}
    assert "waybill_requests_in_flight" in sent
    assert sent.isdisjoint(of_relay)


def test_names_are_in_the_manner_of_prometheus():
    for metric in instruments.ALL_METRICS:
        for family in metric.describe():
            assert re.fullmatch(r"waybill_[a-z_]+", family.name)


@pytest.mark.parametrize(
    ("text", "place"),
    [("127.0.0.1:8125", ("127.0.0.1", 8125)), ("[::1]:9", ("::1", 9)), ("a.b:1", ("a.b", 1))],
)
def test_host_port_is_parsed(text: str, place: tuple[str, int]):
    assert parse_host_port(text) == place


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "ho st:1", "::1:1"]
)
def test_invalid_host_port_is_rejected(text: str):
    with pytest.raises(ValueError, match="host:port"):
        parse_host_port(text)


def test_lines_go_into_datagrams_that_are_never_too_long():
    lines = [f"waybill_{'x' * (number % 90)}:1|c" for number in range(200)]
    pieces = list(pack_datagrams(lines))
    assert b"\n".join(pieces).decode().split("\n") == lines
    assert max(map(len, pieces)) <= 1_400
    assert list(pack_datagrams([])) == []
