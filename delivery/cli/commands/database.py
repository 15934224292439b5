"""`waybill db`: maintenance of the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from delivery import schemas
from delivery.bootstrap import build_retention, open_ledger
from delivery.cli.options.common import JsonOption
from delivery.cli.options.examples import format_examples
from delivery.cli.output.table import print_facts, print_json, print_text
from delivery.cli.runtime import find_settings, set_up_cli_logs
from delivery.clock import clock
from delivery.config import Settings
from delivery.domain.ids import Prefix, format_id
from delivery.domain.retention import RetentionPlan
from delivery.ledger.db import partitions, schema
from delivery.ledger.db.session import Ledger
from delivery.services.retention import RetentionReport

T = TypeVar("T")

app = typer.Typer(name="db", help="The database schema and retention.", no_args_is_help=True)


@app.callback()
def _database() -> None:
    """Upgrade the ledger's schema; delete expired data."""


@app.command()
def upgrade() -> None:
    """Upgrade the ledger to this release's schema, like `alembic upgrade head`. Repeatable."""
    settings = find_settings()
    set_up_cli_logs(settings)
    asyncio.run(_run_with_ledger(settings, _check_ledger))
    schema.upgrade(open_ledger(settings, "upgrade").url)
    asyncio.run(_run_with_ledger(settings, _make_partitions))
    print_text("The ledger's schema is up to date.")


@app.command(epilog=format_examples("waybill db retain --dry-run", "waybill db retain"))
def retain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what has expired.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete expired data, as the relay does every hour. The work of one run is bounded."""
    settings = find_settings()
    set_up_cli_logs(settings)
    if dry_run:
        plan = asyncio.run(
            _run_with_ledger(settings, lambda ledger: build_retention(settings, ledger).preview_plan())
        )
        if json:
            print_json(schemas.retention.RetentionPlanOut.from_record(plan))
        else:
            _print_plan(plan)
        return
    report = asyncio.run(_run_with_ledger(settings, lambda ledger: build_retention(settings, ledger).run()))
    if json:
        print_json(None if report is None else report.to_dict())
    elif report is None:
        print_text("Another process is running retention now.")
    else:
        _print_report(report)


def _print_plan(plan: RetentionPlan) -> None:
    whole = [partition.name for group in plan.drops for partition in group]
    facts = [
        ("days to drop", ", ".join(whole)),
        ("days whose payloads go", ", ".join(partition.name for partition in plan.payload_days)),
        *[
            (format_id(Prefix.TENANT, prune.tenant_id), f"{prune.data} before {prune.before}")
            for prune in plan.tenant_prunes
        ],
        ("replay jobs", f"that ended before {plan.replays_before}"),
    ]
    print_facts(facts, title="Expired")


def _print_report(report: RetentionReport) -> None:
    facts = [
        (name, str(number)) for name, number in report.to_dict().items() if type(number) is int and number
    ]
    facts += [
        ("dropped", ", ".join(report.dropped)),
        ("still owed", ", ".join(report.owed)),
        ("being read", ", ".join(report.busy)),
    ]
    if any(value for _, value in facts):
        print_facts(facts, title="Deleted and postponed")
    else:
        print_text("Nothing has expired.")
    if report.more:
        print_text("There is more for the next run.")


async def _run_with_ledger(settings: Settings, use_case: Callable[[Ledger], Awaitable[T]]) -> T:
    ledger = open_ledger(settings, "upgrade")
    try:
        return await use_case(ledger)
    finally:
        await ledger.close()


async def _check_ledger(ledger: Ledger) -> None:
    await ledger.check_server()


async def _make_partitions(ledger: Ledger) -> None:
    """Create partitions, so that events can be accepted before the relay first runs."""
    async with ledger.transaction() as tx:
        await partitions.ensure_partitions(tx, now=clock())
    await ledger.check_row_level_security()
