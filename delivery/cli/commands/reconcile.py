"""`waybill endpoint events`: what an endpoint was owed, number by number."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import ask
from delivery.cli.options import AsJson, Limit, Tenant, TheEndpoint, examples
from delivery.cli.screen import Column, note, print_json, print_table
from delivery.deliveries import LARGEST_NUMBER
from delivery.model import Prefix, show_id
from delivery.wording import when

EXAMPLES = examples(
    "waybill endpoint events --tenant ten_… ep_… --after 1042",
    "waybill endpoint events --tenant ten_… ep_… --json | jq '.items[].sequence'",
)


def list_events(
    tenant: Tenant,
    endpoint: TheEndpoint,
    after: Annotated[
        int,
        typer.Option(min=0, max=LARGEST_NUMBER, metavar="NUMBER", help="Only what has a larger number."),
    ] = 0,
    limit: Limit = 20,
    json: AsJson = False,
) -> None:
    """List what an endpoint was owed, in the order of the numbers (waybill-sequence) that requests carry.

    A number that the receiver has no request for is one that it has missed.
    """
    numbers = ask(lambda uses: uses.deliveries.numbered(tenant, endpoint, after, most=limit))
    if json:
        print_json(shapes.numbered(numbers))
        return
    now = clock()
    columns = [
        Column("NUMBER", number=True),
        Column("STATUS"),
        Column("TRIES", number=True),
        Column("EVENT TYPE", gives_way=True),
        Column("EVENT"),
        Column("MADE", extra=True),
        Column("DELIVERY", extra=True),
    ]
    rows = [
        (
            str(one.sequence),
            one.status,
            str(one.attempts),
            one.event_type,
            show_id(Prefix.EVENT, one.event_id),
            when(one.created_at, now=now),
            show_id(Prefix.DELIVERY, one.delivery_id),
        )
        for one in numbers.items
    ]
    print_table(columns, rows, none=f"Nothing was sent after {after}; the last number is {numbers.latest}.")
    if numbers.earliest is not None and after + 1 < numbers.earliest:
        note(f"What came before {numbers.earliest} is no longer kept.")
    if numbers.next is not None:
        note(f"There is more, up to {numbers.latest}: --after {numbers.next}")
