"""`waybill delivery` and `waybill attempt`: deliveries and their attempts."""

from typing import Annotated

import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.commands import erasure
from delivery.cli.options.common import (
    AnyTenantOption,
    AttemptArgument,
    DeliveryArgument,
    JsonOption,
    LimitOption,
    ReasonOption,
    TenantOption,
    id_option,
)
from delivery.cli.options.delivery_filter import SEARCH_BEFORE_HELP, OldestFirstOption, with_filter_options
from delivery.cli.options.examples import format_examples
from delivery.cli.output.deliveries import DeliveryWithAttempts, print_attempt, print_history
from delivery.cli.output.pages import print_page, print_page_json
from delivery.cli.output.table import Column, print_json, print_text
from delivery.cli.output.timeline import print_delivery_trace
from delivery.cli.runtime import get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import NotFound
from delivery.domain.ids import DeliveryId, Prefix, TenantId, format_id
from delivery.domain.pagination import PageRequest
from delivery.services.presentation import describe_next_step, describe_status

app = typer.Typer(name="delivery", help="Deliveries: one event owed to one endpoint.", no_args_is_help=True)
attempts_app = typer.Typer(
    name="attempt", help="Attempts: one HTTP exchange for a delivery.", no_args_is_help=True
)

MAX_SHOWN_ATTEMPTS = 100


@app.command(
    "search",
    epilog=format_examples(
        "waybill delivery search --tenant ten_… --status failed --since 2h",
        "waybill delivery search --tenant ten_… --endpoint ep_… --response 5xx --oldest-first",
        "waybill delivery search --tenant ten_… --payload '$.order.id=1042' --json",
    ),
)
@with_filter_options
def search(  # noqa: PLR0913, PLR0917  one for each option
    selection: DeliveryFilter,
    tenant_id: AnyTenantOption = None,
    oldest_first: OldestFirstOption = False,
    count: Annotated[bool, typer.Option("--count", metavar="", help="Only print the count.")] = False,
    limit: LimitOption = 20,
    before: Annotated[DeliveryId | None, id_option("--before", Prefix.DELIVERY, SEARCH_BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """Find deliveries that match every filter, newest first.

    A repeated filter matches any of its values. Without --tenant, all tenants are searched.
    """
    if count:
        _print_count(tenant_id, selection, json)
        return
    page_request = PageRequest.from_cursor(limit, before, oldest_first=oldest_first)
    page = run_use_case(lambda uses: uses.deliveries.list_deliveries(tenant_id, selection, page_request))
    if json:
        print_page_json(page, schemas.deliveries.DeliveryOut.from_record, Prefix.DELIVERY)
        return
    now = clock()
    print_page(
        page,
        [
            Column("DELIVERY"),
            Column("STATUS"),
            Column("TRIES", numeric=True),
            Column("WHEN"),
            Column("EVENT TYPE", shrinkable=True),
            Column("ENDPOINT", optional=True),
            Column("EVENT", optional=True),
        ],
        lambda delivery: (
            format_id(Prefix.DELIVERY, delivery.id),
            delivery.status,
            str(delivery.attempts),
            describe_next_step(delivery, now=now),
            delivery.event_type,
            format_id(Prefix.ENDPOINT, delivery.endpoint_id),
            format_id(Prefix.EVENT, delivery.event_id),
        ),
        Prefix.DELIVERY,
        empty_message="No delivery matches.",
    )


app.command("list", help="The same as search.")(search)


def _print_count(tenant_id: TenantId | None, selection: DeliveryFilter, json: bool) -> None:
    counted = run_use_case(lambda uses: uses.deliveries.count_deliveries(tenant_id, selection))
    if json:
        print_json(schemas.deliveries.CountOut(count=counted.count, exact=counted.exact))
        return
    print_text(f"{counted.count:,}" if counted.exact else f"about {counted.count:,}")


@app.command()
def show(tenant_id: TenantOption, delivery_id: DeliveryArgument, json: JsonOption = False) -> None:
    """Show a delivery: its status, the reason, and every attempt."""

    async def use(uses: Services) -> DeliveryWithAttempts:
        delivery = await uses.deliveries.read(tenant_id, delivery_id)
        attempts = await uses.deliveries.list_attempts(
            tenant_id, delivery_id, PageRequest(MAX_SHOWN_ATTEMPTS)
        )
        try:
            endpoint = await uses.endpoints.read(tenant_id, delivery.endpoint_id)
        except NotFound:
            endpoint = None
        return DeliveryWithAttempts(delivery, endpoint, attempts.items[::-1])

    history = run_use_case(use)
    if json:
        newest_first = [
            schemas.deliveries.AttemptOut.from_record(attempt) for attempt in reversed(history.attempts)
        ]
        print_json(
            schemas.deliveries.DeliveryDetailOut.from_record(history.delivery, latest_attempts=newest_first)
        )
        return
    print_history(history, now=clock())


@app.command(epilog=format_examples("waybill delivery why --tenant ten_… dlv_…"))
def why(tenant_id: TenantOption, delivery_id: DeliveryArgument, json: JsonOption = False) -> None:
    """Explain a delivery's status: everything that happened to it, and what comes next."""
    trace = run_use_case(lambda uses: uses.timelines.load_delivery_timeline(tenant_id, delivery_id))
    if json:
        print_json(schemas.timeline.DeliveryTraceOut.from_record(trace))
        return
    print_delivery_trace(trace)


@app.command(
    epilog=format_examples('waybill delivery replay --tenant ten_… dlv_… --reason "the receiver lost it"')
)
def replay(
    tenant_id: TenantOption,
    delivery_id: DeliveryArgument,
    reason: ReasonOption = None,
    hold: Annotated[
        bool,
        typer.Option("--hold", metavar="", help="Allow a paused or disabled endpoint: the delivery is held."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Send a delivery again, under the same webhook-id. A pending one is sent now."""

    async def use(uses: Services) -> DeliveryWithAttempts:
        again = await uses.deliveries.replay(
            tenant_id, delivery_id, reason=reason, hold=hold, actor=get_actor()
        )
        return DeliveryWithAttempts(again, await uses.endpoints.read(tenant_id, again.endpoint_id), ())

    history = run_use_case(use)
    if json:
        print_json(schemas.deliveries.DeliveryOut.from_record(history.delivery))
        return
    stands = describe_status(history.delivery, history.endpoint, now=clock())
    print_text(f"{format_id(Prefix.DELIVERY, delivery_id)} is {stands}.")


@attempts_app.command("show")
def show_attempt(tenant_id: TenantOption, attempt_id: AttemptArgument, json: JsonOption = False) -> None:
    """Show an attempt: its request and its response."""
    details = run_use_case(lambda uses: uses.deliveries.read_attempt(tenant_id, attempt_id))
    if json:
        print_json(schemas.deliveries.AttemptDetailOut.from_details(details))
        return
    print_attempt(details)


attempts_app.command("erase", epilog=erasure.ATTEMPT_EXAMPLES)(erasure.erase_attempt)
