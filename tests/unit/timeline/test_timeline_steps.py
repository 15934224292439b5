"""The steps of a delivery's timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.accounts import ENGINE_ACTOR
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.endpoint import EndpointState
from delivery.services.sentences import describe_entry
from delivery.services.timeline.delivery_entries import build_delivery_timeline
from delivery.services.timeline.entries import TimelineEntryKind
from delivery.services.timeline.history import DeliveryHistory, find_active_holds
from retries.breaker import BreakerState
from retries.policy import Reason, explain_reason
from tests.unit.timeline.stories import MADE, SITUATION, STORY, after, attempt, entry, replay_requested

if TYPE_CHECKING:
    from delivery.ledger.records.journal import JournalEntry

OF_ENDPOINTS = [what for what in TimelineEntryKind if what.startswith("endpoint.")]


def list_sentences(story: DeliveryHistory) -> list[str]:
    return [step.sentence for step in build_delivery_timeline(story).steps]


def list_kinds(story: DeliveryHistory) -> list[TimelineEntryKind]:
    return [step.kind for step in build_delivery_timeline(story).steps]


def test_a_timeline_begins_with_the_event_and_the_matching_pattern():
    accepted, matched = build_delivery_timeline(STORY).steps
    assert (accepted.kind, accepted.at) == (TimelineEntryKind.ACCEPTED, MADE)
    assert accepted.details["event_type"] == "order.created"
    assert matched.details["pattern"] == "order.*"
    assert matched.sentence.endswith(", whose filter includes order.*.")


def test_a_test_event_is_shown_as_sent_directly():
    named = replace(STORY.delivery, matched_by=None, event_type="waybill.test")
    assert list_sentences(replace(STORY, delivery=named))[1].endswith(", to which it was sent directly.")


def test_a_missing_pattern_is_not_invented():
    unknown = replace(STORY.delivery, matched_by=None)
    assert "directly, or before patterns were stored" in list_sentences(replace(STORY, delivery=unknown))[1]


def test_every_attempt_has_four_steps_in_order():
    steps = build_delivery_timeline(replace(STORY, attempts=[attempt(1, claimed=2, next_due=7)])).steps[2:]
    assert [step.kind for step in steps] == [
        TimelineEntryKind.CLAIMED,
        TimelineEntryKind.ATTEMPTED,
        TimelineEntryKind.FAILED,
        TimelineEntryKind.DECIDED,
    ]
    claimed, attempted, failed, decided = steps
    assert claimed.sentence == "Claimed for attempt 1, 2 s after it was due."
    assert claimed.details["waited_ms"] == 2_000
    assert attempted.sentence == (
        "Attempt 1 by worker host:1 to https://shop.example/hooks (203.0.113.7); it took 500 ms."
    )
    assert (failed.at, failed.sentence) == (after(2.6), "The endpoint answered 503 Service Unavailable.")
    assert (
        decided.sentence == f"{explain_reason(Reason.RETRYABLE_STATUS)} Due again at 2026-11-22 18:00:07 UTC."
    )
    assert decided.details["next_due_at"] == after(7)


def test_a_success_is_shown_as_success():
    steps = build_delivery_timeline(replace(STORY, attempts=[attempt(1, claimed=2, next_due=None)])).steps
    assert [step.kind for step in steps[-2:]] == [TimelineEntryKind.SUCCEEDED, TimelineEntryKind.DECIDED]
    assert steps[-1].sentence == "The endpoint accepted the delivery."


def test_an_attempt_of_an_older_release_has_no_claim_step():
    old = replace(attempt(1, claimed=2, next_due=7), claimed_at=None)
    assert TimelineEntryKind.CLAIMED not in list_kinds(replace(STORY, attempts=[old]))


def test_an_attempt_without_a_connection_says_so():
    blocked = replace(attempt(1, claimed=2, next_due=7), address=None, status=None)
    assert "(no connection)" in list_sentences(replace(STORY, attempts=[blocked]))[3]


def waited(story: DeliveryHistory) -> list[object]:
    return [
        step.details["waited_ms"]
        for step in build_delivery_timeline(story).steps
        if step.kind is TimelineEntryKind.CLAIMED
    ]


def test_a_later_attempt_waits_since_its_planned_time():
    attempts = [attempt(1, claimed=1, next_due=10), attempt(2, claimed=13, next_due=300)]
    assert waited(replace(STORY, attempts=attempts)) == [1_000, 3_000]


def test_a_replay_request_makes_it_due():
    attempts = [attempt(1, claimed=1, next_due=300), attempt(2, claimed=13, next_due=None)]
    assert waited(
        replace(STORY, attempts=attempts, replay_requests=[replay_requested(12), replay_requested(12.5)])
    ) == [
        1_000,
        1_000,
    ]
    replayed = [attempts[1], attempt(3, claimed=50, next_due=None)]
    assert waited(replace(STORY, attempts=replayed, replay_requests=[replay_requested(46)])) == [None, 4_000]


def test_oldest_shown_attempt_has_no_invented_wait():
    assert waited(replace(STORY, attempts=[attempt(7, claimed=50, next_due=60)])) == [None]


def test_clock_skew_makes_no_negative_wait():
    assert waited(replace(STORY, attempts=[attempt(1, claimed=-0.2, next_due=60)])) == [0]


def test_the_current_claim_is_the_last_step():
    progress = (
        replace(STORY.progress, claimed_at=after(20), started_at=after(21), worker="host:2", step=1)
        if STORY.progress
        else None
    )
    flying = replace(STORY.delivery, status=DeliveryStatus.IN_FLIGHT, attempts=1)
    story = replace(STORY, delivery=flying, progress=progress, attempts=[attempt(1, claimed=1, next_due=15)])
    last = build_delivery_timeline(story).steps[-1]
    assert last.sentence == "Claimed for attempt 2, 5 s after it was due."
    assert (last.details["worker"], last.details["started_at"]) == ("host:2", after(21))


def test_endpoint_changes_are_between_the_attempts():
    story = replace(
        STORY,
        attempts=[attempt(1, claimed=1, next_due=10), attempt(2, claimed=40, next_due=None)],
        entries_since=[entry("endpoint.paused", 5, reason="moving house"), entry("endpoint.resumed", 30)],
    )
    assert list_kinds(story)[5:9] == [
        TimelineEntryKind.DECIDED,
        TimelineEntryKind.PAUSED,
        TimelineEntryKind.RESUMED,
        TimelineEntryKind.CLAIMED,
    ]
    assert "The endpoint was paused by cli:ada: moving house." in list_sentences(story)


def test_effects_follow_their_attempt_and_the_end_is_last():
    ended = after(1.6)
    gone = replace(
        attempt(1, claimed=1, next_due=5), next_due_at=None, decision="disable_endpoint", reason="gone"
    )
    delivery = replace(
        STORY.delivery,
        status=DeliveryStatus.FAILED,
        reason="gone",
        finished_at=ended,
        due_at=None,
        attempts=1,
    )
    disabled = replace(entry("endpoint.disabled", 1.6, reason="gone", actor=ENGINE_ACTOR), at=ended)
    story = replace(STORY, delivery=delivery, progress=None, attempts=[gone], entries_since=[disabled])
    assert list_kinds(story)[-4:] == [
        TimelineEntryKind.FAILED,
        TimelineEntryKind.DECIDED,
        TimelineEntryKind.DISABLED,
        TimelineEntryKind.FINISHED,
    ]
    assert list_sentences(story)[-2:] == [
        "The endpoint was disabled by Waybill: it answered 410 Gone.",
        "Failed: The endpoint answered 410 Gone: it wants no more deliveries and is disabled.",
    ]


def test_a_replay_step_names_its_actor():
    assert (
        list_sentences(replace(STORY, replay_requests=[replay_requested(60)]))[-1]
        == "Replayed by cli:ada; it was failed."
    )
    step = build_delivery_timeline(
        replace(STORY, replay_requests=[replay_requested(60, was="pending")])
    ).steps[-1]
    assert (step.kind, step.details) == (
        TimelineEntryKind.RETRIED,
        {"actor": "cli:ada", "reason": None, "was": "pending"},
    )


# ------------------------------------------------------------------ holds that began before
def test_an_earlier_pause_precedes_the_delivery():
    story = replace(STORY, entries_before=[entry("endpoint.paused", -86_400)])
    assert list_kinds(story) == [
        TimelineEntryKind.PAUSED,
        TimelineEntryKind.ACCEPTED,
        TimelineEntryKind.MATCHED,
    ]


@pytest.mark.parametrize(
    ("entries", "on"),
    [
        ([entry("endpoint.paused", -9), entry("endpoint.resumed", -8)], []),
        ([entry("endpoint.disabled", -9), entry("endpoint.enabled", -8)], []),
        ([entry("endpoint.paused", -9), entry("endpoint.disabled", -8)], ["endpoint.disabled"]),
        ([entry("endpoint.paused", -9), entry("endpoint.paused", -8, again=True)], ["endpoint.paused"]),
        ([entry("endpoint.breaker_opened", -9), entry("endpoint.breaker_closed", -8)], []),
        (
            [entry("endpoint.breaker_opened", -9), entry("endpoint.breaker_stayed_open", -8)],
            ["endpoint.breaker_opened"],
        ),
        ([entry("endpoint.breaker_stayed_open", -8)], ["endpoint.breaker_stayed_open"]),
        (
            [
                entry("endpoint.breaker_opened", -9),
                entry("endpoint.paused", -8),
                entry("endpoint.resumed", -7),
            ],
            [],
        ),
        (
            [entry("endpoint.breaker_opened", -9), entry("endpoint.paused", -8)],
            ["endpoint.breaker_opened", "endpoint.paused"],
        ),
        ([entry("endpoint.waiting", -9, until=after(5).isoformat())], ["endpoint.waiting"]),
        ([entry("endpoint.waiting", -9, until=after(-5).isoformat())], []),
        ([entry("endpoint.waiting", -9, until="who knows")], []),
        ([entry("endpoint.changed", -9), entry("endpoint.secret_rotated", -8)], []),
    ],
)
def test_active_conditions_are_those_begun_and_not_ended(entries: list[JournalEntry], on: list[str]):
    assert [active_hold.action for active_hold in find_active_holds(entries, at=MADE)] == on


def test_pause_step_uses_the_entry_that_began_it():
    first, second = (
        entry("endpoint.paused", -9, reason="a"),
        entry("endpoint.paused", -8, reason="b", again=True),
    )
    assert find_active_holds([first, second], at=MADE) == [first]


def test_an_unjournaled_pause_comes_from_the_endpoint():
    paused = replace(
        SITUATION,
        state=EndpointState.PAUSED,
        state_reason="moving house",
        state_actor="cli:bob",
        state_changed_at=MADE - timedelta(days=1),
    )
    story = replace(STORY, endpoint_status=paused)
    assert list_sentences(story)[0] == "The endpoint was paused by cli:bob: moving house."
    known = replace(story, entries_before=[entry("endpoint.paused", -86_400)])
    assert list_kinds(known).count(TimelineEntryKind.PAUSED) == 1


def test_an_unjournaled_open_breaker_comes_from_the_health():
    health = SITUATION.health
    assert health is not None
    breaker = replace(health.breaker, state=BreakerState.OPEN, since=after(30), probe_at=after(60))
    story = replace(STORY, endpoint_status=replace(SITUATION, health=replace(health, breaker=breaker)))
    assert list_sentences(story)[-1] == (
        "The endpoint's circuit breaker opened; the next probe may be sent at 2026-11-22 18:01:00 UTC."
    )
    for known in ("endpoint.breaker_opened", "endpoint.breaker_stayed_open"):
        assert len(build_delivery_timeline(replace(story, entries_since=[entry(known, 30)])).steps) == 3


def test_later_holds_are_not_part_of_a_final_delivery():
    paused = replace(SITUATION, state=EndpointState.PAUSED, state_changed_at=after(90))
    over = replace(STORY.delivery, status=DeliveryStatus.SUCCEEDED, finished_at=after(5), reason="delivered")
    assert TimelineEntryKind.PAUSED not in list_kinds(
        replace(STORY, delivery=over, progress=None, endpoint_status=paused)
    )


# ------------------------------------------------------------------ words of the journal
@pytest.mark.parametrize("action", OF_ENDPOINTS)
def test_every_journal_action_has_its_own_sentence(action: TimelineEntryKind):
    message = describe_entry(entry(action, 0))
    assert message.startswith("The ")
    assert message.endswith(".")
    assert action not in message


def test_an_unknown_journal_action_is_shown_as_it_is():
    step = build_delivery_timeline(replace(STORY, entries_since=[entry("endpoint.moved_house", 5)])).steps[-1]
    assert (step.kind, step.sentence) == (TimelineEntryKind.OTHER, "Endpoint: moved house, by cli:ada.")
    assert step.details["entry"] == "endpoint.moved_house"


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            entry("endpoint.changed", 0, fields=["filter", "url"]),
            "The endpoint was changed by cli:ada: filter, url.",
        ),
        (entry("endpoint.waiting", 0, until="2026-11-22T18:05:00.5Z"), "until 2026-11-22 18:05:00 UTC."),
        (
            entry("endpoint.disable_warning", 0, failing_since=after(-9).isoformat(), disabled_at="nonsense"),
            "has only failed since 2026-11-22 17:59:51 UTC.",
        ),
        (entry("endpoint.paused", 0, reason="why not?"), "by cli:ada: why not?"),
        (entry("endpoint.paused", 0, reason="b", again=True), "stays paused; cli:ada gave a new reason: b."),
        (entry("endpoint.disabled", 0, reason="failing"), "it failed for too long without a success."),
    ],
)
def test_a_sentence_has_the_known_facts(known: JournalEntry, message: str):
    assert describe_entry(known).endswith(message)


@given(st.text(), st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_any_journal_entry_can_be_described(reason: str, details: dict[str, object]):
    for what in OF_ENDPOINTS:
        assert describe_entry(replace(entry(what, 0, reason=reason), details=details))


@given(st.lists(st.sampled_from([str(what) for what in OF_ENDPOINTS]), max_size=8), st.data())
def test_steps_are_always_in_time_order(words: list[str], data: st.DataObject):
    meanwhile = [entry(word, data.draw(st.floats(0, 100))) for word in words]
    attempts = [attempt(n, claimed=n * 10, next_due=n * 10 + 5) for n in range(1, 4)]
    steps = build_delivery_timeline(replace(STORY, attempts=attempts, entries_since=meanwhile)).steps
    moments = [step.at for step in steps]
    assert moments == sorted(moments)
    assert len(steps) == 2 + 12 + len(meanwhile)
