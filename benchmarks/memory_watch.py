"""Memory of a worker's processes during a measurement."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import psutil

from benchmarks.suite import MIB

if TYPE_CHECKING:
    from tests.support.stack import Stack

SAMPLE_INTERVAL_SECONDS = 1.0


class WorkerMemoryWatch:
    """Samples every worker process once a second while the block runs, without the main process.

    Shared memory is divided among processes (PSS), so that forked ones do not count it twice.
    """

    def __init__(self, stack: Stack) -> None:
        """Sampling starts with the block."""
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_mib = 0.0  # MiB

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_SECONDS):
            self.peak_mib = max(self.peak_mib, measure_largest_worker(self._stack))


def measure_largest_worker(stack: Stack) -> float:
    """The memory (PSS), in MiB, of the largest process that `worker` has started."""
    largest = 0.0
    try:
        for process in psutil.Process(stack.get_pid("worker")).children(recursive=True):
            largest = max(largest, process.memory_full_info().pss / MIB)
    except (psutil.Error, LookupError):  # a process starts or stops
        pass
    return largest
