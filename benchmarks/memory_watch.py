"""How much memory the processes of a worker take while something else is measured."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import psutil

from benchmarks.suite import MIB

if TYPE_CHECKING:
    from tests.support.stack import Stack

SAMPLE_INTERVAL_SECONDS = 1.0


class WorkerMemoryWatch:
    """Looks every second, from `with` to its end, at each worker process; the main process is not counted.

    What is shared between processes is counted in parts (PSS), so that forked ones do not count it twice.
    """

    def __init__(self, stack: Stack) -> None:
        """Nobody looks yet."""
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_often, daemon=True)
        self.peak_mib = 0.0  # MiB

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look_often(self) -> None:
        while not self._over.wait(SAMPLE_INTERVAL_SECONDS):
            self.peak_mib = max(self.peak_mib, measure_largest_worker(self._stack))


def measure_largest_worker(stack: Stack) -> float:
    """The proportional memory (PSS), in MiB, of the largest process that `worker` has started."""
    largest = 0.0
    try:
        for process in psutil.Process(stack.get_pid("worker")).children(recursive=True):
            largest = max(largest, process.memory_full_info().pss / MIB)
    except (psutil.Error, LookupError):  # it is just being started or stopped
        pass
    return largest
