"""`waybill export`: the deliveries that match a filter, or their attempts, as a file."""

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from delivery import schemas
from delivery.bootstrap import Services
from delivery.cli.options.common import AnyTenantOption, JsonOption
from delivery.cli.options.delivery_filter import with_filter_options
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import make_console, print_json, print_note
from delivery.cli.runtime import UsageError, run_use_case
from delivery.domain.delivery_filter import DeliveryFilter, require_bounded_filter
from delivery.domain.sanitize import escape_control_chars
from delivery.services.exports.rows import ExportFormat

ExportStream = AsyncGenerator[tuple[int, bytes], None]

app = typer.Typer(name="export", help="Exports: search results as a file.", no_args_is_help=True)

ExportFormatOption = Annotated[
    ExportFormat,
    typer.Option("--format", help="A JSON document a line, or CSV with a header.", metavar="FORMAT"),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", dir_okay=False, metavar="FILE", help="The file to write. Default: standard output."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", metavar="", help="Allow it without any filter.")]
_DEFAULT_FILE_MODE = 0o666


@app.command(
    "deliveries",
    epilog=format_examples(
        "waybill export deliveries --tenant ten_… --status failed --format csv -o failed.csv",
        "waybill export deliveries --tenant ten_… --since 1d | jq .endpoint_id",
    ),
)
@with_filter_options
def export_deliveries(
    selection: DeliveryFilter,
    tenant_id: AnyTenantOption = None,
    export_format: ExportFormatOption = ExportFormat.JSONL,
    output: OutputOption = None,
    everything: AllOption = False,
    json: JsonOption = False,
) -> None:
    """Export deliveries that match every filter, oldest first."""
    require_bounded_filter(selection, allow_unbounded=everything, is_operator=True)
    _write_export(
        lambda uses: uses.exports.export_deliveries(tenant_id, selection, export_format), output, json
    )


@app.command(
    "attempts",
    epilog=format_examples(
        "waybill export attempts --tenant ten_… --endpoint ep_… --since 7d -o attempts.jsonl"
    ),
)
@with_filter_options
def export_attempts(
    selection: DeliveryFilter,
    tenant_id: AnyTenantOption = None,
    export_format: ExportFormatOption = ExportFormat.JSONL,
    output: OutputOption = None,
    everything: AllOption = False,
    json: JsonOption = False,
) -> None:
    """Export the attempts of deliveries that match every filter, without bodies."""
    require_bounded_filter(selection, allow_unbounded=everything, is_operator=True)
    _write_export(
        lambda uses: uses.exports.export_attempts(tenant_id, selection, export_format), output, json
    )


def _write_export(open_stream: Callable[[Services], ExportStream], output: Path | None, json: bool) -> None:
    if output is None:
        if json:
            raise UsageError("--json describes the written file: name one with --output.")
        _write_pieces(open_stream, _write_to_stdout)
        return
    with open_atomic_file(output) as file:
        count = _write_pieces(open_stream, file.write)
    if json:
        print_json(schemas.exports.ExportedFileOut(file=str(output), rows=count))
    else:
        print_note(f"{count:,} rows are in {output}.")


def _write_pieces(open_stream: Callable[[Services], ExportStream], write: Callable[[bytes], object]) -> int:
    # Progress would disturb rows that are printed on the same terminal.
    watched = sys.stderr.isatty() and not (write is _write_to_stdout and sys.stdout.isatty())

    async def use(uses: Services) -> int:
        total = 0
        with _show_progress(visible=watched) as tell:
            async for count, piece in open_stream(uses):
                write(piece)
                total += count
                tell(f"{total:,} rows …")
        return total

    return run_use_case(use)


@contextmanager
def _show_progress(*, visible: bool) -> Iterator[Callable[[str], None]]:
    """Show the number of rows so far, if `visible`."""
    if not visible:
        yield lambda _told: None
        return
    with make_console(stderr=True).status("Reading …") as status:
        yield status.update


def _write_to_stdout(piece: bytes) -> None:
    if sys.stdout.isatty():  # text of others must not control the terminal
        sys.stdout.write(escape_control_chars(piece.decode().replace("\r\n", "\n"), keep_newlines=True))
    else:
        sys.stdout.buffer.write(piece)


@contextmanager
def open_atomic_file(output: Path) -> Iterator[IO[bytes]]:
    """Write a file under its name only when it is complete. After an error there is no file."""
    try:
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(name).chmod(_DEFAULT_FILE_MODE & ~_read_umask())
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
