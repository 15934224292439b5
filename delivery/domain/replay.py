"""Replay jobs: what was asked for, how far it is, and what its next step may do. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import DeliveryId, EndpointId, Prefix, format_id, parse_id
from retries.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from delivery.domain.accounts import Actor
    from delivery.domain.delivery_filter import DeliveryFilter
    from delivery.domain.holds import EndpointStatus
    from delivery.domain.ids import EventId, ReplayId, TenantId

# So many deliveries of one endpoint are in the lane at once for one job; of one whose breaker is open only
# what it can be probed with. Once a job has as many there as go out in some seconds, no endpoint has more.
ENDPOINT_WINDOW: Final = 250
NARROW_ENDPOINT_WINDOW: Final = 20
MIN_QUEUED_AHEAD: Final = 500
QUEUED_AHEAD_SECONDS: Final = 5
# What a rate that was not used up for a while may catch up with.
MAX_RATE_CREDIT: Final = timedelta(seconds=1)
# Over how much time the speed of a job is averaged.
SPEED_AVERAGING_PERIOD: Final = timedelta(seconds=10)

ACTIVE_STEP_DELAY: Final = timedelta(seconds=0.1)
WAITING_STEP_DELAY: Final = timedelta(seconds=1)
IDLE_STEP_DELAY: Final = timedelta(seconds=3)


class ReplayState(StrEnum):
    """Where a job stands; the last two are final."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FINISHED = "finished"


class ItemState(StrEnum):
    """Where one delivery of a job stands; the first three are open.

    Queued: in the lane or on its way. Retrying: an attempt failed, and its retry schedule goes on.
    """

    WAITING = "waiting"
    QUEUED = "queued"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


OPEN_ITEM_STATES: Final = (ItemState.WAITING, ItemState.QUEUED, ItemState.RETRYING)


