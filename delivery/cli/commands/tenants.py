"""`waybill tenant`: whose data it is."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AsJson, Limit, TheTenant, Why, examples, id_option
from delivery.cli.screen import Column, print_facts, print_json, say
from delivery.model import Prefix, Tenant, TenantId, show_id
from delivery.retention import TENANTS_OWN
from delivery.tenants import TenantChanges
from delivery.wording import exact, when

app = typer.Typer(name="tenant", help="Tenants: whose data it is.", no_args_is_help=True)


_KEEP = (
    f"Keep its {', '.join(TENANTS_OWN[:-1])} or {TENANTS_OWN[-1]} for so many days, fewer than the operator; "
    "`default`: as long as the operator. May be repeated."
)


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


@app.command(
    epilog=examples(
        "waybill tenant change ten_… --keep payload=7 --keep attempts=30 --reason 'their contract'",
        "waybill tenant change ten_… --keep-default",
    )
)
def change(
    tenant: TheTenant,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call it so.")] = None,
    keep: Annotated[list[str] | None, typer.Option("--keep", metavar="CONTENT=DAYS", help=_KEEP)] = None,
    default: Annotated[bool, typer.Option("--keep-default", help="Keep all as the operator says.")] = False,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Change what a tenant is called, or for how many days its content is kept."""
    named = dict(map(_term, keep or ()))
    if default and named:
        raise typer.BadParameter("--keep-default goes with no other term.")
    changes = TenantChanges()
    if name is not None:
        changes["name"] = name
    if default or named:
        changes["retention"] = None if default else named
    changed = ask(lambda uses: uses.tenants.change(tenant, changes, reason=reason, actor=actor()))
    if json:
        print_json(shapes.tenant(changed))
        return
    _print(changed)


@app.command()
def show(tenant: TheTenant, json: AsJson = False) -> None:
    """Show a tenant."""
    one = ask(lambda uses: uses.tenants.read(tenant))
    if json:
        print_json(shapes.tenant(one))
        return
    _print(one)


def _term(text: str) -> tuple[str, int | None]:
    content, _, days = text.partition("=")
    if days != "default" and not days.isdecimal():
        raise typer.BadParameter(f"{text!r} is not of the form payload=7, nor payload=default.")
    return content, None if days == "default" else int(days)


def _print(one: Tenant) -> None:
    kept = [(f"keeps {content}", f"{days} days") for content, days in one.retention.items()]
    print_facts(
        [("name", one.name), ("made", exact(one.created_at)), *kept],
        title=f"Tenant {show_id(Prefix.TENANT, one.id)}",
    )
