"""Events: taken in as bytes, one or many at a time, and shown."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from delivery.accept import Accepter, AcceptLimits, NewEvent, parse_batch, parse_event
from delivery.api import event_shapes as shapes
from delivery.api.callers import TENANT_HEADER, Reading, Seeing, Uses, services_of, tenant_of
from delivery.api.event_shapes import EventList, EventOut
from delivery.api.problems import problem_of
from delivery.api.routing import StrictRoute, require_json
from delivery.api.selections import AskedOrder, checked_key, checked_values
from delivery.api.shapes import AskedPage, EventInPath, Since, Until, check_range
from delivery.api.straight import JsonAnswer
from delivery.deliveries import EventSelection
from delivery.errors import Invalid
from delivery.filters import check_pattern
from delivery.payload import PayloadEquals
from delivery.scopes import Scope

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=StrictRoute)

KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")
_REPLAYED = (b"idempotency-replayed", b"true")


@router.post(
    "", status_code=202, responses=shapes.ACCEPTED, openapi_extra=shapes.ONE, response_class=Response
)
async def accept_event(request: Request) -> Response:
    """Accept one event. The answer comes after the commit: it is owed to every endpoint that matches."""
    return await _accept(request, _one, single=True)


@router.post(
    "/batch",
    status_code=202,
    responses=shapes.BATCH_ACCEPTED,
    openapi_extra=shapes.BATCH,
    response_class=Response,
)
async def accept_batch(request: Request) -> Response:
    """Accept many events, all of them or none. The answers are in the order of the events."""
    return await _accept(request, parse_batch, single=False)


def _wanted(
    event_type: Annotated[
        list[str] | None, Query(alias="type", description="Of these types: `order.*`.")
    ] = None,
    since: Since = None,
    until: Until = None,
    idempotency_key: Annotated[str | None, Query(description="That came under this key.")] = None,
    payload: Annotated[
        list[str] | None, Query(description="That hold this, from their `data` on: `$.order.id=1042`.")
    ] = None,
) -> EventSelection:
    check_range(since, until)
    return EventSelection(
        types=checked_values("type", check_pattern, event_type or []),
        since=since,
        until=until,
        idempotency_key=checked_key(idempotency_key),
        payload=checked_values("payload", PayloadEquals.parse, payload or []),
    )


@router.get("")
async def list_events(
    uses: Uses,
    seeing: Seeing,
    asked: AskedPage,
    wanted: Annotated[EventSelection, Depends(_wanted)],
    order: AskedOrder = "newest",
) -> EventList:
    """Search for events. A page may hold fewer than `limit`, even none, and still have a `next`.

    The operator sees all tenants' unless the header `Waybill-Tenant` names one.
    """
    if seeing.tenant_id is None and wanted.idempotency_key is not None:
        raise Invalid("idempotency_key", f"needs a tenant: name it in the header {TENANT_HEADER}")
    scope = ("events", seeing.tenant_id, wanted, order)
    cut = asked.cut(*scope, oldest_first=order == "oldest")
    page = await uses.deliveries.events(seeing.tenant_id, wanted, cut)
    return EventList(items=[EventOut.of(head) for head in page.items], next=asked.next(page.last, *scope))


@router.get("/{event_id}", responses=shapes.READ, response_class=Response)
async def read_event(uses: Uses, acting: Reading, event_id: EventInPath) -> Response:
    """Read an event with its body, as the standard format sends it. Links of thin events lead here."""
    head, body = await uses.deliveries.event(acting.tenant_id, event_id)
    shown = EventOut.of(head).model_dump(mode="json") | {"body": None if body is None else msgspec.Raw(body)}
    return Response(msgspec.json.encode(shown), media_type="application/json")


def _one(body: bytes, limits: AcceptLimits) -> tuple[NewEvent]:
    return (parse_event(body, limits),)


async def _accept(
    request: Request, parse: Callable[[bytes, AcceptLimits], Sequence[NewEvent]], *, single: bool
) -> Response:
    services = services_of(request)
    accepter, spans = services.accepter, services.spans
    if spans is None:
        return await _accepted(request, accepter, parse, single=single, traceparent=None)
    with spans.accepting(request.url.path, request.headers.get("traceparent")) as accepting:
        try:
            answer = await _accepted(
                request, accepter, parse, single=single, traceparent=accepting.traceparent
            )
        except Exception as error:
            accepting.answered(problem_of(error).status)
            raise
        accepting.answered(answer.status_code)
        return answer


async def _accepted(
    request: Request,
    accepter: Accepter,
    parse: Callable[[bytes, AcceptLimits], Sequence[NewEvent]],
    *,
    single: bool,
    traceparent: str | None,
) -> Response:
    tenant_id = await tenant_of(request, Scope.PUBLISH)
    require_json(request)
    key = request.headers.get(KEY_HEADER)
    if key is not None and _KEY.fullmatch(key) is None:
        raise Invalid(KEY_HEADER, "must be 1 to 255 visible ASCII characters")
    body = await request.body()
    accepted = await accepter.accept(
        tenant_id,
        parse(body, accepter.limits),
        single=single,
        idempotency_key=key,
        request_sha256=b"" if key is None else hashlib.sha256(body).digest(),
        traceparent=traceparent,
    )
    return JsonAnswer(accepted.answer, 202, *([_REPLAYED] if accepted.replayed else []))
