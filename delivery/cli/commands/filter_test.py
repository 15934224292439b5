"""`waybill endpoint filter-test`: whether an event would be delivered to an endpoint, and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.options.common import (
    EndpointArgument,
    JsonOption,
    TenantOption,
    id_option,
    read_content,
)
from delivery.cli.options.endpoints import FilterOption
from delivery.cli.options.event_body import build_event_body
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import print_facts, print_json, print_text
from delivery.cli.runtime import run_use_case
from delivery.domain.ids import EventId, Prefix

if TYPE_CHECKING:
    from delivery.pipeline.parsing import NewEvent
    from delivery.services.endpoints.filter_test import FilterTrial
    from delivery.services.endpoints.validation import EndpointChanges

EXAMPLES = format_examples(
    """waybill endpoint filter-test --tenant ten_… ep_… --type order.created --data '{"total": 120}'""",
    "waybill endpoint filter-test --tenant ten_… ep_… --event evt_… --condition 'total > `100`'",
)
_NONE = "none"


def filter_test(  # noqa: PLR0913, PLR0917  one for each option
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="The event's type: order.created.")
    ] = None,
    data: Annotated[
        bytes | None,
        typer.Option(parser=read_content, metavar="JSON", help="The event's data: any JSON; @file or -."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL", help="The event's channels. Repeatable."),
    ] = None,
    event_id: Annotated[EventId | None, id_option("--event", Prefix.EVENT, "Instead: a past event.")] = None,
    filter_: FilterOption = None,
    wanted_channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL", help="Used instead of the endpoint's own channels; none: no channels."
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="JMESPATH", help="Used instead of the endpoint's own condition; none: no condition."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Test whether an event would be delivered to an endpoint, and why. Nothing is sent or stored."""
    if (event_id is None) == (type_ is None and data is None) or (type_ is None) != (data is None):
        raise typer.BadParameter("Give --type and --data, or --event alone.")
    if event_id is not None and channel:
        raise typer.BadParameter("--event has the channels that it was sent with.")
    overrides: EndpointChanges = {}
    if filter_ is not None:
        overrides["filter"] = filter_
    if wanted_channel is not None:
        overrides["channels"] = [name for name in wanted_channel if name != _NONE]
    if condition is not None:
        overrides["condition"] = None if condition == _NONE else condition

    async def use(uses: Services) -> "FilterTrial":
        from delivery.pipeline.parsing import parse_event

        about: NewEvent | EventId | None = event_id
        if about is None:
            body = build_event_body(type_ or "", (data or b"").strip(), channel or ())
            about = parse_event(body, uses.intake.limits)
        return await uses.endpoints.try_filter(tenant_id, endpoint_id, about, overrides=overrides)

    trial = run_use_case(use)
    if json:
        print_json(schemas.filter_tests.FilterTrialOut.from_record(trial))
        return
    print_text(trial.sentence, style="bold")
    parts = (("type", trial.type), ("channels", trial.channels), ("condition", trial.condition))
    print_facts([(name, f"{'passes' if part.passes else 'refuses'}: {part.reason}") for name, part in parts])
