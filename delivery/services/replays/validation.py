"""The settings of a replay job and the checks on them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter, require_bounded_filter
from delivery.domain.durations import format_utc
from delivery.domain.errors import Invalid
from delivery.domain.validation import MAX_REASON_LENGTH, check_text, validating_field
from delivery.pipeline.system_events import SYSTEM_EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.delivery import ActiveHold, Delivery
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import EndpointId
    from delivery.domain.replay import MissingEventFilter
    from delivery.ledger.search.missing import MissingEvent

MAX_RATE: Final = 10_000
MIN_RATE: Final = 0.01
# Events about one endpoint, sent to it by name: no other endpoint can miss them.
NEVER_MISSING: Final = (*sorted(SYSTEM_EVENT_TYPES), "waybill.test")


@dataclass(frozen=True, slots=True)
class NewReplay:
    """What a job sends, why, and how fast (deliveries per second; None: as fast as replays may go).

    With `hold` it includes deliveries of paused and disabled endpoints, which wait until those are active.
    `everything` confirms a selection without any filter.
    """

    selection: DeliveryFilter | MissingEventFilter
    reason: str
    rate: float | None = None
    hold: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """What a job would send: counts, the ten oldest as examples, and their endpoints with their holds.

    A job of missing events has `events` as examples, since there are no deliveries yet. Not `exact`: `count`
    and `by_status` are estimates or lower bounds.
    """

    count: int
    exact: bool
    by_status: Mapping[DeliveryStatus, int]
    oldest: datetime | None
    newest: datetime | None
    deliveries: tuple[Delivery, ...]
    events: tuple[MissingEvent, ...]
    endpoints: tuple[tuple[Endpoint, ActiveHold | None], ...]


def validate_replay(new: NewReplay, *, operator: bool, now: datetime) -> NewReplay:
    """Check the job, and limit its selection to what exists now.

    Raises Invalid, and NotAllowed for a job that only the operator may start.
    """
    with validating_field("reason"):
        check_text(new.reason, min_length=1, max_length=MAX_REASON_LENGTH)
    if new.rate is not None and not (math.isfinite(new.rate) and MIN_RATE <= new.rate <= MAX_RATE):
        raise Invalid("rate", f"must be between {MIN_RATE} and {MAX_RATE} deliveries per second")
    if isinstance(new.selection, DeliveryFilter):
        require_bounded_filter(new.selection, allow_unbounded=new.everything, is_operator=operator)
    until = now if new.selection.until is None else min(now, new.selection.until)
    return replace(new, selection=replace(new.selection, until=until))


def build_recovery(endpoint_id: EndpointId, since: datetime, *, reason: str | None, hold: bool) -> NewReplay:
    """A job that recovers an endpoint from an outage: all that failed or is pending since then."""
    statuses = (DeliveryStatus.FAILED, DeliveryStatus.PENDING)
    selection = DeliveryFilter(endpoints=(endpoint_id,), statuses=statuses, since=since)
    return NewReplay(selection, reason or f"recovery since {format_utc(since)}", hold=hold)
