"""The audit: who changed what, when, from where and why."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from delivery.api.callers import Seeing, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import (
    AskedPage,
    Moment,
    Next,
    Shown,
    Since,
    Until,
    check_range,
    example,
    id_in_query,
)
from delivery.audit import Audited, AuditSelection
from delivery.checks import check_text, field
from delivery.filters import check_pattern
from delivery.model import DeliveryId, EndpointId, Prefix, show_id
from delivery.tracing import said_of

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StrictRoute)

MOST_PATTERNS = 20
LONGEST_ACTOR = 400


class AuditOut(Shown):
    """One thing that somebody did."""

    id: str = Field(examples=[example(Prefix.AUDIT)])
    tenant_id: str | None = Field(
        description="Whose. Null: no tenant's, such as an account of the console.",
        examples=[example(Prefix.TENANT)],
    )
    at: Moment
    what: str = Field(examples=["endpoint.paused"])
    sentence: str = Field(description="For people.", examples=["The endpoint was paused by cli:ada."])
    actor: str = Field(
        description="A key, `operator`, `cli:…`, `Name <address>`, `portal:…`, or `waybill` itself.",
        examples=["operator"],
    )
    address: str | None = Field(description="From where. Null: not known.", examples=["203.0.113.7"])
    reason: str | None
    endpoint_id: str | None
    delivery_id: str | None
    details: dict[str, Any] = Field(description="The facts: which they are follows from `what`.")

    @classmethod
    def of(cls, audited: Audited) -> Self:
        """Show an entry."""
        entry = audited.entry
        return cls(
            id=show_id(Prefix.AUDIT, audited.id),
            tenant_id=None if entry.whose is None else show_id(Prefix.TENANT, entry.whose),
            at=entry.at,
            what=entry.what,
            sentence=said_of(entry),
            actor=entry.actor,
            address=entry.address,
            reason=entry.reason,
            endpoint_id=None if entry.endpoint_id is None else show_id(Prefix.ENDPOINT, entry.endpoint_id),
            delivery_id=None if entry.delivery_id is None else show_id(Prefix.DELIVERY, entry.delivery_id),
            details=dict(entry.details),
        )


class AuditList(Shown):
    """Entries of the audit, newest first."""

    items: list[AuditOut]
    next: Next


def _selection(  # noqa: PLR0913, PLR0917  one for each query parameter
    actor: Annotated[str | None, Query(description="Only by this one: `key_…`, `operator`, `cli:…`.")] = None,
    what: Annotated[list[str], Query(description="Only what is like this: `endpoint.*`. Repeatable.")] = [],  # noqa: B006  FastAPI copies it
    endpoint: Annotated[str | None, Query(description="Only of this endpoint: `ep_…`.")] = None,
    delivery: Annotated[str | None, Query(description="Only of this delivery: `dlv_…`.")] = None,
    since: Since = None,
    until: Until = None,
    engine: Annotated[bool, Query(description="Also what the engine did by itself.")] = False,  # noqa: FBT002  a query parameter
) -> AuditSelection:
    check_range(since, until)
    with field("what"):
        if len(what) > MOST_PATTERNS:
            raise ValueError(f"may be given {MOST_PATTERNS} times, not {len(what)}")
        patterns = tuple(check_pattern(pattern) for pattern in what)
    with field("actor"):
        named = None if actor is None else check_text(actor, least=1, most=LONGEST_ACTOR)
    endpoint_id = id_in_query(Prefix.ENDPOINT, "endpoint", endpoint)
    delivery_id = id_in_query(Prefix.DELIVERY, "delivery", delivery)
    return AuditSelection(
        actor=named,
        what=patterns,
        endpoint_id=None if endpoint_id is None else EndpointId(endpoint_id),
        delivery_id=None if delivery_id is None else DeliveryId(delivery_id),
        since=since,
        until=until,
        engine=engine,
    )


@router.get("")
async def list_audit(
    uses: Uses, seeing: Seeing, asked: AskedPage, wanted: Annotated[AuditSelection, Depends(_selection)]
) -> AuditList:
    """List who did what, newest first. A page may hold fewer than `limit`, even none, and have a `next`.

    The operator sees all tenants unless the header `Waybill-Tenant` names one.
    """
    scope = ("audit", seeing.tenant_id, wanted)
    page = await uses.audit.page(seeing.tenant_id, wanted, asked.cut(*scope))
    return AuditList(items=[AuditOut.of(one) for one in page.items], next=asked.next(page.last, *scope))