@dataclass(frozen=True, slots=True)
class MissingEventFilter:
    """Events that an endpoint was never owed: accepted from `since` on and before `until`, of these types.

    And, as the endpoint asked for when the job was made, that share a channel and hold a condition.
    """

    endpoint_id: EndpointId
    since: datetime | None = None
    until: datetime | None = None
    types: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    condition: str | None = None

    def to_document(self) -> dict[str, Any]:
        """The selection as plain JSON."""
        document = {
            "endpoint": format_id(Prefix.ENDPOINT, self.endpoint_id),
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "types": list(self.types),
            "channels": list(self.channels),
            "condition": self.condition,
        }
        return {name: value for name, value in document.items() if value}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> MissingEventFilter:
        """Read back what `to_document` wrote."""
        since, until = document.get("since"), document.get("until")
        return cls(
            EndpointId(parse_id(Prefix.ENDPOINT, document["endpoint"])),
            None if since is None else datetime.fromisoformat(since),
            None if until is None else datetime.fromisoformat(until),
            tuple(document.get("types", ())),
            tuple(document.get("channels", ())),
            document.get("condition"),
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay job. `counts` say how many of its deliveries stand where, as of `counted_at`.

    `selecting`: more may be found yet. `rate` is in deliveries per second; None: as fast as replays may go.
    `per_second` is how many ended lately; None: none yet.
    """

    id: ReplayId
    tenant_id: TenantId
    selection: DeliveryFilter | MissingEventFilter
    reason: str
    actor: Actor
    hold: bool
    rate: float | None
    state: ReplayState
    selecting: bool
    counts: Mapping[ItemState, int]
    per_second: float | None
    counted_at: datetime
    created_at: datetime
    finished_at: datetime | None

    @property
    def selected(self) -> int:
        """How many deliveries were found so far."""
        return sum(self.counts.values())

    @property
    def remaining(self) -> int:
        """How many are not over."""
        return sum(self.counts.get(state, 0) for state in OPEN_ITEM_STATES)

    @property
    def done(self) -> int:
        """How many are over, well or not."""
        return self.selected - self.remaining

    @property
    def seconds_left(self) -> float | None:
        """How long it takes at the speed of late; None: not known, or not moving."""
        if self.state is not ReplayState.RUNNING or self.selecting or not self.per_second:
            return None
        return self.remaining / self.per_second


@dataclass(frozen=True, slots=True)
class ReplayItem:
    """One delivery of a job, under its id. What was never owed has its event's id until its turn comes."""

    id: UUID
    event_id: EventId
    endpoint_id: EndpointId
    state: ItemState
    reason: str | None
    changed_at: datetime | None

    @property
    def delivery_id(self) -> DeliveryId | None:
        """The delivery, where there is one yet."""
        return None if self.id == self.event_id else DeliveryId(self.id)


@dataclass(frozen=True, slots=True)
class ReleaseQuota:
    """What a step may take of an endpoint, which has so many in the lane already.

    `skipped` says why what is taken is not sent.
    """

    count: int
    skip_reason: str | None = None


def is_far_ahead(queued: int, per_second: float | None) -> bool:
    """Whether a job has so many in the lane that more would only wait there."""
    return queued >= max(MIN_QUEUED_AHEAD, QUEUED_AHEAD_SECONDS * (per_second or 0.0))


def compute_release_quota(
    status: EndpointStatus | None, *, hold: bool, queued: int, far_ahead: bool
) -> ReleaseQuota:
    """How many more deliveries of an endpoint may go into the lane.

    A paused endpoint's wait until it is resumed. A disabled one's are skipped, or wait by choice.
    """
    if status is None:
        return ReleaseQuota(ENDPOINT_WINDOW, "endpoint_deleted")
    match status.state:
        case EndpointState.PAUSED:
            return ReleaseQuota(0)
        case EndpointState.DISABLED:
            return ReleaseQuota(0) if hold else ReleaseQuota(ENDPOINT_WINDOW, "endpoint_disabled")
        case EndpointState.ACTIVE:
            closed = status.health is None or status.health.breaker.state is BreakerState.CLOSED
            window = ENDPOINT_WINDOW if closed and not far_ahead else NARROW_ENDPOINT_WINDOW
            return ReleaseQuota(max(0, window - queued))


def share_evenly(needs: Sequence[int], limit: int) -> list[int]:
    """Divide what a step may release among endpoints: who needs less leaves the others more.

    Where it is not enough for one each, those that come first get it.
    """
    takes = [0] * len(needs)
    left = limit
    needy = [place for place, need in enumerate(needs) if need][:limit]
    for done, place in enumerate(sorted(needy, key=lambda place: needs[place])):
        takes[place] = min(needs[place], left // (len(needy) - done))
        left -= takes[place]
    return takes


# ------------------------------------------------------------------ speed
def compute_release_limit(rate: float | None, paced_at: datetime, now: datetime, *, limit: int) -> int:
    """How many deliveries a step may release; `paced_at` is until when the rate is used up."""
    if rate is None:
        return limit
    credit = min(now - paced_at, _max_credit(rate))
    # A hair more, so that what floats lose never costs a delivery its turn.
    return max(0, min(limit, math.floor(credit.total_seconds() * rate + 1e-6)))


def compute_paced_until(rate: float | None, paced_at: datetime, now: datetime, *, released: int) -> datetime:
    """Until when the rate is used up, once so many were released."""
    if rate is None:
        return now
    return max(paced_at, now - _max_credit(rate)) + timedelta(seconds=released / rate)


def _max_credit(rate: float) -> timedelta:
    return MAX_RATE_CREDIT + timedelta(seconds=1 / rate)


def average_speed(previous: float | None, *, ended: int, elapsed: timedelta) -> float | None:
    """How many end per second, averaged over the last seconds."""
    if elapsed <= timedelta(0):
        return previous
    now = ended / elapsed.total_seconds()
    if previous is None:
        return now or None
    weight = math.exp(-(elapsed / SPEED_AVERAGING_PERIOD))
    return previous * weight + now * (1 - weight)


def compute_step_delay(
    state: ReplayState,
    counts: Mapping[ItemState, int],
    *,
    selecting: bool,
    progressed: bool,
    per_second: float | None = None,
) -> timedelta | None:
    """When to take another step; None: there is nothing left to do.

    With seconds of work in the lane there is no hurry: a step takes time of the ledger too.
    """
    waiting, queued, retrying = (counts.get(one, 0) for one in OPEN_ITEM_STATES)
    match state:
        case ReplayState.RUNNING:
            if selecting or (progressed and not is_far_ahead(queued, per_second)):
                return ACTIVE_STEP_DELAY
            return WAITING_STEP_DELAY if waiting or queued else IDLE_STEP_DELAY
        case ReplayState.PAUSED:
            return WAITING_STEP_DELAY if queued or retrying else None
        case ReplayState.CANCELLING:
            return ACTIVE_STEP_DELAY if progressed else WAITING_STEP_DELAY
        case ReplayState.CANCELLED | ReplayState.FINISHED:
            return None


# ------------------------------------------------------------------ one delivery's turn
class ReleaseAction(StrEnum):
    """What is done with a delivery whose turn has come."""

    REOPEN = "reopen"  # it is over: owe it again
    ADVANCE = "advance"  # it waits: make it due now, in the lane
    JOIN = "join"  # it goes out now anyway
    CREATE = "create"  # it was never owed
    SKIP = "skip"  # it cannot be sent
    LEAVE = "leave"  # somebody has it just now: another time


@dataclass(frozen=True, slots=True)
class ScheduledDelivery:
    """A delivery's row in the schedule; `locked` by whoever asks."""

    is_claimed: bool
    is_locked: bool
    priority: Priority
    is_due: bool


@dataclass(frozen=True, slots=True)
class EndedDelivery:
    """A delivery without a row in the schedule; `locked` by whoever asks."""

    status: DeliveryStatus
    is_locked: bool


def decide_release(
    current: ScheduledDelivery | EndedDelivery | None, *, has_payload: bool, was_owed: bool
) -> tuple[ReleaseAction, str | None]:
    """What to do with a delivery, and why it is skipped where it is.

    `kept`: its event's content is. Not `owed`: the event was never owed to the endpoint.
    """
    if not has_payload:
        return ReleaseAction.SKIP, "payload_gone"
    if current is None:
        return (ReleaseAction.SKIP, "delivery_gone") if was_owed else (ReleaseAction.CREATE, None)
    if isinstance(current, ScheduledDelivery):
        return _decide_scheduled_release(current), None
    is_over = current.is_locked and current.status is not DeliveryStatus.PENDING
    return ReleaseAction.REOPEN if is_over else ReleaseAction.LEAVE, None


def _decide_scheduled_release(row: ScheduledDelivery) -> ReleaseAction:
    if row.is_claimed:
        return ReleaseAction.JOIN
    if not row.is_locked:
        return ReleaseAction.LEAVE
    return ReleaseAction.JOIN if row.priority is Priority.REPLAY and row.is_due else ReleaseAction.ADVANCE
