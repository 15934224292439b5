"""Replay jobs."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from delivery.domain.delivery import ActiveHold, DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter, parse_delivery_filter
from delivery.domain.endpoint import Endpoint, EndpointState
from delivery.domain.errors import Invalid
from delivery.domain.ids import Prefix, format_id
from delivery.domain.replay import ItemState, MissingEventFilter, Replay, ReplayItem, ReplayState
from delivery.domain.validation import prefixing_field
from delivery.ledger.search.missing import MissingEvent
from delivery.schemas.base import (
    NextCursor,
    RequestModel,
    ResponseModel,
    TimestampIn,
    TimestampOut,
    example_id,
)
from delivery.schemas.deliveries import DeliveryOut, HeldOut
from delivery.schemas.delivery_filter import FilterValues, SelectionIn
from delivery.services.replays.validation import NewReplay, ReplayPreview

_JsonTimestampIn = Annotated[TimestampIn, Field(strict=False)]


class MissingIn(RequestModel):
    """Events without a delivery to an endpoint that was created, or subscribed to their type, later."""

    endpoint: str = Field(description="`ep_…`", examples=[example_id(Prefix.ENDPOINT)])
    since: _JsonTimestampIn | None = None
    until: _JsonTimestampIn | None = None
    type: FilterValues = Field(
        default_factory=list, description="Only these types: `order.*`. Empty: the endpoint's current filter."
    )

    def to_command(self) -> MissingEventFilter:
        """Convert to the use case's input. Raises Invalid naming the field."""
        with prefixing_field("missing"):
            parsed = parse_delivery_filter({**dict(self), "endpoint": [self.endpoint]})
        return MissingEventFilter(parsed.endpoints[0], parsed.since, parsed.until, parsed.types)


class ReplayIn(RequestModel):
    """What to replay, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "selection": {
                        "endpoint": [example_id(Prefix.ENDPOINT)],
                        "status": ["failed"],
                        "since": "2026-11-22T18:00:00Z",
                    },
                    "reason": "Their database was down",
                    "rate": 50,
                    "dry_run": True,
                }
            ]
        }
    )

    selection: SelectionIn | None = Field(
        default=None, description="Deliveries that match; those created later are excluded."
    )
    missing: MissingIn | None = Field(
        default=None, description="Instead of `selection`: events that were never delivered."
    )
    reason: str = Field(description="The reason, for the audit log.")
    rate: float | None = Field(
        default=None, description="Maximum deliveries per second. Null: the operator's limit for replays."
    )
    hold: bool = Field(
        default=False,
        description="Include deliveries of paused and disabled endpoints. They are held.",
    )
    dry_run: bool = Field(default=False, description="Change nothing; only preview what would be sent.")
    all: bool = Field(
        default=False, description="Allow a selection without any filter. Requires the operator's key."
    )

    def to_command(self) -> NewReplay:
        """Convert to the use case's input. Raises Invalid naming the field."""
        selection: DeliveryFilter | MissingEventFilter
        if self.selection is not None and self.missing is None:
            with prefixing_field("selection"):
                selection = parse_delivery_filter(dict(self.selection))
        elif self.missing is not None and self.selection is None:
            selection = self.missing.to_command()
        else:
            raise Invalid("selection", "or missing is needed: one of the two")
        return NewReplay(selection, self.reason, rate=self.rate, hold=self.hold, everything=self.all)


