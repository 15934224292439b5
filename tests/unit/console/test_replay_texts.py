"""Texts about replays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from delivery.console.views import replay_progress
from delivery.domain.accounts import Actor
from delivery.domain.delivery import ActiveHold
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.domain.ids import EndpointId, EventId, ReplayId, new_id
from delivery.domain.replay import ItemState, Replay, ReplayItem, ReplayState
from retries.health import Hold
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT, MADE, TENANT

REPLAY = Replay(
    id=ReplayId(new_id()),
    tenant_id=TENANT.id,
    selection=DeliveryFilter(),
    reason="an outage",
    actor=Actor("ada"),
    hold=False,
    rate=None,
    state=ReplayState.RUNNING,
    selecting=False,
    counts={ItemState.WAITING: 3_700, ItemState.QUEUED: 96, ItemState.SUCCEEDED: 1_204},
    per_second=250.0,
    counted_at=MADE,
    created_at=MADE,
    finished_at=None,
)


def item(state: ItemState, why: str | None) -> ReplayItem:
    return ReplayItem(new_id(), EventId(new_id()), EndpointId(new_id()), state, why, None)


def test_progress_counts_finished_items():
    assert replay_progress.describe_progress(REPLAY) == "1,204 of 5,000"
    assert replay_progress.describe_progress(replace(REPLAY, selecting=True)) == "1,204 of 5,000 found so far"
    assert (
        replay_progress.describe_progress(replace(REPLAY, selecting=True, counts={}))
        == "Selecting deliveries"
    )


def test_speed_text_has_the_remaining_time():
    assert replay_progress.describe_speed(REPLAY) == "About 250 a second; 15 s left at this speed."


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"per_second": None, "counts": {}}, "It has just started."),
        ({"per_second": None}, "Nothing is finishing at the moment."),
        ({"per_second": None, "counts": {ItemState.WAITING: 1}}, "Nothing has finished yet."),
        ({"selecting": True}, "About 250 a second; more may still be selected."),
        ({"counts": {ItemState.SUCCEEDED: 1}}, "About 250 a second; almost done."),
        ({"state": ReplayState.PAUSED}, "Paused: nothing is sent until it is resumed."),
        ({"state": ReplayState.FINISHED}, ""),
    ],
)
def test_speed_text_depends_on_the_state(changed: dict[str, object], said: str):
    assert replay_progress.describe_speed(replace(REPLAY, **changed)) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("speed", "said"), [(1_250.0, "1,250 a second"), (0.5, "30 a minute"), (0.01, "36 an hour")]
)
def test_speed_uses_a_readable_unit(speed: float, said: str):
    assert replay_progress.format_speed(speed) == said


def test_paused_replay_refreshes_while_deliveries_are_in_flight():
    paused = replace(REPLAY, state=ReplayState.PAUSED)
    assert replay_progress.is_moving(paused)
    assert not replay_progress.is_moving(replace(paused, counts={ItemState.WAITING: 3}))


def test_every_item_state_has_text_and_tone():
    assert set(ItemState) == set(replay_progress.ITEM_MEANINGS) == set(replay_progress.ITEM_TONES)


@pytest.mark.parametrize(
    ("state", "why", "said"),
    [
        (ItemState.WAITING, None, "Waiting for its turn."),
        (
            ItemState.SKIPPED,
            "owed_meanwhile",
            "A delivery was created meanwhile, so it is sent without this replay.",
        ),
        (ItemState.SKIPPED, "endpoint_deleted", "Its endpoint was deleted."),
        (ItemState.CANCELLED, "replayed by ada", "Replayed by ada."),
    ],
)
def test_item_result_is_a_sentence(state: ItemState, why: str | None, said: str):
    assert replay_progress.describe_item(item(state, why)) == said


def test_deliveries_wait_for_a_paused_endpoint():
    paused = replace(ENDPOINT, state=EndpointState.PAUSED, state_reason="they asked")
    assert replay_progress.describe_effect(paused, None, is_named=False) == (
        "Paused: they asked. Deliveries wait until it is resumed."
    )
    assert "starts only if waiting is allowed" in replay_progress.describe_effect(paused, None, is_named=True)


def test_replay_skips_a_disabled_endpoint():
    disabled = replace(ENDPOINT, state=EndpointState.DISABLED)
    assert replay_progress.describe_effect(disabled, None, is_named=False) == (
        "Disabled. Deliveries are skipped, or wait if you choose so."
    )


def test_open_breaker_sends_a_few_probes():
    held = ActiveHold(Hold.BREAKER_OPEN, until=MADE)
    said = replay_progress.describe_effect(ENDPOINT, held, is_named=False)
    assert said.endswith(
        "A few are sent as probes, not before 2026-11-22 18:00:00 UTC, the rest once they succeed."
    )


def test_rate_limit_text_has_the_minimum_duration():
    limited = replace(ENDPOINT, limits=EndpointLimits(rate=RateLimit(100, timedelta(minutes=1))))
    assert replay_progress.describe_limit(limited) == "At most 2 a second."
    assert (
        replay_progress.describe_limit(limited, count=1_000)
        == "At most 2 a second, so at least 10 min for all."
    )
    assert not replay_progress.describe_limit(ENDPOINT, count=1_000)
