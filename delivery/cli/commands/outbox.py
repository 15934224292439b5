"""`waybill outbox`: from an application's own outbox to Waybill."""

import signal
import time
from datetime import timedelta
from types import FrameType
from typing import Annotated, NoReturn

import structlog
import typer

from delivery.cli.options.common import JsonOption, LimitOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import Column, print_facts, print_json, print_note, print_table, print_text
from delivery.cli.runtime import UsageError
from delivery.client import Client
from delivery.config import read_settings
from delivery.domain.durations import format_utc
from delivery.outbox.forward import LEASE, RETRIES, Forwarder
from delivery.outbox.rows import OutboxStore, RefusedRow, open_database
from delivery.outbox.table import DEFAULT_TABLE_NAME, render_ddl
from delivery.telemetry.logs import configure_logging

log = structlog.get_logger()

app = typer.Typer(
    name="outbox", help="An application's outbox: events in its own database.", no_args_is_help=True
)

DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="WAYBILL_OUTBOX_DATABASE",
        help="The application's PostgreSQL.",
        show_default=False,
    ),
]
TableOption = Annotated[str, typer.Option("--table", metavar="NAME", help="Its table.")]
RowIdsArgument = Annotated[list[int] | None, typer.Argument(metavar="ID...", show_default=False, hidden=True)]


@app.command(
    epilog=format_examples(
        "export WAYBILL_OUTBOX_DATABASE=postgresql://shop:…@db/shop WAYBILL_KEY=wbk_…",
        "waybill outbox forward --url https://waybill.example",
    )
)
def forward(
    database: DatabaseOption,
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
    table: TableOption = DEFAULT_TABLE_NAME,
    lease_seconds: Annotated[
        float, typer.Option(min=1, max=3_600, metavar="SECONDS", help="After which another takes over.")
    ] = LEASE.total_seconds(),
) -> None:
    """Carry events from the outbox to Waybill, until SIGTERM or Ctrl-C.

    Each is one event there, whatever is killed. Run one or several of them.
    """
    configure_logging(read_settings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_interrupt)
    rows = OutboxStore(open_database(database), table)
    with Client(url, key, retries=RETRIES) as client:
        forwarder = Forwarder(
            rows,
            client,
            lease=timedelta(seconds=lease_seconds),
            sleep=lambda pause: time.sleep(pause.total_seconds()),
        )
        log.info("outbox.ready", table=table)
        try:
            forwarder.run()
        except KeyboardInterrupt:
            log.info("outbox.stopped")


@app.command("list")
def list_refused(
    database: DatabaseOption,
    table: TableOption = DEFAULT_TABLE_NAME,
    limit: LimitOption = 20,
    after: Annotated[int, typer.Option(min=0, metavar="ID", help="Go on after this one.")] = 0,
    json: JsonOption = False,
) -> None:
    """Tell how many events wait, and list those that Waybill has refused, oldest first."""
    rows = OutboxStore(open_database(database), table)
    standing = rows.read_status()
    refused = rows.list_refused(limit=limit, after=after)
    if json:
        print_json(
            {
                "waiting": standing.waiting,
                "on_their_way": standing.in_flight,
                "refused": standing.refused,
                "oldest_waiting_since": standing.oldest_created_at,
                "items": [_row_document(one) for one in refused],
            }
        )
        return
    print_facts(
        [
            ("waiting", f"{standing.waiting:,}"),
            ("on their way", f"{standing.in_flight:,}"),
            ("refused", f"{standing.refused:,}"),
            (
                "oldest",
                "" if standing.oldest_created_at is None else f"of {format_utc(standing.oldest_created_at)}",
            ),
        ]
    )
    if refused:
        print_table(
            [
                Column("ID", numeric=True),
                Column("TYPE"),
                Column("WRITTEN", optional=True),
                Column("WHY", shrinkable=True),
            ],
            [(str(one.id), one.type, format_utc(one.created_at), one.reason) for one in refused],
            empty_message="",
        )
    if len(refused) == limit:
        print_note(f"There may be more: --after {refused[-1].id}")


@app.command(epilog=format_examples("waybill outbox retry 1042", "waybill outbox retry --all"))
def retry(
    database: DatabaseOption,
    ids: RowIdsArgument = None,
    retry_all: Annotated[bool, typer.Option("--all", help="All that were refused.")] = False,
    table: TableOption = DEFAULT_TABLE_NAME,
) -> None:
    """Send refused events again: `retry ID…`, or all of them."""
    if bool(ids) == retry_all:
        raise UsageError("Name the rows to send again, or --all.")
    print_text(
        f"{OutboxStore(open_database(database), table).retry_refused(ids or []):,} will be sent again."
    )


@app.command(epilog=format_examples("waybill outbox discard 1042"))
def discard(
    database: DatabaseOption, ids: RowIdsArgument = None, table: TableOption = DEFAULT_TABLE_NAME
) -> None:
    """Delete refused events: `discard ID…`. They are not sent."""
    if not ids:
        raise UsageError("Name the rows to delete.")
    print_text(f"{OutboxStore(open_database(database), table).discard_refused(ids):,} are deleted.")


@app.command()
def sql(table: TableOption = DEFAULT_TABLE_NAME) -> None:
    """Print the SQL that makes the table, for who writes migrations by hand."""
    print(render_ddl(table), end="")


def _row_document(row: RefusedRow) -> dict[str, object]:
    return {
        "id": row.id,
        "type": row.type,
        "stream": row.stream,
        "created_at": row.created_at,
        "refused_at": row.refused_at,
        "reason": row.reason,
    }


def _raise_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # Wherever it is: what was sent and not forgotten is sent again under the same key.
    raise KeyboardInterrupt
