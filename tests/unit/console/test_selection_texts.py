"""A replay's selection as text and as a URL."""

from __future__ import annotations

from datetime import UTC, datetime

from delivery.console.forms.delivery_filter import parse_delivery_filters
from delivery.console.forms.replay import build_query
from delivery.console.views.selection import describe_selection
from delivery.console.web.context import Form
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.ids import EndpointId, EventId, Prefix, format_id, new_id
from delivery.domain.payload_path import PayloadEquals
from delivery.domain.replay import MissingEventFilter
from retries.health import Hold

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
EVERY_FILTER = DeliveryFilter(
    endpoints=(EndpointId(new_id()), EndpointId(new_id())),
    event_id=EventId(new_id()),
    types=("order.*", "user.left"),
    statuses=(DeliveryStatus.FAILED, DeliveryStatus.IN_FLIGHT),
    outcomes=("timed_out",),
    http=("5xx", "410"),
    since=datetime(2026, 11, 24, 1, 2, 3, 456_000, tzinfo=UTC),
    until=NOW,
    attempts_min=2,
    attempts_max=9,
    idempotency_key="a, b",
    payload=(PayloadEquals.parse("$.order.id=1042"),),
    held_by=(Hold.PAUSED,),
)


def test_selection_round_trips_through_the_url():
    assert parse_delivery_filters(Form(build_query(EVERY_FILTER)), now=NOW).selection == EVERY_FILTER


def test_every_filter_is_described():
    assert len(describe_selection(EVERY_FILTER)) == 11


def test_filters_are_described_in_words():
    assert ("Status", "failed or in flight") in describe_selection(EVERY_FILTER)
    assert ("Attempts", "2 to 9") in describe_selection(EVERY_FILTER)


def test_no_filter_is_described_as_empty():
    assert describe_selection(DeliveryFilter()) == []
    assert build_query(DeliveryFilter()) == {}


def test_open_ended_range_is_described():
    assert describe_selection(DeliveryFilter(attempts_min=3)) == [("Attempts", "at least 3")]
    assert describe_selection(DeliveryFilter(attempts_max=3)) == [("Attempts", "at most 3")]
    assert describe_selection(DeliveryFilter(until=NOW)) == [("Created", "before 2026-11-25 18:00:00 UTC")]


def test_long_value_list_is_shortened():
    ((_, text),) = describe_selection(DeliveryFilter(types=tuple(f"type_{n}" for n in range(30))))
    assert text.endswith("type_9 or 20 more")


def test_missing_events_name_their_endpoint():
    endpoint = EndpointId(new_id())
    wanted = MissingEventFilter(endpoint, since=NOW, types=("order.*",))
    assert describe_selection(wanted)[0] == ("Events missing at", format_id(Prefix.ENDPOINT, endpoint))
    assert build_query(wanted)["endpoint"] == [format_id(Prefix.ENDPOINT, endpoint)]
