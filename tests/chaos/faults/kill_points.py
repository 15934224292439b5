"""Processes that are killed exactly between two steps, at every step that an event takes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from delivery.clock import clock
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from tests.chaos.fault import LEASE_RECOVERY_SECONDS, Fault, UnsupportedFaultError
from tests.chaos.tripwires import ProxiedLink, Tripwire, WireTrigger
from tests.support.postgres import connect
from tests.support.stack import WAYBILL, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import FaultAction

_OLD_PARTITION_DAYS = 20
_SCHEMA = """
    select string_agg(line, chr(10) order by line) from (
        select table_name || ' ' || column_name || ' ' || data_type as line
        from information_schema.columns where table_schema = 'public' and table_name !~ '_[0-9]{8}$'
        union all select indexdef from pg_indexes where schemaname = 'public' and tablename !~ '_[0-9]{8}$'
    ) as lines
"""


def _make_kill_at(kind: str, on: WireTrigger, name: str, *, pass_by: int = 3) -> FaultAction:
    def strike(ground: ChaosEnvironment, rng: Random) -> None:
        ground.kill_at(kind, on, name, skip=rng.randrange(pass_by))

    return strike


def _kill_during_replay(ground: ChaosEnvironment, rng: Random) -> None:
    """Kill the worker that moves a replay's items; TimeoutError unless the replay finishes after it."""
    if ground.replay_tenant is None:
        raise UnsupportedFaultError("there is no tenant for replays")
    tenant, count = ground.replay_tenant
    replay = tenant.post("/v1/replays", {"selection": {"status": ["succeeded"]}, "reason": "chaos"})
    ground.kill_at("worker", WireTrigger.COMMITTED, "replay_", skip=rng.randrange(2))

    def finished() -> bool:
        return bool(tenant.get(f"/v1/replays/{replay['id']}")["state"] == "finished")

    wait_until(finished, f"a replay of {count} to finish", seconds=60)
    ground.finished_replays += 1


def _kill_during_retention(ground: ChaosEnvironment, rng: Random) -> None:
    """Kill a run of retention in the middle of it; the next one does the rest."""
    _make_old_partitions(ground)
    command = (str(WAYBILL), "db", "retain")
    _run_and_kill(ground, command, ground.database_url, WireTrigger.ASKED, rng.randrange(5, 30))
    left = _OLD_PARTITION_DAYS
    for _ in range(20):
        ground.stack.run(*command)
        left = _count_old_partitions(ground)
        if not left:
            return
    raise TimeoutError(f"{left} partitions past their term are still there after retention was killed.")


def _kill_during_migration(ground: ChaosEnvironment, rng: Random) -> None:
    """Kill `waybill db upgrade` in the middle of it; the next one makes the schema that others have."""
    name = f"migrated_{rng.randrange(1 << 30)}"
    with ground.connect() as connection:
        connection.execute(f"create database {name}".encode())
    url = make_url(ground.database_url).set(database=name).render_as_string(hide_password=False)
    command = (str(WAYBILL), "db", "upgrade")
    _run_and_kill(ground, command, url, WireTrigger.ASKED, rng.randrange(10, 60))
    ground.stack.process_environment["migrate"] = {"WAYBILL_DATABASE_URL": url}
    ground.stack.run(*command, name="migrate")
    if _read_schema(url) != _read_schema(ground.database_url):
        raise AssertionError("After an upgrade that was killed, the next one made another schema.")
    with ground.connect() as connection:
        connection.execute(f"drop database {name} with (force)".encode())


def _run_and_kill(
    ground: ChaosEnvironment, command: Sequence[str], url: str, on: WireTrigger, let_pass: int
) -> None:
    server = make_url(url)
    with ProxiedLink("passing", (server.host or "", server.port or 0), ground.kill, sql=True) as link:
        plain = server.set(host="127.0.0.1", port=link.proxy.port).update_query_dict({"sslmode": "disable"})
        ground.stack.process_environment["passing"] = {
            "WAYBILL_DATABASE_URL": plain.render_as_string(hide_password=False)
        }
        link.tripwire = Tripwire(on, "", let_pass)
        ground.stack.start("passing", *command)
        wait_until(
            lambda: link.tripwire is not None and link.tripwire.tripped.is_set(),
            f"{' '.join(command[1:])} to come so far",
            seconds=60,
        )
    ground.stack.process_environment.pop("passing")


def _make_old_partitions(ground: ChaosEnvironment) -> None:
    async def make() -> None:
        ledger = Ledger(ground.database_url, pool_size=1)
        try:
            for back in range(200, 200 + _OLD_PARTITION_DAYS, 5):
                async with ledger.transaction() as tx:
                    await partitions.ensure_partitions(tx, now=clock() - timedelta(days=back))
        finally:
            await ledger.close()

    asyncio.run(make())


def _count_old_partitions(ground: ChaosEnvironment) -> int:
    with ground.connect() as connection:
        found = connection.execute(
            "select count(*) from pg_class where relkind = 'r' and relname ~ '^events_[0-9]{8}$' "
            "and right(relname, 8)::date < current_date - 150"
        ).fetchone()
    return 0 if found is None else int(found[0])


def _read_schema(url: str) -> str:
    with connect(url) as connection:
        found = connection.execute(_SCHEMA).fetchone()
    return "" if found is None else str(found[0])


_WEB, _RELAY, _WORKER = "web", "relay", "worker"
FAULTS = (
    Fault(
        "killed: accept committed, not answered",
        "boundaries",
        _make_kill_at(_WEB, WireTrigger.COMMITTED, "enqueue.insert_events"),
        is_in_short_run=True,
    ),
    Fault(
        "killed: accept asked, not committed",
        "boundaries",
        _make_kill_at(_WEB, WireTrigger.ASKED, "enqueue.insert_events"),
    ),
    Fault(
        "killed: claim committed, not published",
        "boundaries",
        _make_kill_at(_RELAY, WireTrigger.COMMITTED, "claims.claim"),
        LEASE_RECOVERY_SECONDS,
        is_in_short_run=True,
    ),
    Fault(
        "killed: published, not confirmed",
        "boundaries",
        _make_kill_at(_RELAY, WireTrigger.RECEIVED, "basic.ack"),
        LEASE_RECOVERY_SECONDS,
        is_in_short_run=True,
    ),
    Fault(
        "killed: claim started, message not acknowledged",
        "boundaries",
        _make_kill_at(_WORKER, WireTrigger.SENT, "basic.ack"),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault(
        "killed: claim started, nothing sent",
        "boundaries",
        _make_kill_at(_WORKER, WireTrigger.COMMITTED, "claims.start"),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault(
        "killed: sent, not recorded",
        "boundaries",
        _make_kill_at(_WORKER, WireTrigger.ASKED, "results.lock_claims"),
        LEASE_RECOVERY_SECONDS,
        is_in_short_run=True,
    ),
    Fault(
        "killed: recorded, worker not told",
        "boundaries",
        _make_kill_at(_WORKER, WireTrigger.COMMITTED, "results.insert_attempts"),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault("killed: in the middle of a replay", "boundaries", _kill_during_replay, LEASE_RECOVERY_SECONDS),
    Fault("killed: in the middle of retention", "boundaries", _kill_during_retention),
    Fault("killed: in the middle of a migration", "boundaries", _kill_during_migration),
)