class RecoverIn(RequestModel):
    """Since when an endpoint has missed deliveries."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-11-22T18:00:00Z"}]})

    since: _JsonTimestampIn
    reason: str | None = None
    hold: bool = False
    dry_run: bool = False


class ProgressOut(ResponseModel):
    """Progress of a replay. Waiting, queued and retrying items are open; the others have ended."""

    selecting: bool = Field(description="Whether more items may still be found.")
    selected: int
    waiting: int
    queued: int = Field(description="Queued or in flight.")
    retrying: int = Field(description="Failed, and scheduled for a retry.")
    succeeded: int
    failed: int
    cancelled: int
    skipped: int = Field(description="Not sent; each item says why.")
    done: int
    remaining: int
    per_second: float | None = Field(description="Items that ended per second recently. Null: none did.")
    seconds_left: float | None = Field(description="Estimated remaining time. Null: unknown.")
    as_of: TimestampOut

    @classmethod
    def from_record(cls, replay: Replay) -> Self:
        """Show the progress of a replay."""
        return cls(
            selecting=replay.selecting,
            selected=replay.selected,
            **{state.value: replay.counts.get(state, 0) for state in ItemState},
            done=replay.done,
            remaining=replay.remaining,
            per_second=_round_to_tenth(replay.per_second),
            seconds_left=_round_to_tenth(replay.seconds_left),
            as_of=replay.counted_at,
        )


class ReplayOut(ResponseModel):
    """A replay job."""

    id: str = Field(examples=[example_id(Prefix.REPLAY)])
    tenant_id: str = Field(examples=[example_id(Prefix.TENANT)])
    state: ReplayState
    selection: dict[str, Any] | None = Field(description="The deliveries to replay. Null: see `missing`.")
    missing: dict[str, Any] | None = Field(description="The events that were never delivered.")
    reason: str
    actor: str
    rate: float | None
    hold: bool
    progress: ProgressOut
    created_at: TimestampOut
    finished_at: TimestampOut | None

    @classmethod
    def from_record(cls, replay: Replay) -> Self:
        """Show a replay."""
        is_missing = isinstance(replay.selection, MissingEventFilter)
        document = replay.selection.to_document()
        return cls(
            id=format_id(Prefix.REPLAY, replay.id),
            tenant_id=format_id(Prefix.TENANT, replay.tenant_id),
            state=replay.state,
            selection=None if is_missing else document,
            missing=document if is_missing else None,
            reason=replay.reason,
            actor=replay.actor.name,
            rate=replay.rate,
            hold=replay.hold,
            progress=ProgressOut.from_record(replay),
            created_at=replay.created_at,
            finished_at=replay.finished_at,
        )


class ReplayList(ResponseModel):
    """Replay jobs, newest first."""

    items: list[ReplayOut]
    next: NextCursor


class ReplayItemOut(ResponseModel):
    """One delivery of a replay."""

    delivery_id: str | None = Field(description="Null: the event had no delivery, and none was created yet.")
    event_id: str
    endpoint_id: str
    state: ItemState
    why: str | None = Field(description="Why it has this state.")
    changed_at: TimestampOut | None

    @classmethod
    def from_record(cls, item: ReplayItem) -> Self:
        """Show a record."""
        return cls(
            delivery_id=None if item.delivery_id is None else format_id(Prefix.DELIVERY, item.delivery_id),
            event_id=format_id(Prefix.EVENT, item.event_id),
            endpoint_id=format_id(Prefix.ENDPOINT, item.endpoint_id),
            state=item.state,
            why=item.reason,
            changed_at=item.changed_at,
        )


class ReplayItemList(ResponseModel):
    """The deliveries of a replay, oldest first."""

    items: list[ReplayItemOut]
    next: NextCursor


class MissingEventOut(ResponseModel):
    """An event without a delivery to the endpoint."""

    id: str = Field(examples=[example_id(Prefix.EVENT)])
    type: str
    created_at: TimestampOut

    @classmethod
    def from_record(cls, event: MissingEvent) -> Self:
        """Show a record."""
        return cls(id=format_id(Prefix.EVENT, event.id), type=event.type, created_at=event.created_at)


class EndpointStatusOut(ResponseModel):
    """The state of an endpoint that a replay would send to."""

    id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    url: str
    state: EndpointState
    held: HeldOut | None = Field(description="What would hold its deliveries now. Null: nothing.")

    @classmethod
    def from_record(cls, endpoint: Endpoint, held: ActiveHold | None) -> Self:
        """Show the state."""
        return cls(
            id=format_id(Prefix.ENDPOINT, endpoint.id),
            url=endpoint.url,
            state=endpoint.state,
            held=None if held is None else HeldOut.from_record(held),
        )


class ReplayPreviewOut(ResponseModel):
    """A preview of a replay; nothing was changed."""

    count: int
    exact: bool = Field(description="False: an estimate; for `missing`, a lower bound.")
    by_status: Mapping[DeliveryStatus, int]
    oldest: TimestampOut | None
    newest: TimestampOut | None
    deliveries: list[DeliveryOut] = Field(description="The oldest ten.")
    events: list[MissingEventOut] = Field(description="The oldest ten events that were never delivered.")
    endpoints: list[EndpointStatusOut] = Field(description="Endpoints in the selection and in the examples.")

    @classmethod
    def from_record(cls, preview: ReplayPreview) -> Self:
        """Show a preview."""
        return cls(
            count=preview.count,
            exact=preview.exact,
            by_status=preview.by_status,
            oldest=preview.oldest,
            newest=preview.newest,
            deliveries=[DeliveryOut.from_record(delivery) for delivery in preview.deliveries],
            events=[MissingEventOut.from_record(event) for event in preview.events],
            endpoints=[EndpointStatusOut.from_record(endpoint, held) for endpoint, held in preview.endpoints],
        )


def _round_to_tenth(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
