"""The timeline of an event: which endpoints it was delivered to, and why not to others."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.subscription import Subscription
from delivery.ledger.search.timeline import SubscriptionChange
from delivery.services.sentences import format_patterns
from delivery.services.timeline.event_entries import (
    EventArrival,
    EventFate,
    MatchVerdict,
    build_event_timeline,
    reconstruct_subscription,
)
from tests.unit.cli.records import EVENT
from tests.unit.timeline.arrivals import ARRIVAL, AT, MATCHED, NOWHERE, OTHER, OWED_TO

BODY = b'{"type":"order.created","timestamp":"2026-11-22T12:30:00.004Z","data":{"total":120}}'


def change(seconds: float, *was: str) -> SubscriptionChange:
    return SubscriptionChange(OTHER.id, AT + timedelta(seconds=seconds), was)


def other(arrival: EventArrival) -> EventFate:
    return build_event_timeline(arrival).endpoints[-1]


def test_a_matching_endpoint_has_its_pattern_and_delivery():
    fate = build_event_timeline(ARRIVAL).endpoints[0]
    assert (fate.verdict, fate.pattern, fate.delivery) == (MatchVerdict.MATCHED, "order.*", MATCHED)
    assert fate.sentence.startswith("Its filter includes order.*: dlv_")
    assert fate.sentence.endswith(" is in flight.")


def test_an_unmatched_endpoint_shows_its_filter():
    fate = other(ARRIVAL)
    assert (fate.verdict, fate.pattern, fate.delivery) == (MatchVerdict.NOT_ASKED_FOR, None, None)
    assert fate.sentence == "Its filter includes invoice.*, user.left, but not order.created."


def test_a_changed_filter_is_shown_as_it_was_then():
    fate = other(
        replace(ARRIVAL, others=[replace(OTHER, filter=("*",))], changes={OTHER.id: [change(5, "a", "b")]})
    )
    assert fate.filter == ("a", "b")
    assert fate.sentence == "Its filter then included a, b, but not order.created."


def test_matching_endpoint_without_delivery_was_being_changed():
    fate = other(replace(ARRIVAL, others=[replace(OTHER, filter=("*",))]))
    assert fate.verdict is MatchVerdict.JUST_CHANGED


def test_an_endpoint_deleted_later_is_marked_as_deleted():
    deleted = replace(OTHER, deleted_at=AT + timedelta(days=1))
    assert other(replace(ARRIVAL, others=[deleted])).sentence.endswith(" It has been deleted since.")


def test_other_filters_are_not_evaluated_for_a_test_event():
    named = replace(MATCHED, matched_by=None, event_type="waybill.test")
    arrival = replace(
        ARRIVAL,
        event=replace(EVENT, type="waybill.test", matched=1),
        owed=[(named, OWED_TO)],
        others=[replace(OTHER, filter=("*",))],
    )
    result = build_event_timeline(arrival)
    assert [fate.verdict for fate in result.endpoints] == [MatchVerdict.NAMED, MatchVerdict.NOT_NAMED]
    assert result.endpoints[0].sentence.startswith("Sent to it directly, regardless of its filter: dlv_")
    assert result.summary == "It is a test event, sent directly to one endpoint, regardless of its filter."


def test_system_events_are_sent_to_operational_endpoints_only():
    arrival = replace(
        ARRIVAL,
        event=replace(EVENT, type="endpoint.disabled"),
        owed=[(MATCHED, replace(OWED_TO, operational=True))],
        others=[replace(OTHER, filter=("*",))],
    )
    fate = other(arrival)
    assert fate.verdict is MatchVerdict.OPERATIONAL
    assert fate.sentence == "endpoint.disabled is a system event, which only operational endpoints get."


def test_a_missing_pattern_is_not_invented():
    unknown = replace(MATCHED, matched_by=None)
    fate = build_event_timeline(replace(ARRIVAL, owed=[(unknown, OWED_TO)])).endpoints[0]
    assert fate.verdict is MatchVerdict.MATCHED
    assert fate.sentence.startswith("Sent to it directly, or before patterns were stored: dlv_")


@pytest.mark.parametrize(
    ("arrival", "message"),
    [
        (ARRIVAL, "It was owed to 1 endpoint, and not to 1 other."),
        (
            replace(ARRIVAL, event=replace(EVENT, matched=2), others=[]),
            "It was owed to 2 endpoints.",
        ),
        (
            replace(NOWHERE, others=[]),
            "It was owed to no endpoint: none existed when it arrived.",
        ),
        (
            NOWHERE,
            "It was owed to no endpoint: the only one did not subscribe to order.created.",
        ),
        (
            replace(NOWHERE, others=[OTHER] * 3),
            "It was owed to no endpoint: none of the 3 endpoints subscribed to order.created.",
        ),
        (
            replace(NOWHERE, others=[], made_later=2),
            "It was owed to no endpoint: none existed when it arrived. 2 endpoints were created after it.",
        ),
        (
            replace(NOWHERE, others=[], made_later=1),
            "It was owed to no endpoint: none existed when it arrived. 1 endpoint was created after it.",
        ),
    ],
)
def test_the_summary_is_one_sentence(arrival: EventArrival, message: str):
    assert build_event_timeline(arrival).summary == message


def test_only_the_first_of_many_patterns_are_shown():
    assert (
        format_patterns([f"a{n}" for n in range(12)]) == "a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 and 2 more"
    )
    assert format_patterns([]) == "nothing"


# ------------------------------------------------------------------ what it asked for then
def filter_then(now: tuple[str, ...], changes: list[SubscriptionChange], *, at: datetime) -> tuple[str, ...]:
    return reconstruct_subscription(replace(OTHER, filter=now), changes, at=at).types


def test_an_unchanged_filter_is_the_present_one():
    assert filter_then(("now",), [], at=AT) == ("now",)
    assert filter_then(("now",), [change(-5, "before")], at=AT) == ("now",)


def test_the_first_later_change_has_the_previous_filter():
    changes = [change(30, "second"), change(5, "first"), change(-5, "before")]
    assert filter_then(("now",), changes, at=AT) == ("first",)


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=6, unique=True), st.integers(0, 1_000))
def test_the_filter_of_any_past_time_is_reconstructed(times: list[int], requested: int):
    times.sort()
    # Each filter is named after the time at which it became active.
    lives = [0, *times]
    changes = [change(at, str(was)) for was, at in zip(lives, times, strict=False)]
    found = filter_then((str(times[-1]),), changes, at=AT + timedelta(seconds=requested))
    assert found == (str(max(at for at in lives if at <= requested)),)


def test_filter_channels_and_condition_are_reconstructed_separately():
    now = replace(OTHER, filter=("now",), channels=("us",), condition="b")
    changes = [
        SubscriptionChange(OTHER.id, AT + timedelta(seconds=9), ("eu",), "channels"),
        SubscriptionChange(OTHER.id, AT + timedelta(seconds=5), None, "condition"),
        SubscriptionChange(OTHER.id, AT + timedelta(seconds=7), "a", "condition"),
    ]
    assert reconstruct_subscription(now, changes, at=AT) == Subscription(("now",), ("eu",))
    assert reconstruct_subscription(now, changes, at=AT + timedelta(seconds=6)) == Subscription(
        ("now",), ("eu",), "a"
    )
    assert reconstruct_subscription(now, changes, at=AT + timedelta(seconds=60)) == Subscription(
        ("now",), ("us",), "b"
    )


# ------------------------------------------------------------------ channels and conditions
def passed_over(**changed: Any) -> EventFate:
    other = replace(OTHER, filter=("*",), **{name: changed.pop(name) for name in ("channels", "condition")})
    event = replace(ARRIVAL.event, channels=changed.pop("on", ()))
    arrival = replace(ARRIVAL, event=event, others=[other], **changed)
    return build_event_timeline(arrival).endpoints[-1]


def test_timeline_names_the_channels_that_did_not_match():
    fate = passed_over(channels=("eu", "us"), condition=None, on=("asia",))
    assert fate.verdict is MatchVerdict.OTHER_CHANNELS
    assert fate.sentence == "It is limited to the channels eu or us; the event is on asia."
    assert passed_over(channels=("eu",), condition=None).sentence.endswith("the event has none.")


def test_an_unmet_condition_is_quoted():
    fate = passed_over(channels=(), condition="total > `200`", body=BODY)
    assert fate.verdict is MatchVerdict.CONDITION_NOT_MET
    assert fate.sentence == "Its condition does not hold for the event: total > `200`"


def test_a_condition_cannot_be_evaluated_without_the_payload():
    fate = passed_over(channels=(), condition="total > `200`", body=None)
    assert fate.verdict is MatchVerdict.CONDITION_NOT_MET
    assert "no longer stored" in fate.sentence


def test_endpoint_that_matches_only_now_was_changed_meanwhile():
    fate = passed_over(channels=("eu",), condition="total > `100`", on=("eu",), body=BODY)
    assert fate.verdict is MatchVerdict.JUST_CHANGED


def test_a_failed_condition_is_shown_with_the_delivery():
    failed = replace(ARRIVAL.owed[0][0], matched_by="order.*", condition_failed="length() takes string.")
    (fate, _) = build_event_timeline(replace(ARRIVAL, owed=[(failed, ARRIVAL.owed[0][1])])).endpoints
    assert fate.condition_failed == "length() takes string."
    assert "could not be evaluated (length() takes string), so the event is sent anyway" in fate.sentence


def test_status_does_not_blame_the_type_when_other_rules_decided():
    other = replace(OTHER, filter=("*",), channels=("eu",))
    assert build_event_timeline(replace(NOWHERE, others=[other])).summary == (
        "It was owed to no endpoint: the only one did not subscribe to it."
    )
