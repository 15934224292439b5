"""`waybill audit`: who changed what, when, from where and why."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from delivery.audit import Audited, AuditSelection
from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import ask
from delivery.cli.listing import Before, cut_of, print_page
from delivery.cli.options import AnyTenant, AsJson, Limit, Since, Until, examples, id_option
from delivery.cli.screen import Column, print_json
from delivery.filters import check_pattern
from delivery.model import DeliveryId, EndpointId, Prefix, show_id
from delivery.wording import when

EXAMPLES = examples(
    "waybill audit --tenant ten_… --since 2d", "waybill audit --what 'endpoint.*' --actor operator --json"
)


def read_pattern(text: str) -> str:
    """Read `*`, `noun.verb` or `noun.*`."""
    try:
        return check_pattern(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def list_audit(  # noqa: PLR0913, PLR0917  one for each option
    tenant: AnyTenant = None,
    who: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Only by this one.")] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            parser=read_pattern, metavar="PATTERN", help="Only what is like this: endpoint.*; repeatable."
        ),
    ] = None,
    endpoint: Annotated[
        EndpointId | None, id_option("--endpoint", Prefix.ENDPOINT, "Only of this endpoint.")
    ] = None,
    delivery: Annotated[
        DeliveryId | None, id_option("--delivery", Prefix.DELIVERY, "Only of this delivery.")
    ] = None,
    since: Since = None,
    until: Until = None,
    engine: Annotated[
        bool, typer.Option("--engine", metavar="", help="Also what the engine did by itself.")
    ] = False,
    limit: Limit = 20,
    before: Annotated[UUID | None, id_option("--before", Prefix.AUDIT, Before)] = None,
    json: AsJson = False,
) -> None:
    """Tell who changed what, newest first. Nothing takes an entry away again.

    Without --tenant: of all tenants.
    """
    wanted = AuditSelection(who, tuple(what or ()), endpoint, delivery, since, until, engine)
    page = ask(lambda uses: uses.audit.page(tenant, wanted, cut_of(limit, before)))
    if json:
        print_json(shapes.page([shapes.audited(one) for one in page.items], Prefix.AUDIT, page.last))
        return
    now = clock()
    print_page(
        page,
        _COLUMNS,
        lambda one: _row(one, now=now),
        Prefix.AUDIT,
        none="Nobody has done anything like that.",
    )


_COLUMNS = (
    Column("WHEN"),
    Column("WHO"),
    Column("WHAT"),
    Column("OF"),
    Column("WHY", gives_way=True),
    Column("FROM", extra=True),
    Column("TENANT", extra=True),
    Column("ENTRY", extra=True),
)


def _row(one: Audited, *, now: datetime) -> tuple[str, ...]:
    return (
        when(one.entry.at, now=now),
        one.entry.actor,
        one.entry.what,
        _subject(one),
        one.entry.reason or "",
        one.entry.address or "",
        "" if one.entry.whose is None else show_id(Prefix.TENANT, one.entry.whose),
        show_id(Prefix.AUDIT, one.id),
    )


def _subject(one: Audited) -> str:
    """What it was done to."""
    entry = one.entry
    if entry.delivery_id is not None:
        return show_id(Prefix.DELIVERY, entry.delivery_id)
    if entry.endpoint_id is not None:
        return show_id(Prefix.ENDPOINT, entry.endpoint_id)
    named = (
        entry.details.get(name)
        for name in ("replay_id", "event_id", "attempt_id", "key_id", "link_id", "name")
    )
    return str(next((name for name in named if name), ""))
