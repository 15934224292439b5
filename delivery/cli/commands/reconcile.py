"""`waybill endpoint events`: an endpoint's deliveries by sequence number."""

from typing import Annotated

import typer

from delivery import schemas
from delivery.cli.options.common import (
    EndpointArgument,
    JsonOption,
    LimitOption,
    TenantOption,
)
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import Column, print_json, print_note, print_table
from delivery.cli.runtime import run_use_case
from delivery.clock import clock
from delivery.domain.ids import Prefix, format_id
from delivery.domain.pagination import MAX_SEQUENCE
from delivery.services.presentation import format_relative_time

EXAMPLES = format_examples(
    "waybill endpoint events --tenant ten_… ep_… --after 1042",
    "waybill endpoint events --tenant ten_… ep_… --json | jq '.items[].sequence'",
)


def list_endpoint_events(
    tenant_id: TenantOption,
    endpoint_id: EndpointArgument,
    after: Annotated[
        int,
        typer.Option(min=0, max=MAX_SEQUENCE, metavar="NUMBER", help="Only larger numbers."),
    ] = 0,
    limit: LimitOption = 20,
    json: JsonOption = False,
) -> None:
    """List an endpoint's deliveries by sequence number, the header waybill-sequence of requests.

    If the receiver has no request with a number, it has missed that delivery.
    """
    page = run_use_case(
        lambda uses: uses.deliveries.list_by_sequence(tenant_id, endpoint_id, after, limit=limit)
    )
    if json:
        print_json(schemas.sequences.SequencedDeliveryList.from_record(page))
        return
    now = clock()
    columns = [
        Column("NUMBER", numeric=True),
        Column("STATUS"),
        Column("TRIES", numeric=True),
        Column("EVENT TYPE", shrinkable=True),
        Column("EVENT"),
        Column("MADE", optional=True),
        Column("DELIVERY", optional=True),
    ]
    rows = [
        (
            str(delivery.sequence),
            delivery.status,
            str(delivery.attempts),
            delivery.event_type,
            format_id(Prefix.EVENT, delivery.event_id),
            format_relative_time(delivery.created_at, now=now),
            format_id(Prefix.DELIVERY, delivery.delivery_id),
        )
        for delivery in page.items
    ]
    print_table(
        columns, rows, empty_message=f"Nothing was sent after {after}; the last number is {page.latest}."
    )
    if page.earliest is not None and after + 1 < page.earliest:
        print_note(f"Deliveries before {page.earliest} are no longer stored.")
    if page.next_sequence is not None:
        print_note(f"There is more, up to {page.latest}: --after {page.next_sequence}")
