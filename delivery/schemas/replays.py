"""Replay jobs as they are asked for and shown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field

from delivery.api.delivery_shapes import DeliveryOut, HeldOut
from delivery.api.selections import Many, SelectionIn, checked_values, id_of, selection_of
from delivery.api.shapes import AskedMoment, Given, Moment, Next, Shown, check_range, example
from delivery.errors import Invalid
from delivery.filters import check_pattern
from delivery.jobs import Item, ItemState, MissingSelection, Replay, ReplayState
from delivery.ledger.missing import MissingEvent
from delivery.model import DeliveryStatus, Endpoint, EndpointId, EndpointState, Held, Prefix, show_id
from delivery.replay import NewReplay, Preview

if TYPE_CHECKING:
    from delivery.selection import DeliverySelection

_AskedMoment = Annotated[AskedMoment, Field(strict=False)]


class MissingIn(Given):
    """Events that an endpoint was never owed, because it was made or asked for their type only later."""

    endpoint: str = Field(description="`ep_…`", examples=[example(Prefix.ENDPOINT)])
    since: _AskedMoment | None = None
    until: _AskedMoment | None = None
    type: Many = Field(
        default_factory=list, description="Of these types: `order.*`. None: what the endpoint asks for now."
    )

    def asked(self) -> MissingSelection:
        """What is asked for; raises Invalid, which names the field."""
        try:
            check_range(self.since, self.until)
            endpoint = EndpointId(id_of(Prefix.ENDPOINT, "endpoint", self.endpoint))
            types = checked_values("type", check_pattern, self.type)
        except Invalid as error:
            raise Invalid(f"missing.{error.field}", error.why) from None
        return MissingSelection(endpoint, self.since, self.until, types)


class ReplayIn(Given):
    """What to replay, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "selection": {
                        "endpoint": [example(Prefix.ENDPOINT)],
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

    def asked(self) -> NewReplay:
        """What is asked for; raises Invalid, which names the field."""
        wanted: DeliverySelection | MissingSelection
        if self.selection is not None and self.missing is None:
            wanted = selection_of(self.selection, within="selection.")
        elif self.missing is not None and self.selection is None:
            wanted = self.missing.asked()
        else:
            raise Invalid("selection", "or missing is needed: one of the two")
        return NewReplay(wanted, self.reason, rate=self.rate, hold=self.hold, everything=self.all)


class RecoverIn(Given):
    """From when on an endpoint did not get what it was owed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-11-22T18:00:00Z"}]})

    since: _AskedMoment
    reason: str | None = None
    hold: bool = False
    dry_run: bool = False


class ProgressOut(Shown):
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
    as_of: Moment

    @classmethod
    def of(cls, replay: Replay) -> Self:
        """Show how far a replay is."""
        return cls(
            selecting=replay.selecting,
            selected=replay.selected,
            **{state.value: replay.counts.get(state, 0) for state in ItemState},
            done=replay.done,
            remaining=replay.remaining,
            per_second=_rounded(replay.per_second),
            seconds_left=_rounded(replay.seconds_left),
            as_of=replay.counted_at,
        )


class ReplayOut(Shown):
    """A replay job."""

    id: str = Field(examples=[example(Prefix.REPLAY)])
    tenant_id: str = Field(examples=[example(Prefix.TENANT)])
    state: ReplayState
    selection: dict[str, Any] | None = Field(description="What is sent again. Null: see `missing`.")
    missing: dict[str, Any] | None = Field(description="Which events are sent that were never owed.")
    reason: str
    actor: str
    rate: float | None
    hold: bool
    progress: ProgressOut
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, replay: Replay) -> Self:
        """Show a replay."""
        is_missing = isinstance(replay.wanted, MissingSelection)
        document = replay.wanted.to_document()
        return cls(
            id=show_id(Prefix.REPLAY, replay.id),
            tenant_id=show_id(Prefix.TENANT, replay.tenant_id),
            state=replay.state,
            selection=None if is_missing else document,
            missing=document if is_missing else None,
            reason=replay.reason,
            actor=replay.actor.name,
            rate=replay.rate,
            hold=replay.hold,
            progress=ProgressOut.of(replay),
            created_at=replay.created_at,
            finished_at=replay.finished_at,
        )


class ReplayList(Shown):
    """Replay jobs, newest first."""

    items: list[ReplayOut]
    next: Next


class ReplayItemOut(Shown):
    """One delivery of a replay."""

    delivery_id: str | None = Field(description="Null: its event was never owed, and its turn has not come.")
    event_id: str
    endpoint_id: str
    state: ItemState
    why: str | None = Field(description="Why it ended so, or is not sent.")
    changed_at: Moment | None

    @classmethod
    def of(cls, item: Item) -> Self:
        """Show one."""
        return cls(
            delivery_id=None if item.delivery_id is None else show_id(Prefix.DELIVERY, item.delivery_id),
            event_id=show_id(Prefix.EVENT, item.event_id),
            endpoint_id=show_id(Prefix.ENDPOINT, item.endpoint_id),
            state=item.state,
            why=item.why,
            changed_at=item.changed_at,
        )


class ReplayItemList(Shown):
    """The deliveries of a replay, oldest first."""

    items: list[ReplayItemOut]
    next: Next


class MissingEventOut(Shown):
    """An event that was never owed to the endpoint."""

    id: str = Field(examples=[example(Prefix.EVENT)])
    type: str
    created_at: Moment

    @classmethod
    def of(cls, event: MissingEvent) -> Self:
        """Show one."""
        return cls(id=show_id(Prefix.EVENT, event.id), type=event.type, created_at=event.created_at)


class EndpointStandingOut(Shown):
    """How an endpoint stands that would be sent something."""

    id: str = Field(examples=[example(Prefix.ENDPOINT)])
    url: str
    state: EndpointState
    held: HeldOut | None = Field(description="What would hold deliveries back now. Null: nothing would.")

    @classmethod
    def of(cls, endpoint: Endpoint, held: Held | None) -> Self:
        """Show how it stands."""
        return cls(
            id=show_id(Prefix.ENDPOINT, endpoint.id),
            url=endpoint.url,
            state=endpoint.state,
            held=None if held is None else HeldOut.of(held),
        )


class ReplayPreviewOut(Shown):
    """What a replay would send; nothing was changed."""

    count: int
    exact: bool = Field(description="False: an estimate; of events that were never owed, a lower bound.")
    by_status: Mapping[DeliveryStatus, int]
    oldest: Moment | None
    newest: Moment | None
    deliveries: list[DeliveryOut] = Field(description="The oldest ten.")
    events: list[MissingEventOut] = Field(description="The oldest ten that were never owed.")
    endpoints: list[EndpointStandingOut] = Field(description="Those that are named, and of the examples.")

    @classmethod
    def of(cls, preview: Preview) -> Self:
        """Show what would be sent."""
        return cls(
            count=preview.count,
            exact=preview.exact,
            by_status=preview.by_status,
            oldest=preview.oldest,
            newest=preview.newest,
            deliveries=[DeliveryOut.of(one) for one in preview.deliveries],
            events=[MissingEventOut.of(one) for one in preview.events],
            endpoints=[EndpointStandingOut.of(*one) for one in preview.endpoints],
        )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
