"""`waybill db`: what an operator does once, or seldom."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from delivery.bootstrap import clock, open_ledger, retention
from delivery.cli.door import find_settings, keep_quiet
from delivery.cli.options import AsJson, examples
from delivery.cli.screen import print_facts, print_json, say
from delivery.config import Settings
from delivery.ledger import Ledger, partitions, schema
from delivery.model import Prefix, show_id
from delivery.retention import Plan
from delivery.retiring import Report

T = TypeVar("T")

database = typer.Typer(name="db", help="The ledger's schema, and what it keeps.", no_args_is_help=True)


@database.callback()
def _database() -> None:
    """Upgrade the ledger's schema; let go what is past its term."""


@database.command()
def upgrade() -> None:
    """Bring the ledger to this release's schema, as `alembic upgrade head` does. Twice is no error."""
    settings = find_settings()
    keep_quiet(settings)
    asyncio.run(_with_ledger(settings, _check))
    schema.upgrade(open_ledger(settings, "upgrade").url)
    asyncio.run(_with_ledger(settings, _make_partitions))
    say("The ledger's schema is up to date.")


@database.command(epilog=examples("waybill db retain --dry-run", "waybill db retain"))
def retain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what is past its term.")] = False,
    json: AsJson = False,
) -> None:
    """Let go what is past its term, as the relay does every hour. One run does so much and no more."""
    settings = find_settings()
    keep_quiet(settings)
    if dry_run:
        plan = asyncio.run(_with_ledger(settings, lambda ledger: retention(settings, ledger).look()))
        if json:
            print_json(_plan(plan))
        else:
            _print_plan(plan)
        return
    report = asyncio.run(_with_ledger(settings, lambda ledger: retention(settings, ledger).run()))
    if json:
        print_json(None if report is None else report.facts())
    elif report is None:
        say("Another process is at it just now.")
    else:
        _print_report(report)


def _print_plan(plan: Plan) -> None:
    whole = [day.name for group in plan.drops for day in group]
    facts = [
        ("days to drop", ", ".join(whole)),
        ("days whose payloads go", ", ".join(day.name for day in plan.bodies)),
        *[
            (show_id(Prefix.TENANT, thin.tenant_id), f"{thin.content} before {thin.before}")
            for thin in plan.thin
        ],
        ("replay jobs", f"that ended before {plan.replays}"),
    ]
    print_facts(facts, title="Past its term")


def _print_report(report: Report) -> None:
    facts = [(name, str(number)) for name, number in report.facts().items() if type(number) is int and number]
    facts += [
        ("dropped", ", ".join(report.dropped)),
        ("still owed", ", ".join(report.owed)),
        ("being read", ", ".join(report.busy)),
    ]
    if any(value for _, value in facts):
        print_facts(facts, title="What went, and what waits")
    else:
        say("Nothing was past its term.")
    if report.more:
        say("There is more; the next run goes on.")


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "drop": [day.name for group in plan.drops for day in group],
        "payloads": [day.name for day in plan.bodies],
        "tenants": [
            {
                "tenant_id": show_id(Prefix.TENANT, thin.tenant_id),
                "content": thin.content,
                "before": thin.before.isoformat(),
            }
            for thin in plan.thin
        ],
        "replays_before": plan.replays.isoformat(),
    }


async def _with_ledger(settings: Settings, use: Callable[[Ledger], Awaitable[T]]) -> T:
    ledger = open_ledger(settings, "upgrade")
    try:
        return await use(ledger)
    finally:
        await ledger.close()


async def _check(ledger: Ledger) -> None:
    await ledger.check()


async def _make_partitions(ledger: Ledger) -> None:
    """The relay makes them ahead; with these, events can be taken before it first runs."""
    async with ledger.transaction() as tx:
        await partitions.ensure(tx, now=clock())
    await ledger.check_walls()
