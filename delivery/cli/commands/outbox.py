"""`waybill outbox`: sends the events of an application's outbox to Waybill."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Annotated, NoReturn

import typer

from delivery import schemas
from delivery.cli.options.common import JsonOption, LimitOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import Column, print_facts, print_json, print_note, print_table, print_text
from delivery.cli.runtime import UsageError
from delivery.config import read_settings
from delivery.domain.durations import format_utc
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.log import get_logger
from delivery.telemetry.logs import configure_logging

try:
    from waybill_client import Client
    from waybill_client.outbox.errors import OutboxMisconfigured, OutboxUnavailable
    from waybill_client.outbox.forwarder import LEASE, RETRIES, Forwarder
    from waybill_client.outbox.store import OutboxStore, open_database
    from waybill_client.outbox.table import DEFAULT_TABLE_NAME, render_ddl
except ModuleNotFoundError as error:
    raise Misconfigured(
        f"`waybill outbox` needs waybill-client: pip install 'waybill-client[outbox]' ({error})."
    ) from None

log = get_logger()

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
TableOption = Annotated[str, typer.Option("--table", metavar="NAME", help="The outbox table.")]
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
            help="A key with the scope publish. Better in the environment: other users see arguments.",
            show_default=False,
        ),
    ],
    table: TableOption = DEFAULT_TABLE_NAME,
    lease_seconds: Annotated[
        float,
        typer.Option(min=1, max=3_600, metavar="SECONDS", help="When another forwarder takes over a batch."),
    ] = LEASE.total_seconds(),
) -> None:
    """Send events from the outbox to Waybill, until SIGTERM or Ctrl-C.

    Each row is one event there, whatever is killed. Run any number of forwarders.
    """
    configure_logging(read_settings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_interrupt)
    with _open_outbox(database, table) as outbox, Client(url, key, retries=RETRIES) as client:
        forwarder = Forwarder(
            outbox,
            client,
            lease=timedelta(seconds=lease_seconds),
            sleep=lambda pause: time.sleep(pause.total_seconds()),
            log=log,
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
    after: Annotated[int, typer.Option(min=0, metavar="ID", help="Continue after this one.")] = 0,
    json: JsonOption = False,
) -> None:
    """Count the events by state, and list those that Waybill has refused, oldest first."""
    with _open_outbox(database, table) as outbox:
        status = outbox.read_status()
        refused = outbox.list_refused(limit=limit, after=after)
    if json:
        print_json(schemas.outbox.OutboxOut.from_record(status, refused))
        return
    print_facts(
        [
            ("waiting", f"{status.waiting:,}"),
            ("on their way", f"{status.in_flight:,}"),
            ("refused", f"{status.refused:,}"),
            ("oldest", f"of {format_utc(status.oldest_created_at)}" if status.oldest_created_at else ""),
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
            [(str(row.id), row.type, format_utc(row.created_at), row.reason) for row in refused],
            empty_message="",
        )
    if len(refused) == limit:
        print_note(f"There may be more: --after {refused[-1].id}")


@app.command(epilog=format_examples("waybill outbox retry 1042", "waybill outbox retry --all"))
def retry(
    database: DatabaseOption,
    ids: RowIdsArgument = None,
    retry_all: Annotated[bool, typer.Option("--all", help="All refused events.")] = False,
    table: TableOption = DEFAULT_TABLE_NAME,
) -> None:
    """Send refused events again: `retry ID…`, or all of them."""
    if bool(ids) == retry_all:
        raise UsageError("Name the rows to send again, or --all.")
    with _open_outbox(database, table) as outbox:
        print_text(f"{outbox.retry_refused(ids or []):,} will be sent again.")


@app.command(epilog=format_examples("waybill outbox discard 1042"))
def discard(
    database: DatabaseOption, ids: RowIdsArgument = None, table: TableOption = DEFAULT_TABLE_NAME
) -> None:
    """Delete refused events: `discard ID…`. They are not sent."""
    if not ids:
        raise UsageError("Name the rows to delete.")
    with _open_outbox(database, table) as outbox:
        print_text(f"{outbox.discard_refused(ids):,} are deleted.")


@app.command()
def sql(table: TableOption = DEFAULT_TABLE_NAME) -> None:
    """Print the SQL that creates the table, for migrations written by hand."""
    print(render_ddl(table), end="")


@contextmanager
def _open_outbox(database: str, table: str) -> Iterator[OutboxStore]:
    """Open an outbox, and raise its errors as those of the engine, for the exit code."""
    try:
        yield OutboxStore(open_database(database), table)
    except OutboxMisconfigured as error:
        raise Misconfigured(str(error)) from None
    except OutboxUnavailable as error:
        raise Unavailable(str(error)) from error


def _raise_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # At any point: a batch that was sent and not yet deleted is sent again under the same key.
    raise KeyboardInterrupt
