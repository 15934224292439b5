"""Who else uses the processors while something is measured: figures beside other work tell little."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Self

import psutil

SAMPLE_INTERVAL_SECONDS = 2.0
KERNEL_THREAD_PID = 2  # the process that has started them


class OtherProcesses:
    """Counts, from `with` to its end, the processor time of all processes that we have not started.

    What lives and ends between two looks is missed. `share` is of all processors, from 0 to 1.
    """

    def __init__(self) -> None:
        """Nobody counts yet."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._used = 0.0
        self._began = 0.0
        self.cpu_share = 0.0

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
        self.cpu_share = (self._used + stolen) / seconds

    def _count(self) -> None:
        # Whoever was ours stays so: a child of a process that was killed is nobody's for a moment.
        ours: set[tuple[int, float]] = set()
        before = _measure_other_processes(ours)
        while not self._over.wait(SAMPLE_INTERVAL_SECONDS):
            now = _measure_other_processes(ours)
            self._used += sum(used - before.get(process, 0.0) for process, used in now.items())
            before = now


def _measure_other_processes(ours: set[tuple[int, float]]) -> dict[tuple[int, float], float]:
    """Processor seconds of each process that is not ours; those of the system's kernel apart.

    `ours` are those that were; who descends from us now is added.
    """
    processes = {one.pid: one for one in psutil.process_iter()}
    parents = {pid: _get_parent_pid(one) for pid, one in processes.items()}
    found: dict[tuple[int, float], float] = {}
    for pid, one in processes.items():
        if parents[pid] == KERNEL_THREAD_PID:
            continue
        with suppress(psutil.Error):  # it has just ended
            process = (pid, one.create_time())
            if _is_descendant(pid, parents):
                ours.add(process)
            elif process not in ours:
                times = one.cpu_times()
                found[process] = times.user + times.system
    return found


def _get_parent_pid(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _is_descendant(pid: int, parents: dict[int, int]) -> bool:
    ours = os.getpid()
    while pid > 1:
        if pid == ours:
            return True
        pid = parents.get(pid, 0)
    return False
