"""What may be asked of a replay job. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from delivery.checks import check_text, field
from delivery.errors import Invalid
from delivery.model import DeliveryStatus
from delivery.moments import exact
from delivery.operational import TYPES
from delivery.selection import DeliverySelection, refuse_unless_meant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.jobs import MissingSelection
    from delivery.ledger.missing import MissingEvent
    from delivery.model import Delivery, Endpoint, EndpointId, Held

FASTEST: Final = 10_000
SLOWEST: Final = 0.01
LONGEST_REASON: Final = 500
# Events that say something of one endpoint alone: nobody else was ever to get them.
NEVER_MISSING: Final = (*sorted(TYPES), "waybill.test")


@dataclass(frozen=True, slots=True)
class NewReplay:
    """What a job is to send, why, and how fast (deliveries per second; None: as fast as replays may go).

    With `hold` it takes deliveries of paused and disabled endpoints too, which wait until those are active.
    `everything` says that a selection without any filter is meant as it stands.
    """

    wanted: DeliverySelection | MissingSelection
    reason: str
    rate: float | None = None
    hold: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job would send, oldest first: ten examples of it, and how the endpoints named there stand.

    Of events that were never owed there are no deliveries yet: `events` are the examples then. Not `exact`:
    `count` and `by_status` are estimates, or more than were looked at.
    """

    count: int
    exact: bool
    by_status: Mapping[DeliveryStatus, int]
    oldest: datetime | None
    newest: datetime | None
    deliveries: tuple[Delivery, ...]
    events: tuple[MissingEvent, ...]
    endpoints: tuple[tuple[Endpoint, Held | None], ...]


def checked(new: NewReplay, *, operator: bool, now: datetime) -> NewReplay:
    """The job as it will be done: it means nothing that is made from now on.

    Raises Invalid, which names the field, and NotAllowed for what only the operator may ask for.
    """
    with field("reason"):
        check_text(new.reason, least=1, most=LONGEST_REASON)
    if new.rate is not None and not (math.isfinite(new.rate) and SLOWEST <= new.rate <= FASTEST):
        raise Invalid("rate", f"must be between {SLOWEST} and {FASTEST} deliveries per second")
    if isinstance(new.wanted, DeliverySelection):
        refuse_unless_meant(new.wanted, everything=new.everything, operator=operator)
    until = now if new.wanted.until is None else min(now, new.wanted.until)
    return replace(new, wanted=replace(new.wanted, until=until))


def recovery(endpoint_id: EndpointId, since: datetime, *, reason: str | None, hold: bool) -> NewReplay:
    """What an endpoint did not get since an outage began: all that failed, and all that still waits."""
    statuses = (DeliveryStatus.FAILED, DeliveryStatus.PENDING)
    wanted = DeliverySelection(endpoints=(endpoint_id,), statuses=statuses, since=since)
    return NewReplay(wanted, reason or f"recovery since {exact(since)}", hold=hold)
