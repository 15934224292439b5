"""`waybill outbox`: from an application's own outbox to Waybill."""

import signal
import time
from datetime import timedelta
from types import FrameType
from typing import Annotated, NoReturn

import structlog
import typer

from delivery.cli.door import WrongUsage
from delivery.cli.options import AsJson, Limit, examples
from delivery.cli.screen import Column, note, print_facts, print_json, print_table, say
from delivery.client import Client
from delivery.config import read_settings
from delivery.logs import set_up_logs
from delivery.moments import exact
from delivery.outbox.forward import LEASE, RETRIES, Forwarder
from delivery.outbox.rows import Rows, SetAside, open_database
from delivery.outbox.table import DEFAULT_NAME, ddl

log = structlog.get_logger()

app = typer.Typer(
    name="outbox", help="An application's outbox: events in its own database.", no_args_is_help=True
)

Database = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="WAYBILL_OUTBOX_DATABASE",
        help="The application's PostgreSQL.",
        show_default=False,
    ),
]
TableName = Annotated[str, typer.Option("--table", metavar="NAME", help="Its table.")]
Named = Annotated[list[int] | None, typer.Argument(metavar="ID...", show_default=False, hidden=True)]


@app.command(
    epilog=examples(
        "export WAYBILL_OUTBOX_DATABASE=postgresql://shop:…@db/shop WAYBILL_KEY=wbk_…",
        "waybill outbox forward --url https://waybill.example",
    )
)
def forward(
    database: Database,
    url: Annotated[
        str,
        typer.Option("--url", metavar="URL", envvar="WAYBILL_URL", help="Waybill's.", show_default=False),
    ],
    key: Annotated[
        str,
        typer.Option(
            "--key",
            metavar="wbk_…",
            envvar="WAYBILL_KEY",
            help="A key that may publish. Better in the environment: all see a command's words.",
            show_default=False,
        ),
    ],
    table: TableName = DEFAULT_NAME,
    lease_seconds: Annotated[
        float, typer.Option(min=1, max=3_600, metavar="SECONDS", help="After which another takes over.")
    ] = LEASE.total_seconds(),
) -> None:
    """Carry events from the outbox to Waybill, until SIGTERM or Ctrl-C.

    Each is one event there, whatever is killed. Run one or several of them.
    """
    set_up_logs(read_settings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    rows = Rows(open_database(database), table)
    with Client(url, key, retries=RETRIES) as client:
        forwarder = Forwarder(
            rows,
            client,
            lease=timedelta(seconds=lease_seconds),
            wait=lambda pause: time.sleep(pause.total_seconds()),
        )
        log.info("outbox.ready", table=table)
        try:
            forwarder.run()
        except KeyboardInterrupt:
            log.info("outbox.stopped")


@app.command("list")
def list_refused(
    database: Database,
    table: TableName = DEFAULT_NAME,
    limit: Limit = 20,
    after: Annotated[int, typer.Option(min=0, metavar="ID", help="Go on after this one.")] = 0,
    json: AsJson = False,
) -> None:
    """Tell how many events wait, and list those that Waybill has refused, oldest first."""
    rows = Rows(open_database(database), table)
    standing = rows.standing()
    refused = rows.refused(limit=limit, after=after)
    if json:
        print_json(
            {
                "waiting": standing.waiting,
                "on_their_way": standing.on_their_way,
                "refused": standing.refused,
                "oldest_waiting_since": standing.oldest,
                "items": [_shown(one) for one in refused],
            }
        )
        return
    print_facts(
        [
            ("waiting", f"{standing.waiting:,}"),
            ("on their way", f"{standing.on_their_way:,}"),
            ("refused", f"{standing.refused:,}"),
            ("oldest", "" if standing.oldest is None else f"of {exact(standing.oldest)}"),
        ]
    )
    if refused:
        print_table(
            [
                Column("ID", number=True),
                Column("TYPE"),
                Column("WRITTEN", extra=True),
                Column("WHY", gives_way=True),
            ],
            [(str(one.id), one.type, exact(one.created_at), one.reason) for one in refused],
            none="",
        )
    if len(refused) == limit:
        note(f"There may be more: --after {refused[-1].id}")


@app.command(epilog=examples("waybill outbox retry 1042", "waybill outbox retry --all"))
def retry(
    database: Database,
    ids: Named = None,
    every: Annotated[bool, typer.Option("--all", help="All that were refused.")] = False,
    table: TableName = DEFAULT_NAME,
) -> None:
    """Send refused events again: `retry ID…`, or all of them."""
    if bool(ids) == every:
        raise WrongUsage("Name the rows to send again, or --all.")
    say(f"{Rows(open_database(database), table).retry(ids or []):,} will be sent again.")


@app.command(epilog=examples("waybill outbox discard 1042"))
def discard(database: Database, ids: Named = None, table: TableName = DEFAULT_NAME) -> None:
    """Delete refused events: `discard ID…`. They are not sent."""
    if not ids:
        raise WrongUsage("Name the rows to delete.")
    say(f"{Rows(open_database(database), table).discard(ids):,} are deleted.")


@app.command()
def sql(table: TableName = DEFAULT_NAME) -> None:
    """Print the SQL that makes the table, for who writes migrations by hand."""
    print(ddl(table), end="")


def _shown(one: SetAside) -> dict[str, object]:
    return {
        "id": one.id,
        "type": one.type,
        "stream": one.stream,
        "created_at": one.created_at,
        "refused_at": one.refused_at,
        "reason": one.reason,
    }


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # Wherever it is: what was sent and not forgotten is sent again under the same key.
    raise KeyboardInterrupt
