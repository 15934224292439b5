"""Processes that are killed at any moment, that stand still, and that are stopped as a deploy does."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

from tests.chaos.fault import AFTER_A_LEASE, Fault, hold

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground


def _one_of(kind: str, rng: Random) -> str:
    return rng.choice((kind, f"{kind}.2"))


def _kill(kind: str) -> Strike:
    def strike(ground: Ground, rng: Random) -> None:
        hold(rng.uniform(0, 1))
        name = _one_of(kind, rng)
        ground.kill(name)
        hold(rng.uniform(0, 1))
        ground.serve(name)

    return strike


def _kill_all(ground: Ground, _rng: Random) -> None:
    for name in ground.stack.running:
        ground.kill(name)
    hold(1)
    ground.revive()


def _freeze(kind: str) -> Strike:
    """Stand still for longer than a lease: what it held is somebody else's when it goes on."""

    def strike(ground: Ground, rng: Random) -> None:
        process = psutil.Process(ground.stack.pid_of(_one_of(kind, rng)))
        family = [process, *process.children(recursive=True)]
        _signal(family, signal.SIGSTOP)
        hold(12)
        _signal(family, signal.SIGCONT)

    return strike


def _signal(family: list[psutil.Process], what: signal.Signals) -> None:
    for process in family:
        os.kill(process.pid, what)


def _deploy(ground: Ground, _rng: Random) -> None:
    """Stop and start one process after the other, as a rolling deploy does."""
    for name in ("web", "relay", "worker"):
        ground.stack.stop(name)
        ground.serve(name)


FAULTS = (
    Fault("kill web", "processes", _kill("web"), brief=True),
    Fault("kill relay", "processes", _kill("relay")),
    Fault("kill worker", "processes", _kill("worker"), AFTER_A_LEASE, brief=True),
    Fault("kill all six at once", "processes", _kill_all, AFTER_A_LEASE),
    Fault("a worker stands still for 12 s", "processes", _freeze("worker"), AFTER_A_LEASE),
    Fault("a relay stands still for 12 s", "processes", _freeze("relay"), AFTER_A_LEASE),
    Fault("rolling deploy", "processes", _deploy),
)
