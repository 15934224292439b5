"""`waybill key`: what a tenant's producers authenticate with."""

from datetime import timedelta
from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import (
    AsJson,
    End,
    Limit,
    Tenant,
    TheKey,
    Why,
    examples,
    id_option,
    read_end,
)
from delivery.cli.screen import Column, note, print_json, say
from delivery.keys import MOST_REQUESTS, MadeKey, NewKey
from delivery.model import ApiKey, KeyId, Prefix, show_id
from delivery.moments import exact
from delivery.scopes import OF_TENANTS, Scope, in_order
from delivery.wording import when

app = typer.Typer(name="key", help="API keys: what a tenant's producers send.", no_args_is_help=True)


@app.command(
    epilog=examples(
        'waybill key create --tenant ten_… "order service"',
        "waybill key create --tenant ten_… shop --scope publish --expires 90d",
    )
)
def create(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")] = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it may do: publish, manage, read, replay. Repeatable. None: all.",
        ),
    ] = None,
    expires: Annotated[
        End | None,
        typer.Option(parser=read_end, metavar="WHEN", help="Until when: 12h, 90d or a moment."),
    ] = None,
    requests_per_second: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_REQUESTS, metavar="COUNT", help="How often it may ask."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is stored."""
    new = NewKey(
        name,
        scopes=scope or OF_TENANTS,
        expires_at=None if expires is None else expires.at,
        lasts=None if expires is None else expires.after,
        requests_per_second=requests_per_second,
    )
    _tell(ask(lambda uses: uses.keys.create(tenant, new, actor=actor())), json=json)


@app.command("list")
def list_keys(
    tenant: Tenant,
    limit: Limit = 20,
    before: Annotated[KeyId | None, id_option("--before", Prefix.KEY, Before)] = None,
    json: AsJson = False,
) -> None:
    """List a tenant's keys, newest first, revoked and expired ones too."""
    page = ask(lambda uses: uses.keys.page(tenant, cut_of(limit, before)))
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
            Column("MAY"),
            Column("MADE", extra=True),
            Column("LAST USED"),
            Column("ENDS"),
        ],
        lambda one: (
            show_id(Prefix.KEY, one.id),
            one.name,
            one.hint,
            _may(one),
            when(one.created_at, now=now),
            "never" if one.last_used_at is None else when(one.last_used_at, now=now),
            _ends(one),
        ),
        Prefix.KEY,
        none="This tenant has no key yet; `waybill key create --tenant …` makes one.",
    )


@app.command(epilog=examples("waybill key rotate --tenant ten_… key_… --overlap-hours 48"))
def rotate(
    tenant: Tenant,
    key: TheKey,
    overlap_hours: Annotated[
        float | None,
        typer.Option(min=0, max=720, metavar="HOURS", help="How long the old one goes on."),
    ] = None,
    reason: Why = None,
    json: AsJson = False,
) -> None:
    """Make a key that takes this one's place, and print it, once.

    It has the same name, scopes and lifetime. The old one goes on for a while, then expires.
    """
    overlap = None if overlap_hours is None else timedelta(hours=overlap_hours)
    made = ask(lambda uses: uses.keys.rotate(tenant, key, overlap=overlap, reason=reason, actor=actor()))
    _tell(made, json=json)


@app.command()
def revoke(tenant: Tenant, key: TheKey, reason: Why = None, json: AsJson = False) -> None:
    """Revoke a key: every process refuses it within five seconds."""
    ask(lambda uses: uses.keys.revoke(tenant, key, reason=reason, actor=actor()))
    shown = show_id(Prefix.KEY, key)
    if json:
        print_json({"id": shown, "revoked": True})
        return
    say(f"{shown} is revoked.")


def _tell(made: MadeKey, *, json: bool) -> None:
    if json:
        print_json(shapes.key(made.kept, key=made.text))
        return
    say(made.text)
    note(f"This is the key {show_id(Prefix.KEY, made.kept.id)}. Keep it now: it will not be shown again.")
    if made.kept.expires_at is not None:
        note(f"It expires at {exact(made.kept.expires_at)}.")
    if made.before is not None and made.before.expires_at is not None:
        note(f"The old one goes on until {exact(made.before.expires_at)}.")


def _may(key: ApiKey) -> str:
    return "all" if key.scopes == frozenset(OF_TENANTS) else ",".join(in_order(key.scopes))


def _ends(key: ApiKey) -> str:
    now = clock()
    if key.revoked_at is not None:
        return f"revoked {when(key.revoked_at, now=now)}"
    return "" if key.expires_at is None else when(key.expires_at, now=now)
