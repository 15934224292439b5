"""PostgreSQL: killed, restarted, full, slow, locked, out of connections, and gone over to a standby."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import psycopg

from delivery import embedded
from delivery.embedded.account import current, programs_for
from tests.chaos.fault import AFTER_A_LEASE, Fault, NotHereError, hold
from tests.chaos.names import is_root
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from delivery.embedded import EmbeddedPostgres
    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground

_LONG = 4.0
_SMALL_DISK = 48 << 20
_EVERYBODY = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where pid <> pg_backend_pid() and datname = current_database()"
)


def _kill(ground: Ground, _rng: Random) -> None:
    """Kill the server and every process of it: what is not in its log on the disk is gone."""
    _kill_whole(ground.database)
    hold(0.5)
    ground.start_database()


def _kill_whole(database: EmbeddedPostgres) -> None:
    server = psutil.Process(database.pid)
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    database.stop()


def _restart(ground: Ground, _rng: Random) -> None:
    ground.database.stop()
    hold(0.5)
    ground.start_database()


def _terminate(ground: Ground, rng: Random) -> None:
    with ground.sql() as connection:
        for _ in range(3):
            connection.execute(_EVERYBODY)
            hold(rng.uniform(0.2, 1))


def _no_connection_left(ground: Ground, _rng: Random) -> None:
    """Take every connection there is, and send away who had one."""
    with ExitStack() as exits, ground.sql() as connection:
        with suppress(psycopg.OperationalError):
            while True:
                exits.enter_context(ground.sql())
                connection.execute(f"{_EVERYBODY} and application_name like 'waybill%'")
        hold(_LONG)


def _locked(seconds: float) -> Strike:
    def strike(ground: Ground, _rng: Random) -> None:
        with ground.sql() as connection, connection.transaction():
            connection.execute("lock table schedule in access exclusive mode")
            hold(seconds)

    return strike


def _slow_disk(ground: Ground, _rng: Random) -> None:
    """Have every commit wait a tenth of a second before it is written, as on a disk that is slow to sync."""
    with _altered(ground, commit_delay="100000", commit_siblings="0"):
        hold(_LONG)


def _full(ground: Ground, _rng: Random) -> None:
    """Move what is due, and today's events, to a small disk, and fill that."""
    with _small_disk(ground) as disk, ground.sql() as connection:
        today = f"events_{time.strftime('%Y%m%d', time.gmtime())}"
        connection.execute(f"create tablespace small location '{disk}'".encode())
        for table in (today, "schedule"):
            connection.execute(f"alter table {table} set tablespace small".encode())
        filler = disk / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(b"x" * 65_536)
        hold(_LONG)
        filler.unlink()
        for table in (today, "schedule"):
            connection.execute(f"alter table {table} set tablespace pg_default".encode())
        connection.execute("drop tablespace small")


@contextmanager
def _small_disk(ground: Ground) -> Iterator[Path]:
    if not is_root():
        raise NotHereError("a small disk of its own needs root")
    disk = ground.folder / "small"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK},mode=0700", "tmpfs", disk],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        raise NotHereError(mounted.stderr.strip())
    try:
        current().own(disk)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@contextmanager
def _altered(ground: Ground, **settings: str) -> Iterator[None]:
    with ground.sql() as connection:
        for name, value in settings.items():
            connection.execute(f"alter system set {name} = '{value}'".encode())
        connection.execute("select pg_reload_conf()")
    try:
        yield
    finally:
        with ground.sql() as connection:
            for name in settings:
                connection.execute(f"alter system reset {name}".encode())
            connection.execute("select pg_reload_conf()")


def _failover(ground: Ground, rng: Random) -> None:
    """Copy the server, follow it synchronously, kill it, promote the copy, and have everybody go there."""
    old = ground.database
    home = ground.folder / f"standby-{rng.randrange(1 << 30)}"
    home.mkdir(mode=0o711)
    _copy(ground, home)
    (home / "password").write_text((old.home / "password").read_text())
    new = embedded.start(home, shelter=ground.folder / "shelter")
    with ground.sql() as connection:
        connection.execute("alter system set synchronous_standby_names = '*'")
        connection.execute("select pg_reload_conf()")
        wait_until(lambda: _is_followed(connection), "the standby to follow", seconds=30)
    hold(rng.uniform(1, 2))
    _kill_whole(old)
    with psycopg.connect(new.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("select pg_promote()")
    ground.use(new)


def _copy(ground: Ground, home: Path) -> None:
    account = current()
    unfinished = home / "unfinished"
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    programs = programs_for(account, ground.folder / "shelter")
    url = ground.database_url.replace("+psycopg", "").rpartition("/")[0]
    words = (
        programs / "pg_basebackup",
        "-D",
        "/proc/self/cwd",
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
        "-d",
        url,
    )
    made = account.run(*words, cwd=unfinished)
    if made.returncode:
        raise RuntimeError(f"pg_basebackup: {made.stdout}")
    unfinished.rename(home / "cluster")


def _is_followed(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')"
    ).fetchone()
    return found is not None and found[0] > 0


FAULTS = (
    Fault("PostgreSQL killed, crash recovery", "postgresql", _kill, AFTER_A_LEASE, brief=True),
    Fault("PostgreSQL restarted", "postgresql", _restart, AFTER_A_LEASE),
    Fault("every connection terminated, thrice", "postgresql", _terminate, AFTER_A_LEASE),
    Fault("no connection left", "postgresql", _no_connection_left, AFTER_A_LEASE),
    Fault("a hot table locked for 4 s", "postgresql", _locked(_LONG)),
    Fault("a hot table locked for 12 s", "postgresql", _locked(12), AFTER_A_LEASE),
    Fault("every commit a tenth of a second late", "postgresql", _slow_disk),
    Fault("disk full", "postgresql", _full),
    Fault("failover to a standby", "postgresql", _failover, AFTER_A_LEASE),
)
