"""What a replay means, in words and as an address."""

from __future__ import annotations

from datetime import UTC, datetime

from delivery.console.filters import read_filters
from delivery.console.selected import query_of, told
from delivery.console.visits import Form
from delivery.jobs import MissingSelection
from delivery.model import DeliveryStatus, EndpointId, EventId, Prefix, new_id, show_id
from delivery.payload import PayloadEquals
from delivery.selection import DeliverySelection
from retries.health import Hold

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
EVERY_FILTER = DeliverySelection(
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


def test_the_address_of_a_selection_means_the_same_selection():
    assert read_filters(Form(query_of(EVERY_FILTER)), now=NOW).wanted == EVERY_FILTER


def test_every_filter_is_told():
    assert len(told(EVERY_FILTER)) == 11


def test_a_filter_is_told_in_words():
    assert ("Status", "failed or in flight") in told(EVERY_FILTER)
    assert ("Attempts", "2 to 9") in told(EVERY_FILTER)


def test_no_filter_tells_nothing():
    assert told(DeliverySelection()) == []
    assert query_of(DeliverySelection()) == {}


def test_one_end_of_a_range_is_told_alone():
    assert told(DeliverySelection(attempts_min=3)) == [("Attempts", "at least 3")]
    assert told(DeliverySelection(attempts_max=3)) == [("Attempts", "at most 3")]
    assert told(DeliverySelection(until=NOW)) == [("Made", "before 2026-11-25 18:00:00 UTC")]


def test_of_many_values_the_first_are_told():
    ((_, text),) = told(DeliverySelection(types=tuple(f"type_{n}" for n in range(30))))
    assert text.endswith("type_9 or 20 more")


def test_missing_events_name_their_endpoint():
    endpoint = EndpointId(new_id())
    wanted = MissingSelection(endpoint, since=NOW, types=("order.*",))
    assert told(wanted)[0] == ("Events never owed to", show_id(Prefix.ENDPOINT, endpoint))
    assert query_of(wanted)["endpoint"] == [show_id(Prefix.ENDPOINT, endpoint)]
