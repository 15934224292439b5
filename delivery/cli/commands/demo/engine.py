"""The demo's engine: `python -m workers.processes.embedded` in a temporary folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from delivery.domain.errors import Unavailable
from delivery.embedded.state_dir import StateDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS = 60.0
STOP_SECONDS = 25.0

# If the demo is killed, the kernel stops the engine. -P: nothing is imported from the current folder.
COMMAND = ("setpriv", "--pdeathsig=TERM", "--", sys.executable, "-P", "-m", "workers.processes.embedded")
SETTINGS = {
    "WAYBILL_HOST": "127.0.0.1",
    "WAYBILL_PORT": "0",  # any free one
    "WAYBILL_ALLOW_HTTP": "true",
    "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8",
    "WAYBILL_LOG_LEVEL": "warning",
}


class DemoEngine:
    """A running engine and the folder of its files."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._process = process

    async def wait_until_ready(self) -> Mapping[str, str]:
        """Return its URL and keys once it listens. Raises Unavailable."""
        deadline = time.monotonic() + START_SECONDS
        while "url" not in (found := StateDir(self._folder).read_running_settings()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("The demo's engine did not start.")
            await asyncio.sleep(0.05)
        return found

    async def stop(self) -> None:
        """Stop it and wait; receivers still answer, so that it finishes what is in flight."""
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def read_log_tail(self) -> str:
        """The last lines that it logged."""
        return "\n".join((self._folder / "engine.log").read_text(errors="replace").splitlines()[-12:])


@contextmanager
def run_engine() -> Iterator[DemoEngine]:
    """Start an engine; afterwards neither it nor its folder is left."""
    folder = Path(tempfile.mkdtemp(prefix="waybill-demo-"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    try:
        with (folder / "engine.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  our own Python and words
                COMMAND,
                env={**inherited, **SETTINGS, "WAYBILL_DATA_DIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which stops the engine
            )
        try:
            yield DemoEngine(folder, process)
        finally:
            process.kill()
            process.wait()
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    # After a kill, PostgreSQL may write to it for another moment.
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
