"""Replay jobs as they are asked for and shown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field

from delivery.domain.delivery import ActiveHold, DeliveryStatus
from delivery.domain.endpoint import Endpoint, EndpointState
from delivery.domain.errors import Invalid
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import EndpointId, Prefix, format_id
from delivery.domain.replay import ItemState, MissingEventFilter, Replay, ReplayItem, ReplayState
from delivery.ledger.search.missing import MissingEvent
from delivery.schemas.base import (
    NextCursor,
    RequestModel,
    ResponseModel,
    TimestampIn,
    TimestampOut,
    check_time_range,
    example_id,
)
from delivery.schemas.deliveries import DeliveryOut, HeldOut
from delivery.schemas.delivery_filter import (
    FilterValues,
    SelectionIn,
    check_values,
    parse_required_id,
    parse_selection,
)
from delivery.services.replays.validation import NewReplay, ReplayPreview

if TYPE_CHECKING:
    from delivery.domain.delivery_filter import DeliveryFilter

_JsonTimestampIn = Annotated[TimestampIn, Field(strict=False)]


class MissingIn(RequestModel):
    """Events that an endpoint was never owed, because it was made or asked for their type only later."""

    endpoint: str = Field(description="`ep_…`", examples=[example_id(Prefix.ENDPOINT)])
    since: _JsonTimestampIn | None = None
    until: _JsonTimestampIn | None = None
    type: FilterValues = Field(
        default_factory=list, description="Of these types: `order.*`. None: what the endpoint asks for now."
    )

    def to_command(self) -> MissingEventFilter:
        """What is asked for; raises Invalid, which names the field."""
        try:
            check_time_range(self.since, self.until)
            endpoint = EndpointId(parse_required_id(Prefix.ENDPOINT, "endpoint", self.endpoint))
            types = check_values("type", check_pattern, self.type)
        except Invalid as error:
            raise Invalid(f"missing.{error.field}", error.why) from None
        return MissingEventFilter(endpoint, self.since, self.until, types)


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
        default=None, description="The deliveries that meet every filter; those made later are not meant."
    )
    missing: MissingIn | None = Field(default=None, description="Instead: events that were never owed.")
    reason: str = Field(description="Why, for people: it is kept in the audit.")
    rate: float | None = Field(
        default=None, description="Deliveries per second at most. Null: as fast as replays may go."
    )
    hold: bool = Field(
        default=False,
        description="Take deliveries of paused and disabled endpoints too: they wait until those are active.",
    )
    dry_run: bool = Field(default=False, description="Only tell what would be sent.")
    all: bool = Field(
        default=False, description="A selection without any filter is meant so. With the operator's key."
    )

    def to_command(self) -> NewReplay:
        """What is asked for; raises Invalid, which names the field."""
        wanted: DeliveryFilter | MissingEventFilter
        if self.selection is not None and self.missing is None:
            wanted = parse_selection(self.selection, field_prefix="selection.")
        elif self.missing is not None and self.selection is None:
            wanted = self.missing.to_command()
        else:
            raise Invalid("selection", "or missing is needed: one of the two")
        return NewReplay(wanted, self.reason, rate=self.rate, hold=self.hold, everything=self.all)


class RecoverIn(RequestModel):
    """From when on an endpoint did not get what it was owed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-11-22T18:00:00Z"}]})

    since: _JsonTimestampIn
    reason: str | None = None
    hold: bool = False
    dry_run: bool = False


class ProgressOut(ResponseModel):
    """How far a replay is. Waiting, queued and retrying are open; the others are over."""

    selecting: bool = Field(description="More may be found yet.")
    selected: int
    waiting: int
    queued: int = Field(description="In the lane of replays, or on their way.")
    retrying: int = Field(description="Failed, and tried again by their retry schedule.")
    succeeded: int
    failed: int
    cancelled: int
    skipped: int = Field(description="Could not be sent; each says why.")
    done: int
    remaining: int
    per_second: float | None = Field(description="How many ended per second lately. Null: none did.")
    seconds_left: float | None = Field(description="How long it takes at that speed. Null: not known.")
    as_of: TimestampOut

    @classmethod
    def from_record(cls, replay: Replay) -> Self:
        """Show how far a replay is."""
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
    selection: dict[str, Any] | None = Field(description="What is sent again. Null: see `missing`.")
    missing: dict[str, Any] | None = Field(description="Which events are sent that were never owed.")
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

    delivery_id: str | None = Field(description="Null: its event was never owed, and its turn has not come.")
    event_id: str
    endpoint_id: str
    state: ItemState
    why: str | None = Field(description="Why it ended so, or is not sent.")
    changed_at: TimestampOut | None

    @classmethod
    def from_record(cls, item: ReplayItem) -> Self:
        """Show one."""
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
    """An event that was never owed to the endpoint."""

    id: str = Field(examples=[example_id(Prefix.EVENT)])
    type: str
    created_at: TimestampOut

    @classmethod
    def from_record(cls, event: MissingEvent) -> Self:
        """Show one."""
        return cls(id=format_id(Prefix.EVENT, event.id), type=event.type, created_at=event.created_at)


class EndpointStatusOut(ResponseModel):
    """How an endpoint stands that would be sent something."""

    id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    url: str
    state: EndpointState
    held: HeldOut | None = Field(description="What would hold deliveries back now. Null: nothing would.")

    @classmethod
    def from_record(cls, endpoint: Endpoint, held: ActiveHold | None) -> Self:
        """Show how it stands."""
        return cls(
            id=format_id(Prefix.ENDPOINT, endpoint.id),
            url=endpoint.url,
            state=endpoint.state,
            held=None if held is None else HeldOut.from_record(held),
        )


class ReplayPreviewOut(ResponseModel):
    """What a replay would send; nothing was changed."""

    count: int
    exact: bool = Field(description="False: an estimate; of events that were never owed, a lower bound.")
    by_status: Mapping[DeliveryStatus, int]
    oldest: TimestampOut | None
    newest: TimestampOut | None
    deliveries: list[DeliveryOut] = Field(description="The oldest ten.")
    events: list[MissingEventOut] = Field(description="The oldest ten that were never owed.")
    endpoints: list[EndpointStatusOut] = Field(description="Those that are named, and of the examples.")

    @classmethod
    def from_record(cls, preview: ReplayPreview) -> Self:
        """Show what would be sent."""
        return cls(
            count=preview.count,
            exact=preview.exact,
            by_status=preview.by_status,
            oldest=preview.oldest,
            newest=preview.newest,
            deliveries=[DeliveryOut.from_record(one) for one in preview.deliveries],
            events=[MissingEventOut.from_record(one) for one in preview.events],
            endpoints=[EndpointStatusOut.from_record(*one) for one in preview.endpoints],
        )


def _round_to_tenth(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
