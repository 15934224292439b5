"""The database: it answers, is new enough, migrated, walled, has its partitions, and shares our clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.doctor.findings import ok, warning, wrong
from delivery.errors import Misconfigured, Unavailable
from delivery.ledger import condition, schema
from delivery.ledger.partitions import DAYS_AHEAD
from delivery.ledger.session import OLDEST_SERVER

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.doctor.findings import Finding
    from delivery.ledger import Ledger
    from delivery.ledger.condition import Clocks, Server

UPGRADE: Final = "Run `waybill db upgrade`."
_REACH: Final = (
    "See that PostgreSQL runs and WAYBILL_DATABASE_URL leads to it: host, port, name, account, password."
)
_MAJOR: Final = 10_000
# Receivers refuse a signature that is five minutes off; ids and schedules come apart sooner.
UNEASY, APART = timedelta(seconds=2), timedelta(seconds=60)
_FULL, _NEARLY_FULL = 0.95, 0.8


async def look_at_database(ledger: Ledger, *, clock: Callable[[], datetime]) -> tuple[list[Finding], bool]:
    """Judge the database; the second of the pair says whether its tables can be asked further."""
    try:
        async with ledger.transaction() as tx:
            server = await condition.server(tx)
            clocks = await condition.clocks(tx, clock=clock)
            ahead = await condition.days_ahead(tx, now=clock())
            unwalled = await condition.without_walls(tx)
    except Unavailable as error:
        return [wrong("database", str(error), _REACH)], False
    findings = [of_server(server), of_clocks(clocks), of_connections(server)]
    if not server.readable:
        return [*findings, await _of_walls(ledger, [])], False
    migrated = of_revision(server.revision, newest=schema.newest(), known=schema.revisions())
    if server.revision is None:
        return [*findings, migrated], False
    return [*findings, migrated, of_days(ahead), await _of_walls(ledger, unwalled)], True


def of_server(server: Server) -> Finding:
    """Whether the server is new enough, and takes writes."""
    if server.number < OLDEST_SERVER:
        return wrong(
            "database",
            f"PostgreSQL {server.version} is too old.",
            f"Upgrade it to {OLDEST_SERVER // _MAJOR} or newer.",
        )
    if server.read_only:
        return wrong(
            "database",
            f"PostgreSQL {server.version} answers, and takes no writes: it is a standby, or read-only.",
            "Point WAYBILL_DATABASE_URL at the primary.",
        )
    return ok("database", f"PostgreSQL {server.version} answers and takes writes.")


def of_clocks(clocks: Clocks) -> Finding:
    """Whether the database's clock and ours agree."""
    off = max(timedelta(0), abs(clocks.ahead) - clocks.doubt)
    if off <= UNEASY:
        return ok("clock", "This machine's clock and the database's agree.")
    by = f"{off.total_seconds():,.0f} s {'behind' if clocks.ahead > timedelta(0) else 'ahead of'}"
    says = f"This machine's clock is {by} the database's."
    mend = "Have both keep time by NTP (`timedatectl` tells whether they do)."
    return (wrong if off >= APART else warning)("clock", says, mend)


def of_connections(server: Server) -> Finding:
    """Whether the server has connections left for more processes."""
    share = server.taken / max(1, server.places)
    says = f"{server.taken} of the {server.places} connections that PostgreSQL takes are open."
    if share < _NEARLY_FULL:
        return ok("connections", says)
    mend = "Raise max_connections, lower WAYBILL_POOL_SIZE, or run fewer processes."
    return (wrong if share >= _FULL else warning)("connections", says, mend)


def of_revision(revision: str | None, *, newest: str, known: frozenset[str]) -> Finding:
    """Whether the schema is the one of this release."""
    if revision == newest:
        return ok("schema", f"The schema is this release's ({newest}).")
    if revision is None:
        return wrong("schema", "The database has no schema of Waybill yet.", UPGRADE)
    if revision in known:
        return wrong("schema", f"The schema is at {revision}, and this release needs {newest}.", UPGRADE)
    return warning(
        "schema",
        f"The schema is at {revision}, which this release ({newest}) does not know: a newer one was here.",
        "In the middle of a roll-out that is as it should be; afterwards, upgrade what runs here.",
    )


def of_days(ahead: int) -> Finding:
    """Whether the days that come have their partitions."""
    mend = "See that a relay runs, it makes them every minute; `waybill db upgrade` makes them at once."
    if ahead < 0:
        return wrong("partitions", "Today has no partitions: no event can be accepted.", mend)
    days = "1 more day" if ahead == 1 else f"{ahead} more days"
    says = f"Partitions are made for today and {days}."
    if ahead == 0:
        return wrong("partitions", says, mend)
    # Just after midnight one is missing until the relay's next round.
    return ok("partitions", says) if ahead >= DAYS_AHEAD - 1 else warning("partitions", says, mend)


async def _of_walls(ledger: Ledger, unwalled: list[str]) -> Finding:
    try:
        await ledger.check_walls()
    except Unavailable as error:
        return wrong("tenants apart", str(error), UPGRADE)
    except Misconfigured as error:
        return wrong("tenants apart", str(error), "See docs/tenants-apart.md.")
    if unwalled:
        return wrong(
            "tenants apart",
            f"Row-level security is off on {', '.join(unwalled)}.",
            "Have the tables' owner run, for each: alter table … enable row level security;",
        )
    return ok("tenants apart", "PostgreSQL holds tenants apart under a role of its own.")
