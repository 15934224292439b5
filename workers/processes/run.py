"""What the processes `relay` and `ingest` have in common: how they start and how they are stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from delivery.cli.runtime import report_error
from delivery.config import read_settings
from delivery.domain.errors import Misconfigured
from delivery.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from delivery.config import Settings


def run_process(run: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Read the settings and run the process; settings that cannot be used end it with a line that says why."""
    try:
        settings = read_settings()
        configure_logging(settings)
        uvloop.run(run(settings))
    except Misconfigured as error:
        sys.exit(report_error(error))


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT, on the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
