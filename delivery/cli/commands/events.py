"""`waybill event`: send, find and show events."""

import hashlib
from typing import Annotated

import msgspec
import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.commands import erasure
from delivery.cli.options.common import (
    AnyTenantOption,
    EventArgument,
    JsonOption,
    LimitOption,
    SinceOption,
    TenantOption,
    UntilOption,
    id_option,
    read_content,
)
from delivery.cli.options.delivery_filter import (
    SEARCH_BEFORE_HELP,
    IdempotencyKeyOption,
    OldestFirstOption,
    PayloadFilterOption,
    TypesOption,
    reporting_options,
)
from delivery.cli.options.event_body import build_event_body
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import print_page, print_page_json
from delivery.cli.output.table import (
    Column,
    print_facts,
    print_indented,
    print_json,
    print_note,
    print_text,
)
from delivery.cli.runtime import run_use_case
from delivery.clock import clock
from delivery.domain.delivery_filter import FILTER_FIELDS
from delivery.domain.durations import format_utc
from delivery.domain.filter_fields import parse_filter_fields
from delivery.domain.ids import EventId, Prefix, format_id
from delivery.domain.inbound_message import check_idempotency_key
from delivery.domain.pagination import PageRequest
from delivery.ledger.records.events import EventFilter, EventSummary
from delivery.pipeline.intake_request import IntakeResult
from delivery.pipeline.parsing import parse_event

app = typer.Typer(name="event", help="Events that producers sent.", no_args_is_help=True)


@app.command(
    epilog=format_examples(
        """waybill event send --tenant ten_… --type order.created --data '{"order": 1042}'""",
        "waybill event send --tenant ten_… --type order.created --data @order.json",
        "jq -c . order.json | waybill event send --tenant ten_… --type order.created --data -",
        "waybill event send --tenant ten_… --example order.created",
    )
)
def send(  # noqa: PLR0913, PLR0917  one for each option
    tenant_id: TenantOption,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Such as order.created.", show_default=False)
    ] = None,
    data: Annotated[
        bytes | None,
        typer.Option(
            parser=read_content,
            metavar="JSON",
            help="Any JSON; @file or - (standard input).",
            show_default=False,
        ),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Instead of both: a type's example from the catalogue."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL",
            help="For endpoints with this channel, or without channels. Repeatable.",
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Makes it safe to repeat: the same key is the same event."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send an event. Its data is delivered byte for byte."""
    if idempotency_key is not None:
        check_idempotency_key("idempotency-key", idempotency_key)
    if (example is None) == (type_ is None and data is None) or (type_ is None) != (data is None):
        raise typer.BadParameter("Give --type and --data, or --example alone.")

    async def use(uses: Services) -> IntakeResult:
        content = await uses.event_types.read_example(example) if example else (data or b"").strip()
        body = build_event_body(example or type_ or "", content, channel or ())
        return await uses.intake.accept_events(
            tenant_id,
            [parse_event(body, uses.intake.limits)],
            single=True,
            idempotency_key=idempotency_key,
            request_sha256=b"" if idempotency_key is None else hashlib.sha256(body).digest(),
        )

    accepted = run_use_case(use)
    if json:
        print_json(msgspec.Raw(accepted.response_body))
        return
    answer = msgspec.json.decode(accepted.response_body)
    print_text(answer["id"])
    again = "It was accepted before under this idempotency key. " if accepted.replayed else ""
    print_note(f"{again}It goes to {_format_count(answer['deliveries'], 'endpoint')}.")


@app.command("list")
def list_events(  # noqa: PLR0913, PLR0917  one for each option
    tenant_id: AnyTenantOption = None,
    types: TypesOption = None,
    idempotency_key: IdempotencyKeyOption = None,
    payload: PayloadFilterOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    oldest_first: OldestFirstOption = False,
    limit: LimitOption = 20,
    before: Annotated[EventId | None, id_option("--before", Prefix.EVENT, SEARCH_BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """Find events, newest first. Without --tenant, all tenants are searched."""
    options = {
        "type": types,
        "since": since,
        "until": until,
        "idempotency_key": idempotency_key,
        "payload": payload,
    }
    with reporting_options():
        event_filter = EventFilter(**parse_filter_fields(options, FILTER_FIELDS, limited=False))
    page_request = PageRequest.from_cursor(limit, before, oldest_first=oldest_first)
    page = run_use_case(lambda uses: uses.deliveries.list_events(tenant_id, event_filter, page_request))
    if json:
        print_page_json(page, schemas.events.EventOut.from_record, Prefix.EVENT)
        return
    from delivery.services.presentation import format_relative_time

    now = clock()
    print_page(
        page,
        [
            Column("EVENT"),
            Column("TYPE", shrinkable=True),
            Column("DELIVERIES", numeric=True),
            Column("ACCEPTED"),
        ],
        lambda event: (
            format_id(Prefix.EVENT, event.id),
            event.type,
            str(event.matched),
            format_relative_time(event.created_at, now=now),
        ),
        Prefix.EVENT,
        empty_message="No event matches.",
    )


@app.command()
def show(tenant_id: TenantOption, event_id: EventArgument, json: JsonOption = False) -> None:
    """Show an event, with its payload in the standard format."""
    head, body = run_use_case(lambda uses: uses.deliveries.read_event(tenant_id, event_id))
    if json:
        print_json(schemas.events.to_event_document(head, body))
        return
    print_facts(
        [
            ("type", head.type),
            ("channels", " ".join(head.channels)),
            ("accepted", format_utc(head.created_at)),
            ("sent to", _format_count(head.matched, "endpoint")),
            ("body", _describe_body(head, body)),
        ],
        title=f"Event {format_id(Prefix.EVENT, head.id)}",
    )
    if body is not None:
        print_indented(body.decode(errors="replace"), indent=2)


app.command("erase", epilog=erasure.EVENT_EXAMPLES)(erasure.erase_event)


@app.command(epilog=format_examples("waybill event why --tenant ten_… evt_…"))
def why(tenant_id: TenantOption, event_id: EventArgument, json: JsonOption = False) -> None:
    """Explain which endpoints an event was delivered to, and why not to the others."""
    trace = run_use_case(lambda uses: uses.timelines.load_event_timeline(tenant_id, event_id))
    if json:
        print_json(schemas.timeline.EventTraceOut.from_record(trace))
        return
    from delivery.cli.output.timeline import print_event_trace

    print_event_trace(trace)


def _describe_body(head: EventSummary, body: bytes | None) -> str:
    if body is not None:
        return f"{len(body):,} bytes in the standard format:"
    return "no longer stored" if head.erased_at is None else f"erased {format_utc(head.erased_at)}"


def _format_count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
