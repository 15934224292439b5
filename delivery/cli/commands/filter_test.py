"""`waybill endpoint filter-test`: whether an event would be owed to an endpoint, and why."""

from typing import Annotated

import typer

from delivery.accept import NewEvent, parse_event
from delivery.bootstrap import Services
from delivery.cli.door import ask
from delivery.cli.endpoint_options import Filter
from delivery.cli.event_body import event_body
from delivery.cli.options import AsJson, Tenant, TheEndpoint, examples, id_option, read_content
from delivery.cli.screen import print_facts, print_json, say
from delivery.endpoints import EndpointChanges, Part, Trial
from delivery.model import EventId, Prefix

EXAMPLES = examples(
    """waybill endpoint filter-test --tenant ten_… ep_… --type order.created --data '{"total": 120}'""",
    "waybill endpoint filter-test --tenant ten_… ep_… --event evt_… --condition 'total > `100`'",
)
_NONE = "none"


def filter_test(  # noqa: PLR0913, PLR0917  one for each option
    tenant: Tenant,
    endpoint: TheEndpoint,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="The event's: order.created.")
    ] = None,
    data: Annotated[
        bytes | None,
        typer.Option(parser=read_content, metavar="JSON", help="The event's: any JSON; @file or -."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL", help="The event's. Give it again for more."),
    ] = None,
    event: Annotated[EventId | None, id_option("--event", Prefix.EVENT, "Instead: a past event.")] = None,
    filter_: Filter = None,
    wanted_channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL", help="To try instead of the endpoint's own channels; none: none of them."
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(metavar="JMESPATH", help="To try instead of the endpoint's own; none: no condition."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Tell whether an event would be owed to an endpoint, and why. Nothing is sent, and nothing written."""
    if (event is None) == (type_ is None and data is None) or (type_ is None) != (data is None):
        raise typer.BadParameter("Give --type and --data, or --event alone.")
    if event is not None and channel:
        raise typer.BadParameter("--event has the channels that it was sent with.")
    instead: EndpointChanges = {}
    if filter_ is not None:
        instead["filter"] = filter_
    if wanted_channel is not None:
        instead["channels"] = [one for one in wanted_channel if one != _NONE]
    if condition is not None:
        instead["condition"] = None if condition == _NONE else condition

    async def use(uses: Services) -> Trial:
        about: NewEvent | EventId | None = event
        if about is None:
            body = event_body(type_ or "", (data or b"").strip(), channel or ())
            about = parse_event(body, uses.accepter.limits)
        return await uses.endpoints.try_filter(tenant, endpoint, about, instead=instead)

    found = ask(use)
    if json:
        print_json(_shape(found))
        return
    say(found.sentence, style="bold")
    parts = (("type", found.type), ("channels", found.channels), ("condition", found.condition))
    print_facts([(name, f"{'passes' if one.passes else 'refuses'}: {one.why}") for name, one in parts])


def _shape(one: Trial) -> dict[str, object]:
    return {
        "delivered": one.delivered,
        "sentence": one.sentence,
        "type": _part(one.type) | {"pattern": one.pattern},
        "channels": _part(one.channels),
        "condition": _part(one.condition) | {"failed": one.failed},
    }


def _part(part: Part) -> dict[str, object]:
    return {"passes": part.passes, "why": part.why}
