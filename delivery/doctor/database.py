"""Check the database: version, schema, partitions, row-level security, connections and clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.doctor.findings import fail, ok, warn
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.ledger.db import health_check, schema
from delivery.ledger.db.partitions import DAYS_AHEAD
from delivery.ledger.db.session import MIN_SERVER_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.doctor.findings import Finding
    from delivery.ledger.db.health_check import ClockSkew, ServerInfo
    from delivery.ledger.db.session import Ledger

UPGRADE_HINT: Final = "Run `waybill db upgrade`."
_CONNECT_HINT: Final = (
    "Check that PostgreSQL runs and that WAYBILL_DATABASE_URL is right: host, port, name, account, password."
)
_MAJOR_VERSION_FACTOR: Final = 10_000
# Receivers refuse a signature that is five minutes off; ids and schedules suffer sooner.
CLOCK_SKEW_WARNING, CLOCK_SKEW_ERROR = timedelta(seconds=2), timedelta(seconds=60)
_CONNECTIONS_ERROR_RATIO, _CONNECTIONS_WARNING_RATIO = 0.95, 0.8


async def check_database(ledger: Ledger, *, clock: Callable[[], datetime]) -> tuple[list[Finding], bool]:
    """Check the database; the second value says whether its tables can be queried further."""
    try:
        async with ledger.transaction() as tx:
            server = await health_check.read_server_info(tx)
            clocks = await health_check.measure_clock_skew(tx, clock=clock)
            ahead = await health_check.count_days_ahead(tx, now=clock())
            unprotected = await health_check.find_unprotected_tables(tx)
    except Unavailable as error:
        return [fail("database", str(error), _CONNECT_HINT)], False
    findings = [check_server(server), check_clocks(clocks), check_connections(server)]
    if not server.readable:
        return [*findings, await _check_row_level_security(ledger, [])], False
    migrated = check_revision(
        server.revision, newest=schema.find_newest_revision(), known=schema.list_revisions()
    )
    if server.revision is None:
        return [*findings, migrated], False
    return [
        *findings,
        migrated,
        check_partitions(ahead),
        await _check_row_level_security(ledger, unprotected),
    ], True


def check_server(server: ServerInfo) -> Finding:
    """Check that the server is new enough and accepts writes."""
    if server.version_number < MIN_SERVER_VERSION:
        return fail(
            "database",
            f"PostgreSQL {server.version} is too old.",
            f"Upgrade it to {MIN_SERVER_VERSION // _MAJOR_VERSION_FACTOR} or newer.",
        )
    if server.read_only:
        return fail(
            "database",
            f"PostgreSQL {server.version} answers but accepts no writes: it is a standby, or read-only.",
            "Point WAYBILL_DATABASE_URL at the primary.",
        )
    return ok("database", f"PostgreSQL {server.version} answers and accepts writes.")


def check_clocks(clocks: ClockSkew) -> Finding:
    """Check that the database's clock and ours agree."""
    skew = max(timedelta(0), abs(clocks.ahead) - clocks.uncertainty)
    if skew <= CLOCK_SKEW_WARNING:
        return ok("clock", "This machine's clock and the database's agree.")
    by = f"{skew.total_seconds():,.0f} s {'behind' if clocks.ahead > timedelta(0) else 'ahead of'}"
    message = f"This machine's clock is {by} the database's."
    remedy = "Synchronise both by NTP (`timedatectl` shows whether they are)."
    return (fail if skew >= CLOCK_SKEW_ERROR else warn)("clock", message, remedy)


def check_connections(server: ServerInfo) -> Finding:
    """Check that the server has connections left for more processes."""
    share = server.open_connections / max(1, server.max_connections)
    message = f"{server.open_connections} of PostgreSQL's {server.max_connections} connections are open."
    if share < _CONNECTIONS_WARNING_RATIO:
        return ok("connections", message)
    remedy = "Raise max_connections, lower WAYBILL_POOL_SIZE, or run fewer processes."
    return (fail if share >= _CONNECTIONS_ERROR_RATIO else warn)("connections", message, remedy)


def check_revision(revision: str | None, *, newest: str, known: frozenset[str]) -> Finding:
    """Check that the schema is this release's."""
    if revision == newest:
        return ok("schema", f"The schema is this release's ({newest}).")
    if revision is None:
        return fail("schema", "The database has no Waybill schema yet.", UPGRADE_HINT)
    if revision in known:
        return fail("schema", f"The schema is at {revision}, and this release needs {newest}.", UPGRADE_HINT)
    return warn(
        "schema",
        f"The schema is at {revision}, which this release ({newest}) does not know: "
        "a newer release upgraded it.",
        "During a roll-out this is expected; afterwards, upgrade the processes here.",
    )


def check_partitions(ahead: int) -> Finding:
    """Check that the coming days have their partitions."""
    remedy = (
        "Check that a relay runs: it creates them every minute. `waybill db upgrade` creates them at once."
    )
    if ahead < 0:
        return fail("partitions", "Today has no partitions: no event can be accepted.", remedy)
    days = "1 more day" if ahead == 1 else f"{ahead} more days"
    message = f"Partitions exist for today and {days}."
    if ahead == 0:
        return fail("partitions", message, remedy)
    # Just after midnight one is missing until the relay's next round.
    return ok("partitions", message) if ahead >= DAYS_AHEAD - 1 else warn("partitions", message, remedy)


async def _check_row_level_security(ledger: Ledger, unprotected: list[str]) -> Finding:
    try:
        await ledger.check_row_level_security()
    except Unavailable as error:
        return fail("tenants apart", str(error), UPGRADE_HINT)
    except Misconfigured as error:
        return fail("tenants apart", str(error), "See docs/tenant-isolation.md.")
    if unprotected:
        return fail(
            "tenants apart",
            f"Row-level security is off on {', '.join(unprotected)}.",
            "As the owner of the tables, run for each: alter table … enable row level security;",
        )
    return ok("tenants apart", "PostgreSQL keeps tenants apart by row-level security.")
