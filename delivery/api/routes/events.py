"""Events: taken in as bytes, one or many at a time, and shown."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from delivery.api.http.auth import (
    RequiresRead,
    RequiresReadAnyTenant,
    ServicesDep,
    authorize_for_tenant,
    get_services,
)
from delivery.api.http.delivery_filter import OrderQuery, SinceQuery, UntilQuery
from delivery.api.http.fast_path import JsonBytesResponse
from delivery.api.http.parameters import EventInPath, ListQueryDep
from delivery.api.http.problems import to_problem
from delivery.api.http.strict import StrictRoute, require_json
from delivery.domain import inbound_message
from delivery.domain.delivery_filter import FILTER_FIELDS
from delivery.domain.errors import Invalid
from delivery.domain.filter_fields import parse_filter_fields
from delivery.domain.scopes import Scope
from delivery.ledger.records.events import EventFilter
from delivery.pipeline.intake import Intake
from delivery.pipeline.parsing import IntakeLimits, NewEvent, parse_batch, parse_event
from delivery.schemas import events as shapes
from delivery.schemas.base import TENANT_HEADER
from delivery.schemas.events import EventList, EventOut, to_event_document

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=StrictRoute)

IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"
_REPLAYED_HEADER = (b"idempotency-replayed", b"true")


@router.post(
    "",
    status_code=202,
    responses=shapes.ACCEPTED_RESPONSES,
    openapi_extra=shapes.EVENT_OPERATION,
    response_class=Response,
)
async def accept_event(request: Request) -> Response:
    """Accept one event. The response follows the commit: delivery to all matching endpoints is guaranteed."""
    return await _accept_traced(request, _parse_single_event, single=True)


@router.post(
    "/batch",
    status_code=202,
    responses=shapes.BATCH_ACCEPTED_RESPONSES,
    openapi_extra=shapes.BATCH_OPERATION,
    response_class=Response,
)
async def accept_batch(request: Request) -> Response:
    """Accept several events, all or none. The results are in the order of the events."""
    return await _accept_traced(request, parse_batch, single=False)


def _read_event_filter(
    type: Annotated[list[str] | None, Query(description="Event types: `order.*`.")] = None,  # noqa: A002  its name in the query
    since: SinceQuery = None,
    until: UntilQuery = None,
    idempotency_key: Annotated[str | None, Query(description="The idempotency key of the event.")] = None,
    payload: Annotated[
        list[str] | None, Query(description="A value in the event's `data`: `$.order.id=1042`.")
    ] = None,
) -> EventFilter:
    parameters: dict[str, Any] = locals()
    return EventFilter(**parse_filter_fields(parameters, FILTER_FIELDS))


@router.get("")
async def list_events(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    list_query: ListQueryDep,
    selection: Annotated[EventFilter, Depends(_read_event_filter)],
    order: OrderQuery = "newest",
) -> EventList:
    """Search for events. A page may contain fewer than `limit`, even none, and still have a `next`.

    The operator sees all tenants' events unless the header `Waybill-Tenant` names one.
    """
    if caller.tenant_id is None and selection.idempotency_key is not None:
        raise Invalid("idempotency_key", f"needs a tenant: name it in the header {TENANT_HEADER}")
    scope = ("events", caller.tenant_id, selection, order)
    request = list_query.to_page_request(*scope, oldest_first=order == "oldest")
    page = await services.deliveries.list_events(caller.tenant_id, selection, request)
    return EventList(
        items=[EventOut.from_record(event) for event in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.get("/{event_id}", responses=shapes.READ_RESPONSES, response_class=Response)
async def read_event(services: ServicesDep, caller: RequiresRead, event_id: EventInPath) -> Response:
    """Read an event with its body in the standard format. Links in thin events point here."""
    event, body = await services.deliveries.read_event(caller.tenant_id, event_id)
    return Response(msgspec.json.encode(to_event_document(event, body)), media_type="application/json")


def _parse_single_event(body: bytes, limits: IntakeLimits) -> tuple[NewEvent]:
    return (parse_event(body, limits),)


async def _accept_traced(
    request: Request, parse: Callable[[bytes, IntakeLimits], Sequence[NewEvent]], *, single: bool
) -> Response:
    services = get_services(request)
    intake, tracer = services.intake, services.tracer
    if tracer is None:
        return await _accept_body(request, intake, parse, single=single, traceparent=None)
    with tracer.trace_request(request.url.path, request.headers.get("traceparent")) as span:
        try:
            response = await _accept_body(request, intake, parse, single=single, traceparent=span.traceparent)
        except Exception as error:
            span.record_status(to_problem(error).status)
            raise
        span.record_status(response.status_code)
        return response


async def _accept_body(
    request: Request,
    intake: Intake,
    parse: Callable[[bytes, IntakeLimits], Sequence[NewEvent]],
    *,
    single: bool,
    traceparent: str | None,
) -> Response:
    tenant_id = await authorize_for_tenant(request, Scope.PUBLISH)
    require_json(request)
    key = request.headers.get(IDEMPOTENCY_KEY_HEADER)
    if key is not None:
        inbound_message.check_idempotency_key(IDEMPOTENCY_KEY_HEADER, key)
    body = await request.body()
    accepted = await intake.accept_events(
        tenant_id,
        parse(body, intake.limits),
        single=single,
        idempotency_key=key,
        request_sha256=b"" if key is None else hashlib.sha256(body).digest(),
        traceparent=traceparent,
    )
    return JsonBytesResponse(accepted.response_body, 202, *([_REPLAYED_HEADER] if accepted.replayed else []))
