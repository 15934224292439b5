"""Processes that are killed exactly between two steps, at every step that an event takes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from delivery.bootstrap import clock
from delivery.ledger import Ledger, partitions
from tests.chaos.fault import AFTER_A_LEASE, Fault, NotHereError
from tests.chaos.wires import Link, On, Wire
from tests.support.postgres import connect
from tests.support.stack import WAYBILL, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground

_OLD_DAYS = 20
_SCHEMA = """
    select string_agg(line, chr(10) order by line) from (
        select table_name || ' ' || column_name || ' ' || data_type as line
        from information_schema.columns where table_schema = 'public' and table_name !~ '_[0-9]{8}$'
        union all select indexdef from pg_indexes where schemaname = 'public' and tablename !~ '_[0-9]{8}$'
    ) as lines
"""


def _at(kind: str, on: On, name: str, *, pass_by: int = 3) -> Strike:
    def strike(ground: Ground, rng: Random) -> None:
        ground.kill_at(kind, on, name, let_pass=rng.randrange(pass_by))

    return strike


def _in_a_replay(ground: Ground, rng: Random) -> None:
    """Kill the worker that moves a replay's items; TimeoutError unless the replay finishes after it."""
    if ground.replayed is None:
        raise NotHereError("there is no tenant for replays")
    tenant, count = ground.replayed
    replay = tenant.post("/v1/replays", {"selection": {"status": ["succeeded"]}, "reason": "chaos"})
    ground.kill_at("worker", On.COMMITTED, "replay_", let_pass=rng.randrange(2))

    def finished() -> bool:
        return bool(tenant.get(f"/v1/replays/{replay['id']}")["state"] == "finished")

    wait_until(finished, f"a replay of {count} to finish", seconds=60)
    ground.replays_done += 1


def _in_retention(ground: Ground, rng: Random) -> None:
    """Kill a run of retention in the middle of it; the next one does the rest."""
    _make_old_days(ground)
    command = (str(WAYBILL), "db", "retain")
    _run_and_kill(ground, command, ground.database_url, On.ASKED, rng.randrange(5, 30))
    left = _OLD_DAYS
    for _ in range(20):
        ground.stack.run(*command)
        left = _old_days(ground)
        if not left:
            return
    raise TimeoutError(f"{left} partitions past their term are still there after retention was killed.")


def _in_a_migration(ground: Ground, rng: Random) -> None:
    """Kill `waybill db upgrade` in the middle of it; the next one makes the schema that others have."""
    name = f"migrated_{rng.randrange(1 << 30)}"
    with ground.sql() as connection:
        connection.execute(f"create database {name}".encode())
    url = make_url(ground.database_url).set(database=name).render_as_string(hide_password=False)
    command = (str(WAYBILL), "db", "upgrade")
    _run_and_kill(ground, command, url, On.ASKED, rng.randrange(10, 60))
    ground.stack.own["migrate"] = {"WAYBILL_DATABASE_URL": url}
    ground.stack.run(*command, name="migrate")
    if _schema(url) != _schema(ground.database_url):
        raise AssertionError("After an upgrade that was killed, the next one made another schema.")
    with ground.sql() as connection:
        connection.execute(f"drop database {name} with (force)".encode())


def _run_and_kill(ground: Ground, command: Sequence[str], url: str, on: On, let_pass: int) -> None:
    server = make_url(url)
    with Link("passing", (server.host or "", server.port or 0), ground.kill, sql=True) as link:
        plain = server.set(host="127.0.0.1", port=link.proxy.port).update_query_dict({"sslmode": "disable"})
        ground.stack.own["passing"] = {"WAYBILL_DATABASE_URL": plain.render_as_string(hide_password=False)}
        link.wire = Wire(on, "", let_pass)
        ground.stack.start("passing", *command)
        wait_until(
            lambda: link.wire is not None and link.wire.touched.is_set(),
            f"{' '.join(command[1:])} to come so far",
            seconds=60,
        )
    ground.stack.own.pop("passing")


def _make_old_days(ground: Ground) -> None:
    async def make() -> None:
        ledger = Ledger(ground.database_url, pool_size=1)
        try:
            for back in range(200, 200 + _OLD_DAYS, 5):
                async with ledger.transaction() as tx:
                    await partitions.ensure(tx, now=clock() - timedelta(days=back))
        finally:
            await ledger.close()

    asyncio.run(make())


def _old_days(ground: Ground) -> int:
    with ground.sql() as connection:
        found = connection.execute(
            "select count(*) from pg_class where relkind = 'r' and relname ~ '^events_[0-9]{8}$' "
            "and right(relname, 8)::date < current_date - 150"
        ).fetchone()
    return 0 if found is None else int(found[0])


def _schema(url: str) -> str:
    with connect(url) as connection:
        found = connection.execute(_SCHEMA).fetchone()
    return "" if found is None else str(found[0])


_WEB, _RELAY, _WORKER = "web", "relay", "worker"
FAULTS = (
    Fault(
        "killed: accept committed, not answered",
        "boundaries",
        _at(_WEB, On.COMMITTED, "accepting.accept"),
        brief=True,
    ),
    Fault("killed: accept asked, not committed", "boundaries", _at(_WEB, On.ASKED, "accepting.accept")),
    Fault(
        "killed: claim committed, not published",
        "boundaries",
        _at(_RELAY, On.COMMITTED, "claiming.claim"),
        AFTER_A_LEASE,
        brief=True,
    ),
    Fault(
        "killed: published, not confirmed",
        "boundaries",
        _at(_RELAY, On.RECEIVED, "basic.ack"),
        AFTER_A_LEASE,
        brief=True,
    ),
    Fault(
        "killed: claim started, message not acknowledged",
        "boundaries",
        _at(_WORKER, On.SENT, "basic.ack"),
        AFTER_A_LEASE,
    ),
    Fault(
        "killed: claim started, nothing sent",
        "boundaries",
        _at(_WORKER, On.COMMITTED, "claiming.start"),
        AFTER_A_LEASE,
    ),
    Fault(
        "killed: sent, not recorded",
        "boundaries",
        _at(_WORKER, On.ASKED, "recording.fence"),
        AFTER_A_LEASE,
        brief=True,
    ),
    Fault(
        "killed: recorded, worker not told",
        "boundaries",
        _at(_WORKER, On.COMMITTED, "recording.attempts"),
        AFTER_A_LEASE,
    ),
    Fault("killed: in the middle of a replay", "boundaries", _in_a_replay, AFTER_A_LEASE),
    Fault("killed: in the middle of retention", "boundaries", _in_retention),
    Fault("killed: in the middle of a migration", "boundaries", _in_a_migration),
)
