"""The audit: who changed what, when, from where and why."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from delivery.api.http.auth import RequiresReadAnyTenant, ServicesDep
from delivery.api.http.parameters import ListQueryDep
from delivery.api.http.strict import StrictRoute
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import DeliveryId, EndpointId, Prefix, format_id
from delivery.domain.validation import check_text, validating_field
from delivery.ledger.records.audit import AuditFilter, AuditRecord
from delivery.schemas.base import (
    NextCursor,
    ResponseModel,
    SinceQuery,
    TimestampOut,
    UntilQuery,
    check_time_range,
    example_id,
    parse_query_id,
)
from delivery.services.sentences import describe_entry

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StrictRoute)

MAX_PATTERNS = 20
MAX_ACTOR_LENGTH = 400


class AuditOut(ResponseModel):
    """One thing that somebody did."""

    id: str = Field(examples=[example_id(Prefix.AUDIT)])
    tenant_id: str | None = Field(
        description="Whose. Null: no tenant's, such as an account of the console.",
        examples=[example_id(Prefix.TENANT)],
    )
    at: TimestampOut
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
    def from_record(cls, audited: AuditRecord) -> Self:
        """Show an entry."""
        entry = audited.entry
        return cls(
            id=format_id(Prefix.AUDIT, audited.id),
            tenant_id=None if entry.owner is None else format_id(Prefix.TENANT, entry.owner),
            at=entry.at,
            what=entry.action,
            sentence=describe_entry(entry),
            actor=entry.actor,
            address=entry.address,
            reason=entry.reason,
            endpoint_id=None if entry.endpoint_id is None else format_id(Prefix.ENDPOINT, entry.endpoint_id),
            delivery_id=None if entry.delivery_id is None else format_id(Prefix.DELIVERY, entry.delivery_id),
            details=dict(entry.details),
        )


class AuditList(ResponseModel):
    """Entries of the audit, newest first."""

    items: list[AuditOut]
    next: NextCursor


def _read_audit_selection(  # noqa: PLR0913, PLR0917  one for each query parameter
    actor: Annotated[str | None, Query(description="Only by this one: `key_…`, `operator`, `cli:…`.")] = None,
    what: Annotated[list[str], Query(description="Only what is like this: `endpoint.*`. Repeatable.")] = [],  # noqa: B006  FastAPI copies it
    endpoint: Annotated[str | None, Query(description="Only of this endpoint: `ep_…`.")] = None,
    delivery: Annotated[str | None, Query(description="Only of this delivery: `dlv_…`.")] = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    engine: Annotated[bool, Query(description="Also what the engine did by itself.")] = False,  # noqa: FBT002  a query parameter
) -> AuditFilter:
    check_time_range(since, until)
    with validating_field("what"):
        if len(what) > MAX_PATTERNS:
            raise ValueError(f"may be given {MAX_PATTERNS} times, not {len(what)}")
        patterns = tuple(check_pattern(pattern) for pattern in what)
    with validating_field("actor"):
        named = None if actor is None else check_text(actor, min_length=1, max_length=MAX_ACTOR_LENGTH)
    endpoint_id = parse_query_id(Prefix.ENDPOINT, "endpoint", endpoint)
    delivery_id = parse_query_id(Prefix.DELIVERY, "delivery", delivery)
    return AuditFilter(
        actor=named,
        actions=patterns,
        endpoint_id=None if endpoint_id is None else EndpointId(endpoint_id),
        delivery_id=None if delivery_id is None else DeliveryId(delivery_id),
        since=since,
        until=until,
        include_engine=engine,
    )


@router.get("")
async def list_audit(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    list_query: ListQueryDep,
    selection: Annotated[AuditFilter, Depends(_read_audit_selection)],
) -> AuditList:
    """List who did what, newest first. A page may hold fewer than `limit`, even none, and have a `next`.

    The operator sees all tenants unless the header `Waybill-Tenant` names one.
    """
    scope = ("audit", caller.tenant_id, selection)
    page = await services.audit.list_entries(caller.tenant_id, selection, list_query.to_page_request(*scope))
    return AuditList(
        items=[AuditOut.from_record(one) for one in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )
