"""From an address or a form to the replay that it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.console.replay_form import read_asked, read_rate
from delivery.console.visits import Form
from delivery.errors import Invalid
from delivery.jobs import MissingSelection
from delivery.model import EndpointId, Prefix, new_id, show_id

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
ENDPOINT = EndpointId(new_id())
SHOWN = show_id(Prefix.ENDPOINT, ENDPOINT)


ONE = "ep_01kawt0000000000000000000a"
TWO = "ep_01kawt0000000000000000000a,ep_01kawt0000000000000000000b"


def read(**fields: str):
    return read_asked(Form({name: [value] for name, value in fields.items()}), now=NOW)


def test_a_form_means_the_same_however_long_it_is_looked_at():
    fixed = read(status="failed", since="24h").fixed(NOW)
    later = read_asked(Form(fixed), now=NOW + timedelta(hours=3))
    assert later.wanted is not None
    assert (later.wanted.since, later.wanted.until) == (NOW - timedelta(hours=24), NOW)


def test_what_lies_ahead_is_not_in_a_form():
    assert read(status="failed", until="2030-01-01").fixed(NOW)["until"] == [NOW.isoformat()]


def test_everything_stays_everything_in_a_form():
    asked = read()
    assert asked.is_unbounded
    assert asked.fixed(NOW) == {}


def test_missing_events_are_of_one_endpoint():
    asked = read(missing="1", endpoint=SHOWN, type="order.*", since="1h")
    assert asked.wanted == MissingSelection(ENDPOINT, NOW - timedelta(hours=1), None, ("order.*",))
    assert read_asked(Form(asked.fixed(NOW)), now=NOW).missing


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({}, "endpoint"),
        ({"endpoint": TWO}, "endpoint"),
        ({"endpoint": ONE, "status": "failed"}, "status"),
        ({"endpoint": ONE, "since": "then"}, "since"),
    ],
)
def test_what_missing_events_cannot_be_asked_for_is_a_fault(fields: dict[str, str], at_fault: str):
    asked = read(missing="1", **fields)
    assert asked.wanted is None
    assert set(asked.faults) == {at_fault}


def test_a_rate_is_a_number():
    assert read_rate("") is None
    assert read_rate("0.5") == 0.5
    for text in ("fast", "nan", "1,5"):
        with pytest.raises(Invalid, match="rate"):
            read_rate(text)
