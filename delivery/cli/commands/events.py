"""`waybill event`: what happened."""

import hashlib
import re
from typing import Annotated

import msgspec
import typer

from delivery.accept import parse_event
from delivery.accept.accepter import Accepted
from delivery.bootstrap import Services, clock
from delivery.cli import erasure, shapes, trace_shapes
from delivery.cli.door import ask
from delivery.cli.event_body import event_body
from delivery.cli.filter_options import Beyond, OfTypes, OldestFirst, UnderKey, WithPayload
from delivery.cli.listing import print_page
from delivery.cli.options import (
    AnyTenant,
    AsJson,
    Limit,
    Since,
    Tenant,
    TheEvent,
    Until,
    examples,
    id_option,
    read_content,
)
from delivery.cli.screen import Column, note, print_facts, print_indented, print_json, say
from delivery.cli.trace_screen import print_event_trace
from delivery.deliveries import EventHead, EventSelection
from delivery.errors import Invalid
from delivery.model import EventId, Prefix, show_id
from delivery.paging import Cut
from delivery.wording import exact, when

app = typer.Typer(name="event", help="Events: what happened.", no_args_is_help=True)

_KEY = re.compile(r"[!-~]{1,255}")


@app.command(
    epilog=examples(
        """waybill event send --tenant ten_… --type order.created --data '{"order": 1042}'""",
        "waybill event send --tenant ten_… --type order.created --data @order.json",
        "jq -c . order.json | waybill event send --tenant ten_… --type order.created --data -",
        "waybill event send --tenant ten_… --example order.created",
    )
)
def send(  # noqa: PLR0913, PLR0917  one for each option
    tenant: Tenant,
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
        typer.Option(metavar="TYPE", help="In their place: a type's example in the catalogue."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL",
            help="For endpoints that ask for this channel, or for none. Give it again for more.",
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Sent again under the same key, it is the same event."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Send an event. Its data goes out byte for byte as it is given."""
    if idempotency_key is not None and _KEY.fullmatch(idempotency_key) is None:
        raise Invalid("idempotency-key", "must be 1 to 255 visible ASCII characters")

    if (example is None) == (type_ is None and data is None) or (type_ is None) != (data is None):
        raise typer.BadParameter("Give --type and --data, or --example alone.")

    async def use(uses: Services) -> Accepted:
        sent = await uses.catalogue.example(example) if example else (data or b"").strip()
        body = event_body(example or type_ or "", sent, channel or ())
        return await uses.accepter.accept(
            tenant,
            [parse_event(body, uses.accepter.limits)],
            single=True,
            idempotency_key=idempotency_key,
            request_sha256=b"" if idempotency_key is None else hashlib.sha256(body).digest(),
        )

    accepted = ask(use)
    if json:
        print_json(msgspec.Raw(accepted.answer))
        return
    answer = msgspec.json.decode(accepted.answer)
    say(answer["id"])
    again = "It was sent before under this idempotency key. " if accepted.replayed else ""
    note(f"{again}It is owed to {_counted(answer['deliveries'], 'endpoint')}.")


@app.command("list")
def list_events(  # noqa: PLR0913, PLR0917  one for each option
    tenant: AnyTenant = None,
    types: OfTypes = None,
    idempotency_key: UnderKey = None,
    payload: WithPayload = None,
    since: Since = None,
    until: Until = None,
    oldest_first: OldestFirst = False,
    limit: Limit = 20,
    before: Annotated[EventId | None, id_option("--before", Prefix.EVENT, Beyond)] = None,
    json: AsJson = False,
) -> None:
    """Find events, newest first. Without --tenant: of all tenants."""
    wanted = EventSelection(tuple(types or ()), since, until, idempotency_key, tuple(payload or ()))
    cut = Cut.following(limit, before, oldest_first=oldest_first)
    page = ask(lambda uses: uses.deliveries.events(tenant, wanted, cut))
    if json:
        print_json(shapes.page([shapes.event(one) for one in page.items], Prefix.EVENT, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("EVENT"),
            Column("TYPE", gives_way=True),
            Column("DELIVERIES", number=True),
            Column("ACCEPTED"),
        ],
        lambda one: (
            show_id(Prefix.EVENT, one.id),
            one.type,
            str(one.matched),
            when(one.created_at, now=now),
        ),
        Prefix.EVENT,
        none="There is no such event.",
    )


@app.command()
def show(tenant: Tenant, event: TheEvent, json: AsJson = False) -> None:
    """Show an event, with the body that the standard format sends."""
    head, body = ask(lambda uses: uses.deliveries.event(tenant, event))
    if json:
        print_json(shapes.event_told(head, body))
        return
    print_facts(
        [
            ("type", head.type),
            ("channels", " ".join(head.channels)),
            ("accepted", exact(head.created_at)),
            ("owed to", _counted(head.matched, "endpoint")),
            ("body", _told(head, body)),
        ],
        title=f"Event {show_id(Prefix.EVENT, head.id)}",
    )
    if body is not None:
        print_indented(body.decode(errors="replace"), by=2)


app.command("erase", epilog=erasure.OF_EVENT)(erasure.erase_event)


@app.command(epilog=examples("waybill event why --tenant ten_… evt_…"))
def why(tenant: Tenant, event: TheEvent, json: AsJson = False) -> None:
    """Tell to which endpoints an event went and why, and why it did not go to the others."""
    trace = ask(lambda uses: uses.traces.of_event(tenant, event))
    if json:
        print_json(trace_shapes.event_trace(trace))
        return
    print_event_trace(trace)


def _told(head: EventHead, body: bytes | None) -> str:
    if body is not None:
        return f"{len(body):,} bytes, as the standard format sends it:"
    return "is no longer kept" if head.erased_at is None else f"was erased {exact(head.erased_at)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
