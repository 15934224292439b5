"""What pages say of replays: how far one is, what became of what it sent, what an endpoint does. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, assert_never

from delivery.jobs import ItemState, ReplayState
from delivery.model import EndpointState
from delivery.moments import exact, length
from delivery.tracing.sentences import held_by, sentence, state_reason, why
from retries.health import Hold

if TYPE_CHECKING:
    from delivery.jobs import Item, Replay
    from delivery.model import Endpoint, Held
    from retries.rate import RateLimit

# As the colours of the page are called.
TONES: Final = {
    ItemState.SUCCEEDED: "ok",
    ItemState.FAILED: "bad",
    ItemState.RETRYING: "wait",
    ItemState.QUEUED: "move",
    ItemState.WAITING: "still",
    ItemState.CANCELLED: "still",
    ItemState.SKIPPED: "still",
}
MEANINGS: Final = {
    ItemState.WAITING: "its turn has not come",
    ItemState.QUEUED: "in the queue, or on its way",
    ItemState.RETRYING: "an attempt failed, its retries go on",
    ItemState.SUCCEEDED: "delivered",
    ItemState.FAILED: "failed for good",
    ItemState.CANCELLED: "not sent, stands as before",
    ItemState.SKIPPED: "could not be sent",
}
_SKIPPED: Final = {
    "endpoint_disabled": "Its endpoint is disabled, and the replay was not to wait for it.",
    "delivery_gone": "The delivery was no longer kept.",
    "owed_meanwhile": "It was owed meanwhile, so it goes out without this replay.",
}
GOING_ON: Final = frozenset({ReplayState.RUNNING, ReplayState.CANCELLING})
OVER: Final = frozenset({ReplayState.FINISHED, ReplayState.CANCELLED})


def moves(replay: Replay) -> bool:
    """Whether something may change by itself: also of a paused one, while some are still on their way."""
    in_work = replay.counts.get(ItemState.QUEUED, 0) + replay.counts.get(ItemState.RETRYING, 0)
    return replay.state in GOING_ON or (replay.state is ReplayState.PAUSED and in_work > 0)


def progress(replay: Replay) -> str:
    """How far it is: `1,204 of 5,000`."""
    if replay.selecting and not replay.selected:
        return "Looking for what is meant"
    found = f"{replay.selected:,}" + (" found so far" if replay.selecting else "")
    return f"{replay.done:,} of {found}"


def pace(replay: Replay) -> str:
    """How fast it goes and how long it takes, in a sentence; empty when it does not move."""
    match replay.state:
        case ReplayState.RUNNING:
            return _pace_of_running(replay)
        case ReplayState.PAUSED:
            return "Paused: nothing goes out until it is resumed."
        case ReplayState.CANCELLING:
            return "Being cancelled: what no worker has yet is taken back."
        case ReplayState.FINISHED | ReplayState.CANCELLED:
            return ""
        case _:
            assert_never(replay.state)


def _pace_of_running(replay: Replay) -> str:
    if not replay.per_second:
        waits = "Nothing has ended yet." if not replay.done else "Nothing ends just now."
        return waits if replay.selected else "It has just begun."
    speed = f"About {per_second(replay.per_second)}"
    if replay.seconds_left is None:
        return f"{speed}; more may be found yet."
    if not replay.remaining:
        return f"{speed}; almost done."
    return f"{speed}; {length(timedelta(seconds=replay.seconds_left))} left at this speed."


def per_second(speed: float) -> str:
    """A speed as people say it: `250 a second`, `12 a minute`."""
    if speed >= 1:
        return f"{speed:,.0f} a second"
    if speed * 60 >= 1:
        return f"{speed * 60:,.0f} a minute"
    return f"{speed * 3600:,.0f} an hour"


def of_item(item: Item) -> str:
    """What became of one delivery of a replay, as a sentence."""
    if item.why is None:
        return sentence(MEANINGS[item.state])
    return _SKIPPED.get(item.why) or why(item.why)


# ------------------------------------------------------------------ what it does to an endpoint
def bearing(endpoint: Endpoint, held: Held | None, *, named: bool) -> str:
    """What a replay comes to at this endpoint as it stands now.

    `named`: the selection names it, and then a replay does not begin while it takes nothing.
    """
    only_if = " A replay that names it begins only if it may wait." if named else ""
    match endpoint.state:
        case EndpointState.PAUSED:
            said = state_reason(endpoint.state_reason)
            return f"{sentence(f'paused{said}')} They wait until it is resumed.{only_if}"
        case EndpointState.DISABLED:
            said = state_reason(endpoint.state_reason)
            return f"{sentence(f'disabled{said}')} They are skipped, or wait if you say so.{only_if}"
        case EndpointState.ACTIVE:
            return _bearing_of_active(held)
        case _:
            assert_never(endpoint.state)


def _bearing_of_active(held: Held | None) -> str:
    if held is None:
        return "They go out behind live traffic."
    because = sentence(held_by(held.by))
    until = "" if held.until is None else f", not before {exact(held.until)}"
    if held.by is Hold.BREAKER_OPEN:
        return f"{because} A few go out as probes{until}; the rest once they are taken."
    return f"{because} They go out as it allows{until}."


def limit(endpoint: Endpoint, *, count: int | None = None) -> str:
    """By what an endpoint is limited, and how long so many take at least; empty without a limit."""
    own = endpoint.limits.rate
    if own is None:
        return ""
    speed = _speed(own)
    said = f"At most {per_second(speed)}"
    if count and count / speed >= 1:
        said += f", so at least {length(timedelta(seconds=count / speed))} for all"
    return f"{said}."


def _speed(rate: RateLimit) -> float:
    return rate.limit / rate.per.total_seconds()
