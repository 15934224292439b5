"""`waybill secrets`: generate and rotate the keys that encrypt secrets at rest."""

import asyncio
from typing import Annotated

import typer

from delivery import schemas
from delivery.bootstrap import build_key_rotation, open_ledger
from delivery.cli.options.common import JsonOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import Column, print_json, print_note, print_table, print_text
from delivery.cli.runtime import EXIT_REFUSED, find_settings, get_actor, set_up_cli_logs
from delivery.config import Settings
from delivery.domain.secret_box import generate_key
from delivery.services.key_rotation import KeyRotationReport

app = typer.Typer(name="secrets", help="Keys that encrypt secrets at rest.", no_args_is_help=True)

_PROGRESS_INTERVAL = 5_000


@app.command("generate-key")
def make_key() -> None:
    """Print a new key for WAYBILL_SECRET_KEYS. See `rotate-key --help` for changing to it."""
    print(generate_key())


@app.command(
    "rotate-key", epilog=format_examples("waybill secrets rotate-key --dry-run", "waybill secrets rotate-key")
)
def rotate_key(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the values of each key.")] = False,
    json: JsonOption = False,
) -> None:
    """Encrypt every secret at rest under the newest of WAYBILL_SECRET_KEYS.

    Put the new key before the old one, with a comma, and restart every process first: a process without the
    new key cannot decrypt the values. Deliveries continue meanwhile, and an interrupted run can be repeated.
    Remove the old key when no value needs it; until then the exit code is 1.
    """
    settings = find_settings()
    set_up_cli_logs(settings)
    report = asyncio.run(_rotate_keys(settings, dry_run=dry_run, quiet=json))
    if json:
        print_json(schemas.key_rotation.KeyRotationOut.from_record(report))
    else:
        _print_report(report, dry_run=dry_run)
    if report.remaining:
        raise typer.Exit(EXIT_REFUSED)


async def _rotate_keys(settings: Settings, *, dry_run: bool, quiet: bool) -> KeyRotationReport:
    ledger = open_ledger(settings, "rotate-key")
    reported = 0

    def tell(resealed: int) -> None:
        nonlocal reported
        if not quiet and resealed - reported >= _PROGRESS_INTERVAL:
            reported = resealed
            print_note(f"{resealed:,} so far.")

    try:
        work = build_key_rotation(settings, ledger)
        return await (work.read_report() if dry_run else work.run(actor=get_actor(), on_progress=tell))
    finally:
        await ledger.close()


def _print_report(report: KeyRotationReport, *, dry_run: bool) -> None:
    newest = report.key_usage[0].key_id
    columns = [Column("KEY"), Column("VALUES", numeric=True), Column("WHICH")]
    rows = [
        (
            usage.key_id,
            f"{usage.value_count:,}",
            "the newest" if usage.key_id == newest else "older" if usage.is_available else "missing",
        )
        for usage in report.key_usage
    ]
    print_table(columns, rows, empty_message="")
    if not dry_run:
        print_text(f"{report.rotated:,} values were encrypted under the newest key.")
    if report.changed:
        print_text(f"{report.changed:,} were changed concurrently.")
    if report.unreadable:
        print_text(f"{report.unreadable:,} cannot be decrypted with the available keys; they are unchanged.")
    if report.remaining:
        print_text(f"{report.remaining:,} still need an older key: keep it, and run this again.")
    else:
        print_text("No value needs an older key: the others can be removed.")
