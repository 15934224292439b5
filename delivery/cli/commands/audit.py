"""`waybill audit`: who changed what, when, from where and why."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from delivery import schemas
from delivery.cli.options.common import (
    AnyTenantOption,
    JsonOption,
    LimitOption,
    SinceOption,
    UntilOption,
    id_option,
)
from delivery.cli.options.delivery_filter import reporting_options
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import Column
from delivery.cli.runtime import run_use_case
from delivery.clock import clock
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import DeliveryId, EndpointId, Prefix, format_id
from delivery.ledger.records.audit import AuditRecord
from delivery.services.audit import parse_audit_filter
from delivery.services.presentation import format_relative_time

EXAMPLES = format_examples(
    "waybill audit --tenant ten_… --since 2d", "waybill audit --what 'endpoint.*' --actor operator --json"
)


app = typer.Typer()


def read_pattern(text: str) -> str:
    """Read `*`, `noun.verb` or `noun.*`."""
    try:
        return check_pattern(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command("audit", epilog=EXAMPLES)
def list_audit(  # noqa: PLR0913, PLR0917  one for each option
    tenant_id: AnyTenantOption = None,
    actor_name: Annotated[
        str | None, typer.Option("--actor", metavar="NAME", help="Only changes by this actor.")
    ] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            parser=read_pattern, metavar="PATTERN", help="Only actions like this: endpoint.*. Repeatable."
        ),
    ] = None,
    endpoint_id: Annotated[
        EndpointId | None, id_option("--endpoint", Prefix.ENDPOINT, "Only of this endpoint.")
    ] = None,
    delivery_id: Annotated[
        DeliveryId | None, id_option("--delivery", Prefix.DELIVERY, "Only of this delivery.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    engine: Annotated[
        bool, typer.Option("--engine", metavar="", help="Include actions of the engine itself.")
    ] = False,
    limit: LimitOption = 20,
    before: Annotated[UUID | None, id_option("--before", Prefix.AUDIT, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """Show who changed what, newest first. Entries are never changed or deleted.

    Without --tenant, entries of all tenants are listed.
    """
    options = {
        "actor": actor_name,
        "what": what,
        "endpoint": endpoint_id,
        "delivery": delivery_id,
        "since": since,
        "until": until,
        "engine": engine,
    }
    with reporting_options():
        audit_filter = parse_audit_filter(options, limited=False)
    page = run_use_case(
        lambda uses: uses.audit.list_entries(tenant_id, audit_filter, to_page_request(limit, before))
    )
    if json:
        print_page_json(page, schemas.audit.AuditOut.from_record, Prefix.AUDIT)
        return
    now = clock()
    print_page(
        page,
        _COLUMNS,
        lambda record: _format_row(record, now=now),
        Prefix.AUDIT,
        empty_message="No entry matches.",
    )


_COLUMNS = (
    Column("WHEN"),
    Column("WHO"),
    Column("WHAT"),
    Column("OF"),
    Column("WHY", shrinkable=True),
    Column("FROM", optional=True),
    Column("TENANT", optional=True),
    Column("ENTRY", optional=True),
)


def _format_row(record: AuditRecord, *, now: datetime) -> tuple[str, ...]:
    return (
        format_relative_time(record.entry.at, now=now),
        record.entry.actor,
        record.entry.action,
        _format_subject(record),
        record.entry.reason or "",
        record.entry.address or "",
        "" if record.entry.owner is None else format_id(Prefix.TENANT, record.entry.owner),
        format_id(Prefix.AUDIT, record.id),
    )


def _format_subject(record: AuditRecord) -> str:
    """The object of the action."""
    entry = record.entry
    if entry.delivery_id is not None:
        return format_id(Prefix.DELIVERY, entry.delivery_id)
    if entry.endpoint_id is not None:
        return format_id(Prefix.ENDPOINT, entry.endpoint_id)
    subjects = (
        entry.details.get(name)
        for name in ("replay_id", "event_id", "attempt_id", "key_id", "link_id", "name")
    )
    return str(next((name for name in subjects if name), ""))
