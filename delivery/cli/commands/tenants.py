"""`waybill tenant`: create, list and change tenants."""

from typing import Annotated

import typer

from delivery import schemas
from delivery.cli.options.common import (
    JsonOption,
    LimitOption,
    ReasonOption,
    TenantArgument,
    id_option,
)
from delivery.cli.options.examples import format_examples
from delivery.cli.output.pages import BEFORE_HELP, print_page, print_page_json, to_page_request
from delivery.cli.output.table import Column, print_facts, print_json, print_text
from delivery.cli.runtime import get_actor, run_use_case
from delivery.clock import clock
from delivery.domain.durations import format_utc
from delivery.domain.ids import Prefix, TenantId, format_id
from delivery.domain.retention import TENANT_CONFIGURABLE
from delivery.domain.tenant import Tenant
from delivery.services.presentation import format_relative_time
from delivery.services.tenants import TenantChanges

app = typer.Typer(name="tenant", help="Tenants.", no_args_is_help=True)


_KEEP_HELP = (
    f"Retention period of {', '.join(TENANT_CONFIGURABLE[:-1])} or {TENANT_CONFIGURABLE[-1]} in days, at "
    "most the operator's; `default`: the operator's. Repeatable."
)


@app.command(epilog=format_examples('waybill tenant create "Acme Books"'))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the tenant.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Create a tenant, and print its id."""
    tenant = run_use_case(lambda uses: uses.tenants.create(name, actor=get_actor()))
    if json:
        print_json(schemas.tenants.TenantOut.from_record(tenant))
        return
    print_text(format_id(Prefix.TENANT, tenant.id))


@app.command("list")
def list_tenants(
    limit: LimitOption = 20,
    before: Annotated[TenantId | None, id_option("--before", Prefix.TENANT, BEFORE_HELP)] = None,
    json: JsonOption = False,
) -> None:
    """List tenants, newest first."""
    page = run_use_case(lambda uses: uses.tenants.list_tenants(to_page_request(limit, before)))
    if json:
        print_page_json(page, schemas.tenants.TenantOut.from_record, Prefix.TENANT)
        return
    now = clock()
    print_page(
        page,
        [Column("TENANT"), Column("NAME", shrinkable=True), Column("MADE")],
        lambda tenant: (
            format_id(Prefix.TENANT, tenant.id),
            tenant.name,
            format_relative_time(tenant.created_at, now=now),
        ),
        Prefix.TENANT,
        empty_message="There is no tenant yet; `waybill tenant create NAME` creates one.",
    )


@app.command(
    epilog=format_examples(
        "waybill tenant change ten_… --keep payload=7 --keep attempts=30 --reason 'their contract'",
        "waybill tenant change ten_… --keep-default",
    )
)
def change(
    tenant_id: TenantArgument,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A new name.")] = None,
    keep: Annotated[list[str] | None, typer.Option("--keep", metavar="CONTENT=DAYS", help=_KEEP_HELP)] = None,
    default: Annotated[
        bool, typer.Option("--keep-default", help="Use the operator's retention periods.")
    ] = False,
    reason: ReasonOption = None,
    json: JsonOption = False,
) -> None:
    """Change a tenant's name or its retention periods."""
    retention = dict(map(_parse_retention, keep or ()))
    if default and retention:
        raise typer.BadParameter("--keep-default and --keep exclude each other.")
    changes = TenantChanges()
    if name is not None:
        changes["name"] = name
    if default or retention:
        changes["retention"] = None if default else retention
    tenant = run_use_case(
        lambda uses: uses.tenants.change(tenant_id, changes, reason=reason, actor=get_actor())
    )
    if json:
        print_json(schemas.tenants.TenantOut.from_record(tenant))
        return
    _print_tenant(tenant)


@app.command()
def show(tenant_id: TenantArgument, json: JsonOption = False) -> None:
    """Show a tenant."""
    tenant = run_use_case(lambda uses: uses.tenants.read(tenant_id))
    if json:
        print_json(schemas.tenants.TenantOut.from_record(tenant))
        return
    _print_tenant(tenant)


def _parse_retention(text: str) -> tuple[str, int | None]:
    content, _, days = text.partition("=")
    if days != "default" and not days.isdecimal():
        raise typer.BadParameter(f"{text!r} is not of the form payload=7, nor payload=default.")
    return content, None if days == "default" else int(days)


def _print_tenant(tenant: Tenant) -> None:
    kept = [(f"keeps {content}", f"{days} days") for content, days in tenant.retention.items()]
    print_facts(
        [("name", tenant.name), ("made", format_utc(tenant.created_at)), *kept],
        title=f"Tenant {format_id(Prefix.TENANT, tenant.id)}",
    )
