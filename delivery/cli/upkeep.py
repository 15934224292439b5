"""`waybill db` and `waybill secrets`: what an operator does once."""

import asyncio
from collections.abc import Awaitable, Callable

import typer

from delivery.bootstrap import clock, open_ledger
from delivery.cli.door import find_settings, keep_quiet
from delivery.cli.screen import say
from delivery.config import Settings
from delivery.ledger import Ledger, partitions, schema
from delivery.secrets import generate_key

database = typer.Typer(name="db", help="The ledger's schema.", no_args_is_help=True)
secrets = typer.Typer(name="secrets", help="Keys that encrypt secrets at rest.", no_args_is_help=True)


@database.callback()
def _database() -> None:
    """Upgrade the ledger's schema."""


@secrets.callback()
def _secrets() -> None:
    """Make keys that encrypt secrets at rest."""


@database.command()
def upgrade() -> None:
    """Bring the ledger to this release's schema, as `alembic upgrade head` does. Twice is no error."""
    settings = find_settings()
    keep_quiet(settings)
    asyncio.run(_with_ledger(settings, _check))
    schema.upgrade(open_ledger(settings, "upgrade").url)
    asyncio.run(_with_ledger(settings, _make_partitions))
    say("The ledger's schema is up to date.")


@secrets.command("generate-key")
def make_key() -> None:
    """Print a fresh key for WAYBILL_SECRET_KEYS. To rotate, put it before the old one, with a comma."""
    print(generate_key())


async def _with_ledger(settings: Settings, use: Callable[[Ledger], Awaitable[None]]) -> None:
    ledger = open_ledger(settings, "upgrade")
    try:
        await use(ledger)
    finally:
        await ledger.close()


async def _check(ledger: Ledger) -> None:
    await ledger.check()


async def _make_partitions(ledger: Ledger) -> None:
    """The relay makes them ahead; with these, events can be taken before it first runs."""
    async with ledger.transaction() as tx:
        await partitions.ensure(tx, now=clock())
