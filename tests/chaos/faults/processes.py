"""Processes that are killed at any moment, that stand still, and that are stopped as a deploy does."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from tests.chaos.fault import LEASE_RECOVERY_SECONDS, Fault, wait_seconds

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import FaultAction


def _pick_process(kind: str, rng: Random) -> str:
    return rng.choice((kind, f"{kind}.2"))


def _make_kill_fault(kind: str) -> FaultAction:
    def strike(ground: ChaosEnvironment, rng: Random) -> None:
        wait_seconds(rng.uniform(0, 1))
        name = _pick_process(kind, rng)
        ground.kill(name)
        wait_seconds(rng.uniform(0, 1))
        ground.serve(name)

    return strike


def _kill_all_processes(ground: ChaosEnvironment, _rng: Random) -> None:
    for name in ground.stack.running:
        ground.kill(name)
    wait_seconds(1)
    ground.restart_stopped()


def _make_freeze_fault(kind: str) -> FaultAction:
    """Pause it for longer than a lease: another process has its work when it continues."""

    def strike(ground: ChaosEnvironment, rng: Random) -> None:
        process = psutil.Process(ground.stack.get_pid(_pick_process(kind, rng)))
        family = [process, *process.children(recursive=True)]
        _send_signal(family, signal.SIGSTOP)
        wait_seconds(12)
        _send_signal(family, signal.SIGCONT)

    return strike


def _send_signal(family: list[psutil.Process], what: signal.Signals) -> None:
    for process in family:
        os.kill(process.pid, what)


def _rolling_deploy(ground: ChaosEnvironment, _rng: Random) -> None:
    """Stop and start one process after the other, as a rolling deploy does."""
    for name in ("web", "relay", "worker"):
        ground.stack.stop(name)
        ground.serve(name)


FAULTS = (
    Fault("kill web", "processes", _make_kill_fault("web"), is_in_short_run=True),
    Fault("kill relay", "processes", _make_kill_fault("relay")),
    Fault(
        "kill worker", "processes", _make_kill_fault("worker"), LEASE_RECOVERY_SECONDS, is_in_short_run=True
    ),
    Fault("kill all six at once", "processes", _kill_all_processes, LEASE_RECOVERY_SECONDS),
    Fault(
        "a worker stands still for 12 s", "processes", _make_freeze_fault("worker"), LEASE_RECOVERY_SECONDS
    ),
    Fault("a relay stands still for 12 s", "processes", _make_freeze_fault("relay"), LEASE_RECOVERY_SECONDS),
    Fault("rolling deploy", "processes", _rolling_deploy),
)
