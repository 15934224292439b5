"""Texts about replays: progress, speed, the result of each item, the effect on an endpoint. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, assert_never

from delivery.domain.durations import format_duration, format_utc
from delivery.domain.endpoint import EndpointState
from delivery.domain.replay import ItemState, ReplayState
from delivery.services.sentences import (
    describe_hold,
    describe_reason,
    format_sentence,
    format_state_reason,
)
from retries.health import Hold

if TYPE_CHECKING:
    from delivery.domain.delivery import ActiveHold
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.replay import Replay, ReplayItem
    from retries.rate import RateLimit

# CSS classes of the page's colours.
ITEM_TONES: Final = {
    ItemState.SUCCEEDED: "ok",
    ItemState.FAILED: "bad",
    ItemState.RETRYING: "wait",
    ItemState.QUEUED: "move",
    ItemState.WAITING: "still",
    ItemState.CANCELLED: "still",
    ItemState.SKIPPED: "still",
}
ITEM_MEANINGS: Final = {
    ItemState.WAITING: "waiting for its turn",
    ItemState.QUEUED: "queued or in flight",
    ItemState.RETRYING: "an attempt failed; retries continue",
    ItemState.SUCCEEDED: "delivered",
    ItemState.FAILED: "failed for good",
    ItemState.CANCELLED: "not sent; its status is unchanged",
    ItemState.SKIPPED: "could not be sent",
}
_SKIP_REASONS: Final = {
    "endpoint_disabled": "Its endpoint is disabled, and the replay does not wait for disabled endpoints.",
    "delivery_gone": "The delivery is no longer stored.",
    "owed_meanwhile": "A delivery was created meanwhile, so it is sent without this replay.",
}
ACTIVE_STATES: Final = frozenset({ReplayState.RUNNING, ReplayState.CANCELLING})
FINISHED_STATES: Final = frozenset({ReplayState.FINISHED, ReplayState.CANCELLED})


def is_moving(replay: Replay) -> bool:
    """Whether the replay may still change: it is active, or paused with deliveries in flight."""
    in_work = replay.counts.get(ItemState.QUEUED, 0) + replay.counts.get(ItemState.RETRYING, 0)
    return replay.state in ACTIVE_STATES or (replay.state is ReplayState.PAUSED and in_work > 0)


def describe_progress(replay: Replay) -> str:
    """Write the progress: `1,204 of 5,000`."""
    if replay.selecting and not replay.selected:
        return "Selecting deliveries"
    selected = f"{replay.selected:,}" + (" found so far" if replay.selecting else "")
    return f"{replay.done:,} of {selected}"


def describe_speed(replay: Replay) -> str:
    """Describe speed and remaining time in a sentence; empty for a replay that has ended."""
    match replay.state:
        case ReplayState.RUNNING:
            return _describe_running_speed(replay)
        case ReplayState.PAUSED:
            return "Paused: nothing is sent until it is resumed."
        case ReplayState.CANCELLING:
            return "Being cancelled: deliveries that no worker has started are withdrawn."
        case ReplayState.FINISHED | ReplayState.CANCELLED:
            return ""
        case _:
            assert_never(replay.state)


def _describe_running_speed(replay: Replay) -> str:
    if not replay.per_second:
        waits = "Nothing has finished yet." if not replay.done else "Nothing is finishing at the moment."
        return waits if replay.selected else "It has just started."
    speed = f"About {format_speed(replay.per_second)}"
    if replay.seconds_left is None:
        return f"{speed}; more may still be selected."
    if not replay.remaining:
        return f"{speed}; almost done."
    return f"{speed}; {format_duration(timedelta(seconds=replay.seconds_left))} left at this speed."


def format_speed(speed: float) -> str:
    """Write a speed in a readable unit: `250 a second`, `12 a minute`."""
    if speed >= 1:
        return f"{speed:,.0f} a second"
    if speed * 60 >= 1:
        return f"{speed * 60:,.0f} a minute"
    return f"{speed * 3600:,.0f} an hour"


def describe_item(item: ReplayItem) -> str:
    """Describe the result of one item of a replay, as a sentence."""
    if item.reason is None:
        return format_sentence(ITEM_MEANINGS[item.state])
    return _SKIP_REASONS.get(item.reason) or describe_reason(item.reason)


# ------------------------------------------------------------------ effect on an endpoint
def describe_effect(endpoint: Endpoint, held: ActiveHold | None, *, is_named: bool) -> str:
    """Describe what a replay does at this endpoint in its current state.

    `is_named`: the selection names this endpoint; then a replay does not start while it is paused or
    disabled.
    """
    only_if = " A replay of this endpoint starts only if waiting is allowed." if is_named else ""
    match endpoint.state:
        case EndpointState.PAUSED:
            why = format_state_reason(endpoint.state_reason)
            return f"{format_sentence(f'paused{why}')} Deliveries wait until it is resumed.{only_if}"
        case EndpointState.DISABLED:
            why = format_state_reason(endpoint.state_reason)
            choice = "Deliveries are skipped, or wait if you choose so."
            return f"{format_sentence(f'disabled{why}')} {choice}{only_if}"
        case EndpointState.ACTIVE:
            return _describe_active_effect(held)
        case _:
            assert_never(endpoint.state)


def _describe_active_effect(held: ActiveHold | None) -> str:
    if held is None:
        return "Deliveries are sent at lower priority than live traffic."
    because = format_sentence(describe_hold(held.by))
    until = "" if held.until is None else f", not before {format_utc(held.until)}"
    if held.by is Hold.BREAKER_OPEN:
        return f"{because} A few are sent as probes{until}, the rest once they succeed."
    return f"{because} Deliveries are sent as it allows{until}."


def describe_limit(endpoint: Endpoint, *, count: int | None = None) -> str:
    """Describe the rate limit and the minimum time for `count` deliveries; empty without a limit."""
    own = endpoint.limits.rate
    if own is None:
        return ""
    speed = _compute_per_second(own)
    text = f"At most {format_speed(speed)}"
    if count and count / speed >= 1:
        text += f", so at least {format_duration(timedelta(seconds=count / speed))} for all"
    return f"{text}."


def _compute_per_second(rate: RateLimit) -> float:
    return rate.limit / rate.per.total_seconds()
