"""Processor time of other processes during a measurement: a busy machine makes results unreliable."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Self

import psutil

SAMPLE_INTERVAL_SECONDS = 2.0
KERNEL_THREAD_PID = 2  # the parent of kernel threads


class OtherProcesses:
    """Measures the processor time of all processes that we have not started, while the block runs.

    Processes that live between two samples only are missed. `cpu_share` is of all processors, from 0 to 1.
    """

    def __init__(self) -> None:
        """Sampling starts with the block."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._used = 0.0
        self._began = 0.0
        self.cpu_share = 0.0

    def __enter__(self) -> Self:
        """Start sampling."""
        self._began = time.monotonic()
        self._stolen = psutil.cpu_times().steal
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()
        stolen = psutil.cpu_times().steal - self._stolen
        seconds = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        self.cpu_share = (self._used + stolen) / seconds

    def _count(self) -> None:
        # Once ours, always ours: the child of a killed process has no parent for a moment.
        ours: set[tuple[int, float]] = set()
        before = _measure_other_processes(ours)
        while not self._stop.wait(SAMPLE_INTERVAL_SECONDS):
            now = _measure_other_processes(ours)
            self._used += sum(used - before.get(process, 0.0) for process, used in now.items())
            before = now


def _measure_other_processes(ours: set[tuple[int, float]]) -> dict[tuple[int, float], float]:
    """Processor seconds of each process that is not ours, without kernel threads.

    `ours` has our processes so far; current descendants are added.
    """
    processes = {process.pid: process for process in psutil.process_iter()}
    parents = {pid: _get_parent_pid(process) for pid, process in processes.items()}
    found: dict[tuple[int, float], float] = {}
    for pid, process in processes.items():
        if parents[pid] == KERNEL_THREAD_PID:
            continue
        with suppress(psutil.Error):  # it has ended
            identity = (pid, process.create_time())
            if _is_descendant(pid, parents):
                ours.add(identity)
            elif identity not in ours:
                times = process.cpu_times()
                found[identity] = times.user + times.system
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
