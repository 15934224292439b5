"""PostgreSQL: killed, restarted, full, slow, locked, out of connections, and gone over to a standby."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import psycopg

from delivery import embedded
from delivery.embedded.account import detect_account, find_programs
from tests.chaos.fault import LEASE_RECOVERY_SECONDS, Fault, UnsupportedFaultError, wait_seconds
from tests.chaos.name_server import is_root
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from delivery.embedded import EmbeddedPostgres
    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import FaultAction

_FAULT_SECONDS = 4.0
_SMALL_DISK_BYTES = 48 << 20
_TERMINATE_BACKENDS = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where pid <> pg_backend_pid() and datname = current_database()"
)


def _kill_database(ground: ChaosEnvironment, _rng: Random) -> None:
    """Kill the server and every process of it: what is not in its log on the disk is gone."""
    _kill_all_processes(ground.database)
    wait_seconds(0.5)
    ground.start_database()


def _kill_all_processes(database: EmbeddedPostgres) -> None:
    server = psutil.Process(database.pid)
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    database.stop()


def _restart_database(ground: ChaosEnvironment, _rng: Random) -> None:
    ground.database.stop()
    wait_seconds(0.5)
    ground.start_database()


def _terminate_connections(ground: ChaosEnvironment, rng: Random) -> None:
    with ground.connect() as connection:
        for _ in range(3):
            connection.execute(_TERMINATE_BACKENDS)
            wait_seconds(rng.uniform(0.2, 1))


def _exhaust_connections(ground: ChaosEnvironment, _rng: Random) -> None:
    """Take every connection there is, and send away who had one."""
    with ExitStack() as exits, ground.connect() as connection:
        with suppress(psycopg.OperationalError):
            while True:
                exits.enter_context(ground.connect())
                connection.execute(f"{_TERMINATE_BACKENDS} and application_name like 'waybill%'")
        wait_seconds(_FAULT_SECONDS)


def _make_lock_fault(seconds: float) -> FaultAction:
    def strike(ground: ChaosEnvironment, _rng: Random) -> None:
        with ground.connect() as connection, connection.transaction():
            connection.execute("lock table schedule in access exclusive mode")
            wait_seconds(seconds)

    return strike


def _slow_commits(ground: ChaosEnvironment, _rng: Random) -> None:
    """Have every commit wait a tenth of a second before it is written, as on a disk that is slow to sync."""
    with _altered_settings(ground, commit_delay="100000", commit_siblings="0"):
        wait_seconds(_FAULT_SECONDS)


def _fill_disk(ground: ChaosEnvironment, _rng: Random) -> None:
    """Move what is due, and today's events, to a small disk, and fill that."""
    with _mount_small_disk(ground) as disk, ground.connect() as connection:
        today = f"events_{time.strftime('%Y%m%d', time.gmtime())}"
        connection.execute(f"create tablespace small location '{disk}'".encode())
        for table in (today, "schedule"):
            connection.execute(f"alter table {table} set tablespace small".encode())
        filler = disk / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(b"x" * 65_536)
        wait_seconds(_FAULT_SECONDS)
        filler.unlink()
        for table in (today, "schedule"):
            connection.execute(f"alter table {table} set tablespace pg_default".encode())
        connection.execute("drop tablespace small")


@contextmanager
def _mount_small_disk(ground: ChaosEnvironment) -> Iterator[Path]:
    if not is_root():
        raise UnsupportedFaultError("a small disk of its own needs root")
    disk = ground.folder / "small"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK_BYTES},mode=0700", "tmpfs", disk],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        raise UnsupportedFaultError(mounted.stderr.strip())
    try:
        detect_account().change_owner(disk)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@contextmanager
def _altered_settings(ground: ChaosEnvironment, **settings: str) -> Iterator[None]:
    with ground.connect() as connection:
        for name, value in settings.items():
            connection.execute(f"alter system set {name} = '{value}'".encode())
        connection.execute("select pg_reload_conf()")
    try:
        yield
    finally:
        with ground.connect() as connection:
            for name in settings:
                connection.execute(f"alter system reset {name}".encode())
            connection.execute("select pg_reload_conf()")


def _fail_over(ground: ChaosEnvironment, rng: Random) -> None:
    """Copy the server, follow it synchronously, kill it, promote the copy, and have everybody go there."""
    old = ground.database
    home = ground.folder / f"standby-{rng.randrange(1 << 30)}"
    home.mkdir(mode=0o711)
    _copy_server(ground, home)
    (home / "password").write_text((old.folder / "password").read_text())
    new = embedded.start(home, program_dir=ground.folder / "shelter")
    with ground.connect() as connection:
        connection.execute("alter system set synchronous_standby_names = '*'")
        connection.execute("select pg_reload_conf()")
        wait_until(lambda: _has_synchronous_standby(connection), "the standby to follow", seconds=30)
    wait_seconds(rng.uniform(1, 2))
    _kill_all_processes(old)
    with psycopg.connect(new.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("select pg_promote()")
    ground.switch_database(new)


def _copy_server(ground: ChaosEnvironment, home: Path) -> None:
    account = detect_account()
    unfinished = home / "unfinished"
    unfinished.mkdir(mode=0o700)
    account.change_owner(unfinished)
    programs = find_programs(account, ground.folder / "shelter")
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
    made = account.run_program(*words, cwd=unfinished)
    if made.returncode:
        raise RuntimeError(f"pg_basebackup: {made.stdout}")
    unfinished.rename(home / "cluster")


def _has_synchronous_standby(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')"
    ).fetchone()
    return found is not None and found[0] > 0


FAULTS = (
    Fault(
        "PostgreSQL killed, crash recovery",
        "postgresql",
        _kill_database,
        LEASE_RECOVERY_SECONDS,
        is_in_short_run=True,
    ),
    Fault("PostgreSQL restarted", "postgresql", _restart_database, LEASE_RECOVERY_SECONDS),
    Fault(
        "every connection terminated, thrice", "postgresql", _terminate_connections, LEASE_RECOVERY_SECONDS
    ),
    Fault("no connection left", "postgresql", _exhaust_connections, LEASE_RECOVERY_SECONDS),
    Fault("a hot table locked for 4 s", "postgresql", _make_lock_fault(_FAULT_SECONDS)),
    Fault("a hot table locked for 12 s", "postgresql", _make_lock_fault(12), LEASE_RECOVERY_SECONDS),
    Fault("every commit a tenth of a second late", "postgresql", _slow_commits),
    Fault("disk full", "postgresql", _fill_disk),
    Fault("failover to a standby", "postgresql", _fail_over, LEASE_RECOVERY_SECONDS),
)
