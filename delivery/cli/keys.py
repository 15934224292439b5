"""`waybill key`: what a tenant's producers authenticate with."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AsJson, Limit, Tenant, TheKey, Why, examples, id_option
from delivery.cli.screen import Column, note, print_json, say
from delivery.model import KeyId, Prefix, show_id
from delivery.wording import when

app = typer.Typer(name="key", help="API keys: what a tenant's producers send.", no_args_is_help=True)


@app.command(epilog=examples('waybill key create --tenant ten_… "order service"'))
def create(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")] = "default",
    json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is stored."""
    made, text = ask(lambda uses: uses.tenants.create_key(tenant, name, actor=actor()))
    if json:
        print_json(shapes.key(made, key=text))
        return
    say(text)
    note(f"This is the key {show_id(Prefix.KEY, made.id)}. Keep it now: it will not be shown again.")


@app.command("list")
def list_keys(
    tenant: Tenant,
    limit: Limit = 20,
    before: Annotated[KeyId | None, id_option("--before", Prefix.KEY, Before)] = None,
    json: AsJson = False,
) -> None:
    """List a tenant's keys, newest first, revoked ones too."""
    page = ask(lambda uses: uses.tenants.keys(tenant, cut_of(limit, before)))
    if json:
        print_json(shapes.page([shapes.key(one) for one in page.items], Prefix.KEY, page.last))
        return
    now = clock()
    print_page(
        page,
        [
            Column("KEY"),
            Column("NAME", gives_way=True),
            Column("BEGINS WITH"),
            Column("MADE", extra=True),
            Column("REVOKED"),
        ],
        lambda one: (
            show_id(Prefix.KEY, one.id),
            one.name,
            one.hint,
            when(one.created_at, now=now),
            "" if one.revoked_at is None else when(one.revoked_at, now=now),
        ),
        Prefix.KEY,
        none="This tenant has no key yet; `waybill key create --tenant …` makes one.",
    )


@app.command()
def revoke(tenant: Tenant, key: TheKey, reason: Why = None, json: AsJson = False) -> None:
    """Revoke a key: every process refuses it within five seconds."""
    ask(lambda uses: uses.tenants.revoke_key(tenant, key, reason=reason, actor=actor()))
    shown = show_id(Prefix.KEY, key)
    if json:
        print_json({"id": shown, "revoked": True})
        return
    say(f"{shown} is revoked.")
