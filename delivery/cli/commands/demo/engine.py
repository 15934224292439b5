"""The demo's engine: `python -m workers.processes.embedded` in a folder of its own, which goes with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from delivery.domain.errors import Unavailable
from delivery.embedded.state_dir import StateDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STARTING_SECONDS = 60.0
STOPPING_SECONDS = 25.0
_LAST_WORDS = 12

# Should we be killed, the kernel tells the engine. -P: the folder we are started in is none of its business.
COMMAND = ("setpriv", "--pdeathsig=TERM", "--", sys.executable, "-P", "-m", "workers.processes.embedded")
SETTINGS = {
    "WAYBILL_HOST": "127.0.0.1",
    "WAYBILL_PORT": "0",  # any that is free
    "WAYBILL_ALLOW_HTTP": "true",
    "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8",
    "WAYBILL_LOG_LEVEL": "warning",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine and where it keeps its files."""

    folder: Path
    process: subprocess.Popen[bytes]

    async def ready(self) -> Mapping[str, str]:
        """Wait until it listens; returns what it announced: its URL and keys. Raises Unavailable."""
        patience = time.monotonic() + STARTING_SECONDS
        while not (found := self._announced()):
            if self.process.poll() is not None or time.monotonic() > patience:
                raise Unavailable("The demo's engine did not start.")
            await asyncio.sleep(0.05)
        return found

    async def stop(self) -> None:
        """Ask it to end and wait, while receivers go on answering: what is in flight is finished first."""
        self.process.terminate()
        await asyncio.to_thread(self._wait)

    def last_words(self) -> str:
        """The end of what it logged."""
        lines = (self.folder / "engine.log").read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-_LAST_WORDS:])

    def _announced(self) -> dict[str, str]:
        found = StateDir(self.folder).read_running_settings()
        return found if "url" in found else {}

    def _wait(self) -> None:
        try:
            self.process.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def started() -> Iterator[Engine]:
    """Start an engine; whatever happens, it is gone in the end, and so is its folder."""
    folder = Path(tempfile.mkdtemp(prefix="waybill-demo-"))
    try:
        with (folder / "engine.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  our own Python and words
                COMMAND,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop the engine
            )
        try:
            yield Engine(folder, process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        _remove(folder)


def _environment(folder: Path) -> dict[str, str]:
    """Ours without the settings of other engines."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    return {**others, **SETTINGS, "WAYBILL_DATA_DIR": str(folder)}


def _remove(folder: Path) -> None:
    """Remove the folder; after a kill, PostgreSQL may write to it for another moment."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
