"""A fault and what it may cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.environment import ChaosEnvironment

# Seconds until everything flows again after its end; more if only a lapsed lease can tell.
RECOVERY_SECONDS, LEASE_RECOVERY_SECONDS = 10.0, 60.0

FaultAction = Callable[["ChaosEnvironment", Random], None]


def wait_seconds(seconds: float) -> None:
    """Let so much time pass in which a fault lasts, or before it strikes; the load goes on.

    How long it lasts is part of what a fault is (longer than a lease, or than a lock is waited for): whoever
    waits for something to come about asks for that instead.
    """
    time.sleep(seconds)


class UnsupportedFaultError(Exception):
    """This machine, or this account on it, cannot have the fault: it is left out, and that is said."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `strike` has it begin, last and end, and raises TimeoutError if it did not happen.

    `brief` ones belong to the short form too.
    """

    name: str
    area: str
    inject: FaultAction
    max_recovery_seconds: float = RECOVERY_SECONDS
    is_in_short_run: bool = False
