"""`waybill tenant`: whose data it is."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AsJson, Limit, TheTenant, examples, id_option
from delivery.cli.screen import Column, print_facts, print_json, say
from delivery.cli.wording import exact, when
from delivery.model import Prefix, TenantId, show_id

app = typer.Typer(name="tenant", help="Tenants: whose data it is.", no_args_is_help=True)


@app.command(epilog=examples('waybill tenant create "Acme Books"'))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Make a tenant, and print its id."""
    made = ask(lambda uses: uses.tenants.create(name, actor=actor()))
    if json:
        print_json(shapes.tenant(made))
        return
    say(show_id(Prefix.TENANT, made.id))


@app.command("list")
def list_tenants(
    limit: Limit = 20,
    before: Annotated[TenantId | None, id_option("--before", Prefix.TENANT, Before)] = None,
    json: AsJson = False,
) -> None:
    """List tenants, newest first."""
    page = ask(lambda uses: uses.tenants.page(cut_of(limit, before)))
    if json:
        print_json(shapes.page([shapes.tenant(one) for one in page.items], Prefix.TENANT, page.last))
        return
    now = clock()
    print_page(
        page,
        [Column("TENANT"), Column("NAME", gives_way=True), Column("MADE")],
        lambda one: (show_id(Prefix.TENANT, one.id), one.name, when(one.created_at, now=now)),
        Prefix.TENANT,
        none="There is no tenant yet; `waybill tenant create NAME` makes one.",
    )


@app.command()
def show(tenant: TheTenant, json: AsJson = False) -> None:
    """Show a tenant."""
    one = ask(lambda uses: uses.tenants.read(tenant))
    if json:
        print_json(shapes.tenant(one))
        return
    print_facts(
        [("name", one.name), ("made", exact(one.created_at))],
        title=f"Tenant {show_id(Prefix.TENANT, one.id)}",
    )
