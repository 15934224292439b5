"""How tests are shared out to processes: each starts servers of its own, and so none meets another's."""

from __future__ import annotations

import signal

import psutil
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import NodeManager

WHOLE_ENGINES = "tests/e2e/"
# About half of the time each.
_SECOND_HALF_START = "tests/e2e/test_i"


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A file's tests stay together, with what they share; those that run whole engines are two halves.

    With more engines at a time they would wait for the processor, not for each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        if not nodeid.startswith(WHOLE_ENGINES):
            return nodeid.partition("::")[0]
        return f"{WHOLE_ENGINES} {'second' if nodeid >= _SECOND_HALF_START else 'first'} half"


def interrupt_once(*_: object) -> None:
    """End this process as on Ctrl-C at the first signal; later signals do not disturb the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def stop_workers() -> None:
    """Tell the processes that run tests to end, and leave them the time that their servers need."""
    NodeManager.EXIT_TIMEOUT = 60
    for process in psutil.Process().children():
        process.send_signal(signal.SIGINT)
