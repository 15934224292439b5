"""Replay jobs: their selection, their progress, and what the next step may release. Pure."""

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

# How many deliveries of one endpoint a job has in the replay queue; the narrow window applies while its
# breaker is not closed, and once the job has as many there as go out within QUEUED_AHEAD_SECONDS.
ENDPOINT_WINDOW: Final = 250
NARROW_ENDPOINT_WINDOW: Final = 20
MIN_QUEUED_AHEAD: Final = 500
QUEUED_AHEAD_SECONDS: Final = 5
# How much of an unused rate may be caught up with.
MAX_RATE_CREDIT: Final = timedelta(seconds=1)
# The time constant of the average speed.
SPEED_AVERAGING_PERIOD: Final = timedelta(seconds=10)

ACTIVE_STEP_DELAY: Final = timedelta(seconds=0.1)
WAITING_STEP_DELAY: Final = timedelta(seconds=1)
IDLE_STEP_DELAY: Final = timedelta(seconds=3)


class ReplayState(StrEnum):
    """The state of a job; the last two are final."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FINISHED = "finished"


class ItemState(StrEnum):
    """The state of one delivery of a job; the first three are open.

    Queued: in the replay queue or in flight. Retrying: an attempt failed, and the retry schedule goes on.
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
    """Events for which an endpoint has no delivery: accepted from `since` on and before `until`.

    `types`, `channels` and `condition` are those of the endpoint's subscription when the job was created.
    """

    endpoint_id: EndpointId
    since: datetime | None = None
    until: datetime | None = None
    types: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    condition: str | None = None

    def to_document(self) -> dict[str, Any]:
        """The filter as plain JSON."""
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
    """A replay job. `counts` are its deliveries by state, as of `counted_at`.

    `selecting`: more may be found. `rate` is in deliveries per second; None: as fast as replays may go.
    `per_second` is the recent speed; None: not known yet.
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
        """How many deliveries have been found."""
        return sum(self.counts.values())

    @property
    def remaining(self) -> int:
        """How many are open."""
        return sum(self.counts.get(state, 0) for state in OPEN_ITEM_STATES)

    @property
    def done(self) -> int:
        """The number of deliveries that have ended, in any state."""
        return self.selected - self.remaining

    @property
    def seconds_left(self) -> float | None:
        """The time left at the recent speed; None: not known, or nothing moves."""
        if self.state is not ReplayState.RUNNING or self.selecting or not self.per_second:
            return None
        return self.remaining / self.per_second


@dataclass(frozen=True, slots=True)
class ReplayItem:
    """One delivery of a job. For a missing event, `id` is the event's until its delivery is created."""

    id: UUID
    event_id: EventId
    endpoint_id: EndpointId
    state: ItemState
    reason: str | None
    changed_at: datetime | None

    @property
    def delivery_id(self) -> DeliveryId | None:
        """The id of the delivery, once there is one."""
        return None if self.id == self.event_id else DeliveryId(self.id)


@dataclass(frozen=True, slots=True)
class ReleaseQuota:
    """How many deliveries of an endpoint a step may take.

    `skip_reason` says why those taken are skipped.
    """

    count: int
    skip_reason: str | None = None


def is_far_ahead(queued: int, per_second: float | None) -> bool:
    """Whether a job has enough deliveries queued for the next seconds."""
    return queued >= max(MIN_QUEUED_AHEAD, QUEUED_AHEAD_SECONDS * (per_second or 0.0))


def compute_release_quota(
    status: EndpointStatus | None, *, hold: bool, queued: int, far_ahead: bool
) -> ReleaseQuota:
    """How many more deliveries of an endpoint may be queued.

    Those of a paused endpoint wait until it resumes; of a disabled one they are skipped, or wait by `hold`.
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
    """Share what a step may release evenly among endpoints; a smaller need leaves more for the others.

    When there is less than one for each, the first endpoints get one.
    """
    shares = [0] * len(needs)
    remaining = limit
    indexes = [index for index, need in enumerate(needs) if need][:limit]
    for served, index in enumerate(sorted(indexes, key=lambda index: needs[index])):
        shares[index] = min(needs[index], remaining // (len(indexes) - served))
        remaining -= shares[index]
    return shares


# ------------------------------------------------------------------ speed
def compute_release_limit(rate: float | None, paced_at: datetime, now: datetime, *, limit: int) -> int:
    """How many deliveries a step may release; the rate is used up until `paced_at`."""
    if rate is None:
        return limit
    credit = min(now - paced_at, _max_credit(rate))
    # The small addend keeps float rounding from losing a delivery.
    return max(0, min(limit, math.floor(credit.total_seconds() * rate + 1e-6)))


def compute_paced_until(rate: float | None, paced_at: datetime, now: datetime, *, released: int) -> datetime:
    """Until when the rate is used up after a release."""
    if rate is None:
        return now
    return max(paced_at, now - _max_credit(rate)) + timedelta(seconds=released / rate)


def _max_credit(rate: float) -> timedelta:
    return MAX_RATE_CREDIT + timedelta(seconds=1 / rate)


def average_speed(previous: float | None, *, ended: int, elapsed: timedelta) -> float | None:
    """The average number of deliveries that end per second, exponentially weighted."""
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
    """How long to wait before the next step; None: nothing is left to do.

    With seconds of work queued a step can wait: it costs the ledger time too.
    """
    waiting, queued, retrying = (counts.get(item_state, 0) for item_state in OPEN_ITEM_STATES)
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
    """What a step does with a delivery that it may release."""

    REOPEN = "reopen"  # it has ended: make it pending again
    ADVANCE = "advance"  # it is pending: make it due now, as a replay
    JOIN = "join"  # it is being sent anyway
    CREATE = "create"  # there is no delivery yet
    SKIP = "skip"  # it cannot be sent
    LEAVE = "leave"  # locked by another transaction: try again later


@dataclass(frozen=True, slots=True)
class ScheduledDelivery:
    """A delivery's row in the schedule; `is_locked` by this transaction."""

    is_claimed: bool
    is_locked: bool
    priority: Priority
    is_due: bool


@dataclass(frozen=True, slots=True)
class EndedDelivery:
    """A delivery without a row in the schedule; `is_locked` by this transaction."""

    status: DeliveryStatus
    is_locked: bool


def decide_release(
    current: ScheduledDelivery | EndedDelivery | None, *, has_payload: bool, was_owed: bool
) -> tuple[ReleaseAction, str | None]:
    """Decide what to do with a delivery; returns the reason too if it is skipped.

    `has_payload`: the event's content is stored. Not `was_owed`: the job is of missing events.
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
