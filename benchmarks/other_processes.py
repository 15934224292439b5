"""Who else uses the processors while something is measured: figures beside other work tell little."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Self

import psutil

EVERY_SECONDS = 2.0
KERNEL_THREADS = 2  # the process that has started them


class Neighbours:
    """Counts, from `with` to its end, the processor time of all processes that we have not started.

    What lives and ends between two looks is missed. `share` is of all processors, from 0 to 1.
    """

    def __init__(self) -> None:
        """Nobody counts yet."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._used = 0.0
        self._began = 0.0
        self.share = 0.0

    def __enter__(self) -> Self:
        """Begin to count."""
        self._began = time.monotonic()
        self._stolen = psutil.cpu_times().steal
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Count no more."""
        self._over.set()
        self._thread.join()
        stolen = psutil.cpu_times().steal - self._stolen
        seconds = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        self.share = (self._used + stolen) / seconds

    def _count(self) -> None:
        # Whoever was ours stays so: a child of a process that was killed is nobody's for a moment.
        ours: set[tuple[int, float]] = set()
        before = _used_by_others(ours)
        while not self._over.wait(EVERY_SECONDS):
            now = _used_by_others(ours)
            self._used += sum(used - before.get(process, 0.0) for process, used in now.items())
            before = now


def _used_by_others(ours: set[tuple[int, float]]) -> dict[tuple[int, float], float]:
    """Processor seconds of each process that is not ours; those of the system's kernel apart.

    `ours` are those that were; who descends from us now is added.
    """
    processes = {one.pid: one for one in psutil.process_iter()}
    parents = {pid: _parent(one) for pid, one in processes.items()}
    found: dict[tuple[int, float], float] = {}
    for pid, one in processes.items():
        if parents[pid] == KERNEL_THREADS:
            continue
        with suppress(psutil.Error):  # it has just ended
            process = (pid, one.create_time())
            if _is_ours(pid, parents):
                ours.add(process)
            elif process not in ours:
                times = one.cpu_times()
                found[process] = times.user + times.system
    return found


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    ours = os.getpid()
    while pid > 1:
        if pid == ours:
            return True
        pid = parents.get(pid, 0)
    return False
