"""The release before this one, as a folder of code: what still runs while a deploy rolls on.

It comes out of git: the last release's tag; until there is one, the commit before the newest migration, which
is the one that a deploy of today would find running. WAYBILL_TEST_PREVIOUS names another.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tomllib
from typing import TYPE_CHECKING

from tests.support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("delivery", "migrations", "retries", "signing", "workers")


class NoHistoryError(Exception):
    """This checkout does not hold the code that was before: it has no git, or only the newest commit."""


def find_previous_commit() -> str:
    """The commit to upgrade from. Raises NoHistoryError."""
    given = os.environ.get("WAYBILL_TEST_PREVIOUS")
    if given:
        return given
    try:
        return _run_git_text("describe", "--tags", "--abbrev=0", "--match=v*", "HEAD^")
    except NoHistoryError:
        newest = _run_git_text(
            "log", "-1", "--diff-filter=A", "--format=%H", "--", "migrations/versions/*.py"
        )
        return _run_git_text("rev-parse", "--verify", f"{newest or 'HEAD'}^")


def unpack_commit(commit: str, folder: Path) -> Path:
    """Lay that commit's packages out in a folder, to be put first on a process's PYTHONPATH."""
    packed = _run_git("archive", "--format=tar", commit, "--", *PACKAGES)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
    _write_metadata(commit, folder)
    return folder


def find_command(folder: Path) -> tuple[str, ...]:
    """The command `waybill` of the release in this folder: its entry point has moved once."""
    module = "workers.main" if (folder / "workers" / "main.py").exists() else "delivery.cli"
    return (sys.executable, "-P", "-c", f"import sys; from {module} import main; sys.exit(main())")


def _write_metadata(commit: str, folder: Path) -> None:
    # An installed release asks for its own version by its distribution's name, which has changed once.
    project = tomllib.loads(_run_git_text("show", f"{commit}:pyproject.toml"))["project"]
    version = project.get("version", "0")
    metadata = folder / f"{project['name'].replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n")


def _run_git_text(*words: str) -> str:
    return _run_git(*words).decode().strip()


def _run_git(*words: str) -> bytes:
    try:
        # Only this repository: a test run as root may be in another user's checkout.
        command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
        return subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistoryError(str(error)) from error
