"""The decisions of a step of a replay job."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain import replay
from delivery.domain.accounts import Actor
from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import EndpointStatus
from delivery.domain.ids import EndpointId, ReplayId, TenantId, new_id
from delivery.domain.replay import (
    EndedDelivery,
    ItemState,
    MissingEventFilter,
    ReleaseAction,
    ReleaseQuota,
    Replay,
    ReplayState,
    ScheduledDelivery,
)
from retries.breaker import Breaker, BreakerState
from retries.health import Health
from retries.limit import InFlightLimit

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ACTIVE = EndpointStatus(
    state=EndpointState.ACTIVE,
    state_reason=None,
    state_actor=None,
    state_changed_at=NOW,
    health=Health(Breaker.fresh(NOW), InFlightLimit(10, ramping=False)),
    in_flight=0,
    max_in_flight=None,
    rate=None,
    next_at=None,
    now=NOW,
)
REPLAY = Replay(
    id=ReplayId(new_id()),
    tenant_id=TenantId(new_id()),
    selection=DeliveryFilter(),
    reason="so",
    actor=Actor("cli:ada"),
    hold=False,
    rate=None,
    state=ReplayState.RUNNING,
    selecting=False,
    counts={},
    per_second=None,
    counted_at=NOW,
    created_at=NOW,
    finished_at=None,
)
counts = st.dictionaries(st.sampled_from(list(ItemState)), st.integers(0, 1_000_000))


# ------------------------------------------------------------------ how far it is
@given(counts)
def test_what_is_selected_is_done_or_remains(stand: dict[ItemState, int]) -> None:
    replay = replace(REPLAY, counts=stand)
    assert replay.done + replay.remaining == replay.selected == sum(stand.values())


def test_the_time_left_is_told_where_it_is_known() -> None:
    replay = replace(REPLAY, counts={ItemState.WAITING: 90, ItemState.SUCCEEDED: 10}, per_second=30.0)
    assert replay.seconds_left == 3.0
    assert replace(replay, per_second=None).seconds_left is None
    assert replace(replay, per_second=0.0).seconds_left is None
    assert replace(replay, selecting=True).seconds_left is None
    assert replace(replay, state=ReplayState.PAUSED).seconds_left is None


@given(st.lists(st.tuples(st.integers(0, 1_000), st.floats(0.05, 5)), min_size=1, max_size=30))
def test_speed_is_between_recent_minimum_and_maximum(steps: list[tuple[int, float]]) -> None:
    speed = None
    for done, took in steps:
        speed = replay.average_speed(speed, ended=done, elapsed=timedelta(seconds=took))
    rates = [done / timedelta(seconds=took).total_seconds() for done, took in steps]
    assert speed is None or min(rates) * 0.999 <= speed <= max(rates) * 1.001


def test_zero_elapsed_time_keeps_the_speed() -> None:
    assert replay.average_speed(7.0, ended=3, elapsed=timedelta(0)) == 7.0


# ------------------------------------------------------------------ rate
@given(
    st.floats(0.01, 10_000),
    st.lists(st.floats(0.01, 10), min_size=1, max_size=60),
    st.integers(1, 3_000),
)
def test_no_more_goes_out_than_the_rate_and_a_first_burst_allow(
    rate: float, pauses: list[float], most: int
) -> None:
    now = began = NOW
    paced_at, released = NOW, 0
    for pause in pauses:
        now += timedelta(seconds=pause)
        some = replay.compute_release_limit(rate, paced_at, now, limit=most)
        assert 0 <= some <= most
        paced_at = replay.compute_paced_until(rate, paced_at, now, released=some)
        released += some
    assert released <= rate * (now - began).total_seconds() + 1


@given(st.floats(0.5, 5_000), st.integers(10, 100))
def test_what_the_rate_allows_does_go_out(rate: float, steps: int) -> None:
    paced_at, released = NOW, 0
    for number in range(1, steps + 1):
        now = NOW + timedelta(seconds=0.25 * number)
        some = replay.compute_release_limit(rate, paced_at, now, limit=10_000)
        paced_at = replay.compute_paced_until(rate, paced_at, now, released=some)
        released += some
    assert released >= rate * 0.25 * steps - 2


def test_without_a_rate_a_step_takes_all_it_may() -> None:
    assert replay.compute_release_limit(None, NOW, NOW, limit=2_000) == 2_000
    assert replay.compute_paced_until(None, NOW, NOW + timedelta(1), released=5) == NOW + timedelta(1)


# ------------------------------------------------------------------ whose turn it is
@given(st.lists(st.integers(0, 300), max_size=50), st.integers(0, 3_000))
def test_endpoints_share_what_there_is_and_none_gets_more_than_it_needs(needs: list[int], most: int) -> None:
    takes = replay.share_evenly(needs, most)
    assert all(take <= need for take, need in zip(takes, needs, strict=True))
    needy = sum(1 for need in needs if need)
    assert sum(takes) <= most
    assert sum(takes) >= min(sum(needs), most) - needy  # what does not divide by their number is left
    if most >= needy:
        assert all(take for take, need in zip(takes, needs, strict=True) if need)


@given(st.lists(st.integers(0, 300), max_size=50), st.integers(0, 3_000))
def test_unsatisfied_endpoint_gets_the_largest_share(needs: list[int], most: int) -> None:
    takes = replay.share_evenly(needs, most)
    short = [take for take, need in zip(takes, needs, strict=True) if 0 < take < need]
    assert all(take >= max(takes) - 1 for take in short)


@pytest.mark.parametrize(
    ("state", "hold", "turn"),
    [
        (EndpointState.PAUSED, False, ReleaseQuota(0)),
        (EndpointState.PAUSED, True, ReleaseQuota(0)),
        (EndpointState.DISABLED, True, ReleaseQuota(0)),
        (EndpointState.DISABLED, False, ReleaseQuota(replay.ENDPOINT_WINDOW, "endpoint_disabled")),
        (EndpointState.ACTIVE, False, ReleaseQuota(replay.ENDPOINT_WINDOW)),
    ],
)
def test_paused_ones_wait_and_disabled_ones_are_skipped_unless_held(
    state: EndpointState, turn: ReleaseQuota, *, hold: bool
) -> None:
    assert (
        replay.compute_release_quota(replace(ACTIVE, state=state), hold=hold, queued=0, far_ahead=False)
        == turn
    )


def test_a_deleted_endpoints_are_skipped() -> None:
    assert (
        replay.compute_release_quota(None, hold=True, queued=0, far_ahead=False).skip_reason
        == "endpoint_deleted"
    )


@given(st.integers(0, 1_000), st.sampled_from([False, True]), st.sampled_from(list(BreakerState)))
def test_a_window_bounds_what_one_endpoint_has_in_the_lane(
    queued: int,
    far_ahead: bool,  # noqa: FBT001  drawn
    state: BreakerState,
) -> None:
    assert ACTIVE.health is not None
    breaker = replace(ACTIVE.health.breaker, state=state)
    situation = replace(ACTIVE, health=replace(ACTIVE.health, breaker=breaker))
    turn = replay.compute_release_quota(situation, hold=False, queued=queued, far_ahead=far_ahead)
    narrow = far_ahead or state is not BreakerState.CLOSED
    assert queued + turn.count == max(
        queued, replay.NARROW_ENDPOINT_WINDOW if narrow else replay.ENDPOINT_WINDOW
    )


def test_replay_looks_ahead_in_proportion_to_its_speed() -> None:
    assert not replay.is_far_ahead(replay.MIN_QUEUED_AHEAD - 1, None)
    assert replay.is_far_ahead(replay.MIN_QUEUED_AHEAD, None)
    assert not replay.is_far_ahead(4_999, 1_000.0)
    assert replay.is_far_ahead(5_000, 1_000.0)


# ------------------------------------------------------------------ one delivery
WAITS = ScheduledDelivery(is_claimed=False, is_locked=True, priority=Priority.LIVE, is_due=False)


@pytest.mark.parametrize(
    ("stands", "release"),
    [
        (None, ReleaseAction.SKIP),
        (WAITS, ReleaseAction.ADVANCE),
        (replace(WAITS, is_due=True), ReleaseAction.ADVANCE),
        (replace(WAITS, priority=Priority.REPLAY), ReleaseAction.ADVANCE),
        (replace(WAITS, priority=Priority.REPLAY, is_due=True), ReleaseAction.JOIN),
        (replace(WAITS, is_claimed=True, is_locked=False), ReleaseAction.JOIN),
        (replace(WAITS, is_locked=False), ReleaseAction.LEAVE),
        (EndedDelivery(DeliveryStatus.FAILED, is_locked=True), ReleaseAction.REOPEN),
        (EndedDelivery(DeliveryStatus.SUCCEEDED, is_locked=True), ReleaseAction.REOPEN),
        (EndedDelivery(DeliveryStatus.CANCELLED, is_locked=True), ReleaseAction.REOPEN),
        (EndedDelivery(DeliveryStatus.FAILED, is_locked=False), ReleaseAction.LEAVE),
        (EndedDelivery(DeliveryStatus.PENDING, is_locked=True), ReleaseAction.LEAVE),
    ],
)
def test_what_is_done_with_a_delivery_whose_turn_has_come(
    stands: ScheduledDelivery | EndedDelivery | None, release: ReleaseAction
) -> None:
    done, why = replay.decide_release(stands, has_payload=True, was_owed=True)
    assert done is release
    assert (why is not None) == (release is ReleaseAction.SKIP)


def test_an_event_that_was_never_owed_is_owed_now() -> None:
    assert replay.decide_release(None, has_payload=True, was_owed=False) == (ReleaseAction.CREATE, None)


def test_what_has_no_content_any_more_is_skipped() -> None:
    for stands in (None, WAITS, EndedDelivery(DeliveryStatus.FAILED, is_locked=True)):
        assert replay.decide_release(stands, has_payload=False, was_owed=True) == (
            ReleaseAction.SKIP,
            "payload_gone",
        )


# ------------------------------------------------------------------ when to look again
@given(counts, st.tuples(st.booleans(), st.booleans()))
def test_a_job_that_is_not_over_has_another_step(stand: dict[ItemState, int], how: tuple[bool, bool]) -> None:
    selecting, moved = how
    for state in (ReplayState.RUNNING, ReplayState.CANCELLING):
        assert replay.compute_step_delay(state, stand, selecting=selecting, progressed=moved) is not None
    for state in (ReplayState.FINISHED, ReplayState.CANCELLED):
        assert replay.compute_step_delay(state, stand, selecting=selecting, progressed=moved) is None


def test_a_paused_job_is_looked_at_while_something_of_it_is_on_its_way() -> None:
    assert replay.compute_step_delay(
        ReplayState.PAUSED, {ItemState.QUEUED: 1}, selecting=False, progressed=False
    )
    assert (
        replay.compute_step_delay(ReplayState.PAUSED, {ItemState.WAITING: 9}, selecting=True, progressed=True)
        is None
    )


# ------------------------------------------------------------------ selections
@given(
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.lists(st.sampled_from(["*", "order.*", "user.left"]), max_size=3),
)
def test_a_selection_of_missing_events_can_be_kept(
    since: datetime | None, until: datetime | None, types: list[str]
) -> None:
    wanted = MissingEventFilter(EndpointId(new_id()), since, until, tuple(types))
    assert MissingEventFilter.from_document(wanted.to_document()) == wanted
