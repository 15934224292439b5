"""Delivery filters from a URL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.console.forms.delivery_filter import DELIVERY_FILTER_NAMES, parse_delivery_filters
from delivery.console.web.context import Form
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.durations import parse_time
from delivery.domain.ids import EndpointId, Prefix, format_id, new_id
from retries.health import Hold

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)


def read(**fields: str | list[str]):
    asked = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
    return parse_delivery_filters(Form(asked), now=NOW)


def test_no_filter_selects_everything():
    assert read().selection == DeliveryFilter()


def test_every_delivery_filter_is_parsed_from_the_url():
    endpoint, event = format_id(Prefix.ENDPOINT, new_id()), format_id(Prefix.EVENT, new_id())
    filters = read(
        endpoint=endpoint,
        event=event,
        type=["order.*", "user.left"],
        status=["failed", "pending"],
        outcome="refused",
        response="5xx",
        since="2026-11-25T12:00",
        until="2026-11-25T16:00+02:00",
        attempts_min="2",
        attempts_max="9",
        idempotency_key="a, b",
        payload="$.order.id=1042",
        held_by="paused",
    )
    assert set(filters.values) == set(DELIVERY_FILTER_NAMES)
    wanted = filters.selection
    assert wanted is not None
    assert wanted.types == ("order.*", "user.left")
    assert wanted.statuses == (DeliveryStatus.FAILED, DeliveryStatus.PENDING)
    assert wanted.since == datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    assert wanted.until == datetime(2026, 11, 25, 14, 0, tzinfo=UTC)
    assert (wanted.attempts_min, wanted.attempts_max) == (2, 9)
    assert wanted.idempotency_key == "a, b"
    assert wanted.held_by == (Hold.PAUSED,)


def test_field_accepts_several_values():
    ids = [EndpointId(new_id()), EndpointId(new_id())]
    filters = read(endpoint=", ".join(format_id(Prefix.ENDPOINT, one) for one in ids))
    assert filters.selection is not None
    assert filters.selection.endpoints == tuple(ids)


def test_empty_form_fields_set_no_filter():
    filters = read(type="", since=" ", payload=["", ""])
    assert filters.selection == DeliveryFilter()
    assert filters.query_params == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "ep_1"),
        ("event", "evt_"),
        ("type", "a b"),
        ("status", "lost"),
        ("outcome", "eaten"),
        ("response", "999"),
        ("since", "yesterday"),
        ("since", "1950-01-01"),
        ("until", "2026-13-01"),
        ("attempts_min", "-1"),
        ("attempts_max", "99999999999999"),
        ("attempts_min", "٣"),
        ("payload", "id=1"),
        ("held_by", "nobody"),
        ("idempotency_key", "x" * 300),
    ],
)
def test_invalid_value_error_is_keyed_by_its_name(name: str, value: str):
    filters = read(**{name: value})
    assert filters.selection is None
    assert list(filters.errors) == [name]


def test_reversed_time_range_is_an_error():
    assert "until" in read(since="1h", until="2h").errors


def test_period_is_relative_to_now():
    assert parse_time("90m", now=NOW) == NOW - timedelta(minutes=90)
    assert parse_time("7d", now=NOW) == NOW - timedelta(days=7)


def test_next_page_url_keeps_the_filters():
    filters = read(status=["failed", "pending"], order="oldest")
    assert filters.query_params == {"status": ["failed", "pending"], "order": "oldest"}
