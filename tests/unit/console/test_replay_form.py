"""Replay input from a URL or a form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.console.forms.replay import parse_rate, parse_replay_input
from delivery.console.web.context import Form
from delivery.domain.errors import Invalid
from delivery.domain.ids import EndpointId, Prefix, format_id, new_id
from delivery.domain.replay import MissingEventFilter

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
ENDPOINT = EndpointId(new_id())
SHOWN = format_id(Prefix.ENDPOINT, ENDPOINT)


ONE = "ep_01kawt0000000000000000000a"
TWO = "ep_01kawt0000000000000000000a,ep_01kawt0000000000000000000b"


def read(**fields: str):
    return parse_replay_input(Form({name: [value] for name, value in fields.items()}), now=NOW)


def test_form_selects_the_same_deliveries_when_sent_later():
    fixed = read(status="failed", since="24h").build_hidden_fields(NOW)
    later = parse_replay_input(Form(fixed), now=NOW + timedelta(hours=3))
    assert later.selection is not None
    assert (later.selection.since, later.selection.until) == (NOW - timedelta(hours=24), NOW)


def test_replay_form_excludes_future_deliveries():
    assert read(status="failed", until="2030-01-01").build_hidden_fields(NOW)["until"] == [NOW.isoformat()]


def test_unbounded_selection_stays_unbounded_in_the_form():
    asked = read()
    assert asked.is_unbounded
    assert asked.build_hidden_fields(NOW) == {}


def test_missing_events_require_one_endpoint():
    asked = read(missing="1", endpoint=SHOWN, type="order.*", since="1h")
    assert asked.selection == MissingEventFilter(ENDPOINT, NOW - timedelta(hours=1), None, ("order.*",))
    assert parse_replay_input(Form(asked.build_hidden_fields(NOW)), now=NOW).is_missing


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({}, "endpoint"),
        ({"endpoint": TWO}, "endpoint"),
        ({"endpoint": ONE, "status": "failed"}, "status"),
        ({"endpoint": ONE, "since": "then"}, "since"),
    ],
)
def test_unsupported_missing_event_filter_is_an_error(fields: dict[str, str], at_fault: str):
    asked = read(missing="1", **fields)
    assert asked.selection is None
    assert set(asked.errors) == {at_fault}


def test_rate_must_be_a_number():
    assert parse_rate("") is None
    assert parse_rate("0.5") == 0.5
    for text in ("fast", "nan", "1,5"):
        with pytest.raises(Invalid, match="rate"):
            parse_rate(text)
