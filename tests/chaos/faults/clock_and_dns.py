"""Faults around a process: a wrong clock, and names that are not found, late, or change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.fault import LEASE_RECOVERY_SECONDS, Fault, UnsupportedFaultError, wait_seconds
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import FaultAction
    from tests.chaos.name_server import NameServer

_FAULT_SECONDS = 6.0
_LIBRARY = "faketime/libfaketime.so.1"


def _make_clock_fault(kind: str, offset: str) -> FaultAction:
    """Run one of two processes with a clock that is wrong by so much, for a while."""

    def strike(ground: ChaosEnvironment, _rng: Random) -> None:
        found = next(Path("/usr/lib").glob(f"*/{_LIBRARY}"), None)
        if found is None:
            raise UnsupportedFaultError("Debian's faketime is not installed")
        own = dict(ground.stack.process_environment[kind])
        ground.stack.process_environment[kind] = own | {
            "LD_PRELOAD": str(found),
            "FAKETIME": offset,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        try:
            ground.stack.stop(kind)
            ground.serve(kind)
            wait_seconds(_FAULT_SECONDS)
        finally:
            ground.stack.process_environment[kind] = own
            ground.stack.stop(kind)
            ground.serve(kind)

    return strike


def _make_dns_fault(change: Callable[[NameServer], None]) -> FaultAction:
    """Have the name server of the workers be otherwise for a while."""

    def strike(ground: ChaosEnvironment, _rng: Random) -> None:
        if ground.name_server is None:
            raise UnsupportedFaultError("a name server of its own needs root")
        asked = ground.name_server.query_count
        change(ground.name_server)
        try:
            wait_until(
                lambda: ground.name_server is not None and ground.name_server.query_count > asked,
                "a name",
                seconds=30,
            )
            wait_seconds(_FAULT_SECONDS)
        finally:
            ground.name_server.set_addresses(["127.0.0.1"])
            ground.name_server.is_silent = ground.name_server.is_failing = False

    return strike


def _silence_dns(names: NameServer) -> None:
    names.is_silent = True


def _fail_dns(names: NameServer) -> None:
    names.is_failing = True


def _flip_dns(names: NameServer) -> None:
    # Nobody listens at the others.
    names.set_addresses(["127.0.0.1", "127.0.0.2", "127.0.0.3"])


_CLOCKS = tuple(
    Fault(f"{kind}'s clock is {words}", "clock", _make_clock_fault(kind, offset), LEASE_RECOVERY_SECONDS)
    for kind in ("web", "relay", "worker")
    for offset, words in (("-1h", "an hour behind"), ("+1h", "an hour ahead"))
)
FAULTS = (
    *_CLOCKS,
    Fault("names are not found", "names", _make_dns_fault(_fail_dns)),
    Fault("the name server says nothing", "names", _make_dns_fault(_silence_dns)),
    Fault("names change their addresses", "names", _make_dns_fault(_flip_dns)),
)
