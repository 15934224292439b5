"""Every command under its name."""

from importlib.metadata import version
from typing import Annotated

import typer

from delivery.cli.commands import (
    api_keys,
    audit,
    database,
    dead_letters,
    deliveries,
    endpoints,
    event_types,
    events,
    exports,
    listen,
    outbox,
    portal_links,
    replays,
    secrets,
    tenants,
    users,
)
from delivery.cli.commands.demo.command import demo
from delivery.cli.options.common import format_examples

# Plain help and one-line errors: they read the same in a terminal, a log and a pipe.
app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)

for group in (tenants, api_keys, endpoints, events, event_types, deliveries):
    app.add_typer(group.app)
app.add_typer(deliveries.attempts_app)
app.add_typer(replays.app)
app.add_typer(exports.app)
app.add_typer(users.app)
app.command("portal-link", epilog=portal_links.EXAMPLES)(portal_links.portal_link)
app.add_typer(outbox.app)
app.add_typer(dead_letters.app)
app.command("audit", epilog=audit.EXAMPLES)(audit.list_audit)
app.command("demo")(demo)
app.command("listen", epilog=listen.EXAMPLES)(listen.listen)
app.add_typer(database.app)
app.add_typer(secrets.app)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"waybill {version('waybill')}")
        raise typer.Exit


@app.callback(
    epilog=format_examples(
        'waybill tenant create "Acme Books"',
        "export WAYBILL_TENANT=ten_…",
        "waybill endpoint create https://shop.example/hooks",
        """waybill event send --type order.created --data '{"order": 1042}'""",
        "waybill delivery list",
    )
)
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Waybill: webhooks that arrive.

    Commands work on the ledger of WAYBILL_DATABASE_URL or, where that is not set, on the engine that
    `make up` (`waybill dev`) runs in this folder.

    Exit codes: 0 done, 1 refused, 2 usage or settings, 3 the ledger does not answer.
    """
