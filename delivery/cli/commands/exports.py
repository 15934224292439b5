"""`waybill export`: all deliveries of a selection, or their attempts, as a file."""

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from delivery.bootstrap import Services
from delivery.cli.door import WrongUsage, ask
from delivery.cli.filter_options import filtered
from delivery.cli.options import AnyTenant, AsJson, examples
from delivery.cli.screen import console, note, print_json
from delivery.exporting import Format
from delivery.selection import DeliverySelection, refuse_unless_meant
from delivery.taming import tame

Pieces = AsyncGenerator[tuple[int, bytes], None]

app = typer.Typer(name="export", help="Exports: what a search finds, as a file.", no_args_is_help=True)

Form = Annotated[
    Format, typer.Option("--format", help="A JSON document a line, or CSV with a header.", metavar="FORMAT")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", dir_okay=False, metavar="FILE", help="Where to; without it, to standard output."
    ),
]
Everything = Annotated[bool, typer.Option("--all", metavar="", help="Without any filter: all there is.")]
_READABLE_BY_UMASK = 0o666


@app.command(
    "deliveries",
    epilog=examples(
        "waybill export deliveries --tenant ten_… --status failed --format csv -o failed.csv",
        "waybill export deliveries --tenant ten_… --since 1d | jq .endpoint_id",
    ),
)
@filtered
def export_deliveries(
    wanted: DeliverySelection,
    tenant: AnyTenant = None,
    form: Form = Format.JSONL,
    output: Output = None,
    everything: Everything = False,
    json: AsJson = False,
) -> None:
    """Export deliveries that meet every filter, the oldest first."""
    refuse_unless_meant(wanted, everything=everything, operator=True)
    _export(lambda uses: uses.exports.deliveries(tenant, wanted, form), output, json)


@app.command(
    "attempts",
    epilog=examples("waybill export attempts --tenant ten_… --endpoint ep_… --since 7d -o attempts.jsonl"),
)
@filtered
def export_attempts(
    wanted: DeliverySelection,
    tenant: AnyTenant = None,
    form: Form = Format.JSONL,
    output: Output = None,
    everything: Everything = False,
    json: AsJson = False,
) -> None:
    """Export all attempts of the deliveries that meet every filter, without bodies."""
    refuse_unless_meant(wanted, everything=everything, operator=True)
    _export(lambda uses: uses.exports.attempts(tenant, wanted, form), output, json)


def _export(begin: Callable[[Services], Pieces], output: Path | None, json: bool) -> None:
    if output is None:
        if json:
            raise WrongUsage("--json tells of the file that was written: name one with --output.")
        _written(begin, _write_out)
        return
    with whole_file(output) as file:
        count = _written(begin, file.write)
    if json:
        print_json({"file": str(output), "rows": count})
    else:
        note(f"{count:,} rows are in {output}.")


def _written(begin: Callable[[Services], Pieces], write: Callable[[bytes], object]) -> int:
    # Where rows go to the terminal themselves, nothing else is to move there.
    watched = sys.stderr.isatty() and not (write is _write_out and sys.stdout.isatty())

    async def use(uses: Services) -> int:
        total = 0
        with _progress(watched=watched) as tell:
            async for count, piece in begin(uses):
                write(piece)
                total += count
                tell(f"{total:,} rows …")
        return total

    return ask(use)


@contextmanager
def _progress(*, watched: bool) -> Iterator[Callable[[str], None]]:
    """What tells how far an export is, where somebody watches."""
    if not watched:
        yield lambda _told: None
        return
    with console(stderr=True).status("Reading …") as status:
        yield status.update


def _write_out(piece: bytes) -> None:
    if sys.stdout.isatty():  # text of other people must not command the terminal
        sys.stdout.write(tame(piece.decode().replace("\r\n", "\n"), lines=True))
    else:
        sys.stdout.buffer.write(piece)


@contextmanager
def whole_file(output: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only once it is whole; given up halfway, there is none."""
    try:
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    except OSError as error:
        raise WrongUsage(f"{output} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(name).chmod(_READABLE_BY_UMASK & ~_umask())
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
