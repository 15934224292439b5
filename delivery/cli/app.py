"""Every command under its name."""

from importlib.metadata import version
from typing import Annotated

import typer

from delivery.cli import (
    audit,
    deliveries,
    doctor,
    endpoints,
    event_types,
    events,
    exports,
    ingest,
    keys,
    listen,
    outbox,
    people,
    portal_links,
    processes,
    replays,
    secrets,
    tenants,
    upkeep,
)
from delivery.cli.demo.command import demo
from delivery.cli.options import examples

# Plain help and one-line errors: they read the same in a terminal, a log and a pipe.
app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)

for group in (tenants, keys, endpoints, events, event_types, deliveries):
    app.add_typer(group.app)
app.add_typer(deliveries.attempts)
app.add_typer(replays.app)
app.add_typer(exports.app)
app.add_typer(people.app)
app.command("portal-link", epilog=portal_links.EXAMPLES)(portal_links.portal_link)
app.add_typer(outbox.app)
app.add_typer(ingest.app)
app.add_typer(processes.app)
app.command("audit", epilog=audit.EXAMPLES)(audit.list_audit)
app.command("dev")(processes.dev)
app.command("demo")(demo)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("listen", epilog=listen.EXAMPLES)(listen.listen)
app.add_typer(upkeep.database)
app.add_typer(secrets.app)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"waybill {version('waybill')}")
        raise typer.Exit


@app.callback(
    epilog=examples(
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
            "--version", metavar="", callback=_tell_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Waybill: webhooks that arrive.

    Commands work on the ledger of WAYBILL_DATABASE_URL or, where that is not set, on the engine that
    `make up` (`waybill dev`) runs in this folder.

    Exit codes: 0 done, 1 refused, 2 usage or settings, 3 the ledger does not answer.
    """
