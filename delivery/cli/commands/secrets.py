"""`waybill secrets`: the keys that encrypt secrets at rest, made and rotated."""

import asyncio
from typing import Annotated, Any

import typer

from delivery.bootstrap import open_ledger, resealing
from delivery.cli.door import REFUSED, actor, find_settings, keep_quiet
from delivery.cli.options import AsJson, examples
from delivery.cli.screen import Column, note, print_json, print_table, say
from delivery.config import Settings
from delivery.resealing import Report
from delivery.secrets import generate_key

app = typer.Typer(name="secrets", help="Keys that encrypt secrets at rest.", no_args_is_help=True)

_TOLD_EVERY = 5_000


@app.command("generate-key")
def make_key() -> None:
    """Print a fresh key for WAYBILL_SECRET_KEYS. `rotate-key` tells how to change to it."""
    print(generate_key())


@app.command(
    "rotate-key", epilog=examples("waybill secrets rotate-key --dry-run", "waybill secrets rotate-key")
)
def rotate_key(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is under which key.")] = False,
    json: AsJson = False,
) -> None:
    """Bring every secret at rest under the newest of WAYBILL_SECRET_KEYS.

    Put the new key before the old one, with a comma, and restart every process before this: one that does
    not have the new key cannot open what is under it. Nothing stops meanwhile, and a second run goes on where
    the first was stopped. The old key may go once no value is left under it; until then the exit code is 1.
    """
    settings = find_settings()
    keep_quiet(settings)
    report = asyncio.run(_rotate(settings, dry_run=dry_run, quiet=json))
    if json:
        print_json(_shape(report))
    else:
        _print(report, dry_run=dry_run)
    if report.left:
        raise typer.Exit(REFUSED)


async def _rotate(settings: Settings, *, dry_run: bool, quiet: bool) -> Report:
    ledger = open_ledger(settings, "rotate-key")
    told = 0

    def tell(resealed: int) -> None:
        nonlocal told
        if not quiet and resealed - told >= _TOLD_EVERY:
            told = resealed
            note(f"{resealed:,} so far.")

    try:
        work = resealing(settings, ledger)
        return await (work.look() if dry_run else work.run(actor=actor(), tell=tell))
    finally:
        await ledger.close()


def _print(report: Report, *, dry_run: bool) -> None:
    newest = report.under[0].key_id
    columns = [Column("KEY"), Column("VALUES", number=True), Column("WHICH")]
    rows = [
        (
            one.key_id,
            f"{one.values:,}",
            "the newest" if one.key_id == newest else "older" if one.at_hand else "not at hand",
        )
        for one in report.under
    ]
    print_table(columns, rows, none="")
    if not dry_run:
        say(f"{report.resealed:,} are under another key than before.")
    if report.changed:
        say(f"{report.changed:,} were changed by somebody else meanwhile.")
    if report.unreadable:
        say(f"{report.unreadable:,} are opened by no key at hand, and stay as they are.")
    if report.left:
        say(f"{report.left:,} still need another key than the newest: keep it, and run this again.")
    else:
        say("Nothing needs another key than the newest: the others may go.")


def _shape(report: Report) -> dict[str, Any]:
    return {
        "resealed": report.resealed,
        "changed_meanwhile": report.changed,
        "unreadable": report.unreadable,
        "left": report.left,
        "keys": [
            {
                "key_id": one.key_id,
                "at_hand": one.at_hand,
                "newest": one is report.under[0],
                "values": one.values,
            }
            for one in report.under
        ],
    }
