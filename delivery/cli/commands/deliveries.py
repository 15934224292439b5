"""`waybill delivery` and `waybill attempt`: what is owed, what was tried and what came back."""

from typing import Annotated

import typer

from delivery.bootstrap import Services, clock
from delivery.cli import erasure, shapes, trace_shapes
from delivery.cli.delivery_screen import History, print_attempt, print_history
from delivery.cli.door import actor, ask
from delivery.cli.filter_options import Beyond, OldestFirst, filtered
from delivery.cli.listing import print_page
from delivery.cli.options import (
    AnyTenant,
    AsJson,
    Limit,
    Tenant,
    TheAttempt,
    TheDelivery,
    Why,
    examples,
    id_option,
)
from delivery.cli.screen import Column, print_json, say
from delivery.cli.trace_screen import print_delivery_trace
from delivery.errors import NotFound
from delivery.model import DeliveryId, Prefix, TenantId, show_id
from delivery.paging import Cut
from delivery.selection import DeliverySelection
from delivery.wording import next_step, standing

app = typer.Typer(name="delivery", help="Deliveries: one event owed to one endpoint.", no_args_is_help=True)
attempts = typer.Typer(
    name="attempt", help="Attempts: one HTTP exchange for a delivery.", no_args_is_help=True
)

MOST_ATTEMPTS = 100


@app.command(
    "search",
    epilog=examples(
        "waybill delivery search --tenant ten_… --status failed --since 2h",
        "waybill delivery search --tenant ten_… --endpoint ep_… --response 5xx --oldest-first",
        "waybill delivery search --tenant ten_… --payload '$.order.id=1042' --json",
    ),
)
@filtered
def search(  # noqa: PLR0913, PLR0917  one for each option
    wanted: DeliverySelection,
    tenant: AnyTenant = None,
    oldest_first: OldestFirst = False,
    count: Annotated[bool, typer.Option("--count", metavar="", help="Only count them.")] = False,
    limit: Limit = 20,
    before: Annotated[DeliveryId | None, id_option("--before", Prefix.DELIVERY, Beyond)] = None,
    json: AsJson = False,
) -> None:
    """Find deliveries that meet every filter, newest first.

    A filter that is given more than once is met by any of its values. Without --tenant: of all tenants.
    """
    if count:
        _count(tenant, wanted, json)
        return
    cut = Cut.following(limit, before, oldest_first=oldest_first)
    page = ask(lambda uses: uses.deliveries.page(tenant, wanted, cut))
    if json:
        print_json(shapes.page([shapes.delivery(one) for one in page.items], Prefix.DELIVERY, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("DELIVERY"),
            Column("STATUS"),
            Column("TRIES", number=True),
            Column("WHEN"),
            Column("EVENT TYPE", gives_way=True),
            Column("ENDPOINT", extra=True),
            Column("EVENT", extra=True),
        ],
        lambda one: (
            show_id(Prefix.DELIVERY, one.id),
            one.status,
            str(one.attempts),
            next_step(one, now=now),
            one.event_type,
            show_id(Prefix.ENDPOINT, one.endpoint_id),
            show_id(Prefix.EVENT, one.event_id),
        ),
        Prefix.DELIVERY,
        none="There is no such delivery.",
    )


app.command("list", help="The same as search.")(search)


def _count(tenant: TenantId | None, wanted: DeliverySelection, json: bool) -> None:
    counted = ask(lambda uses: uses.deliveries.count(tenant, wanted))
    if json:
        print_json({"count": counted.count, "exact": counted.exact})
        return
    say(f"{counted.count:,}" if counted.exact else f"about {counted.count:,}")


@app.command()
def show(tenant: Tenant, delivery: TheDelivery, json: AsJson = False) -> None:
    """Show a delivery: where it stands and why, and every attempt."""

    async def use(uses: Services) -> History:
        one = await uses.deliveries.read(tenant, delivery)
        tried = await uses.deliveries.attempts(tenant, delivery, Cut(MOST_ATTEMPTS))
        try:
            endpoint = await uses.endpoints.read(tenant, one.endpoint_id)
        except NotFound:
            endpoint = None
        return History(one, endpoint, tried.items[::-1])

    history = ask(use)
    if json:
        newest_first = [shapes.attempt(attempt) for attempt in reversed(history.attempts)]
        print_json(shapes.delivery(history.delivery) | {"latest_attempts": newest_first})
        return
    print_history(history, now=clock())


@app.command(epilog=examples("waybill delivery why --tenant ten_… dlv_…"))
def why(tenant: Tenant, delivery: TheDelivery, json: AsJson = False) -> None:
    """Tell why a delivery is where it is: everything that happened to it, and what comes next."""
    trace = ask(lambda uses: uses.traces.of_delivery(tenant, delivery))
    if json:
        print_json(trace_shapes.delivery_trace(trace))
        return
    print_delivery_trace(trace)


@app.command(epilog=examples('waybill delivery replay --tenant ten_… dlv_… --reason "the receiver lost it"'))
def replay(
    tenant: Tenant,
    delivery: TheDelivery,
    reason: Why = None,
    hold: Annotated[
        bool, typer.Option("--hold", metavar="", help="Also for a paused or disabled endpoint: it is held.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Send a delivery again. A waiting one now, a final one anew, under the same webhook-id."""

    async def use(uses: Services) -> History:
        again = await uses.deliveries.replay(tenant, delivery, reason=reason, hold=hold, actor=actor())
        return History(again, await uses.endpoints.read(tenant, again.endpoint_id), ())

    history = ask(use)
    if json:
        print_json(shapes.delivery(history.delivery))
        return
    stands = standing(history.delivery, history.endpoint, now=clock())
    say(f"{show_id(Prefix.DELIVERY, delivery)} is {stands}.")


@attempts.command("show")
def show_attempt(tenant: Tenant, attempt: TheAttempt, json: AsJson = False) -> None:
    """Show an attempt: what went out and what came back."""
    told = ask(lambda uses: uses.deliveries.attempt(tenant, attempt))
    if json:
        print_json(shapes.attempt_told(told))
        return
    print_attempt(told)


attempts.command("erase", epilog=erasure.OF_ATTEMPT)(erasure.erase_attempt)
