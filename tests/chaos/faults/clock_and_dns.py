"""What is around a process: a clock that is wrong, and names that are not found, late, or change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.fault import AFTER_A_LEASE, Fault, NotHereError, hold
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground
    from tests.chaos.names import NameServer

_LONG = 6.0
_LIBRARY = "faketime/libfaketime.so.1"


def _clock(kind: str, offset: str) -> Strike:
    """Run one of two processes with a clock that is wrong by so much, for a while."""

    def strike(ground: Ground, _rng: Random) -> None:
        found = next(Path("/usr/lib").glob(f"*/{_LIBRARY}"), None)
        if found is None:
            raise NotHereError("Debian's faketime is not installed")
        own = dict(ground.stack.own[kind])
        ground.stack.own[kind] = own | {
            "LD_PRELOAD": str(found),
            "FAKETIME": offset,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        try:
            ground.stack.stop(kind)
            ground.serve(kind)
            hold(_LONG)
        finally:
            ground.stack.own[kind] = own
            ground.stack.stop(kind)
            ground.serve(kind)

    return strike


def _names(change: Callable[[NameServer], None]) -> Strike:
    """Have the name server of the workers be otherwise for a while."""

    def strike(ground: Ground, _rng: Random) -> None:
        if ground.names is None:
            raise NotHereError("a name server of its own needs root")
        asked = ground.names.asked
        change(ground.names)
        try:
            wait_until(lambda: ground.names is not None and ground.names.asked > asked, "a name", seconds=30)
            hold(_LONG)
        finally:
            ground.names.say(["127.0.0.1"])
            ground.names.silent = ground.names.failing = False

    return strike


def _silent(names: NameServer) -> None:
    names.silent = True


def _failing(names: NameServer) -> None:
    names.failing = True


def _flipping(names: NameServer) -> None:
    # Nobody listens at the others.
    names.say(["127.0.0.1", "127.0.0.2", "127.0.0.3"])


_CLOCKS = tuple(
    Fault(f"{kind}'s clock is {words}", "clock", _clock(kind, offset), AFTER_A_LEASE)
    for kind in ("web", "relay", "worker")
    for offset, words in (("-1h", "an hour behind"), ("+1h", "an hour ahead"))
)
FAULTS = (
    *_CLOCKS,
    Fault("names are not found", "names", _names(_failing)),
    Fault("the name server says nothing", "names", _names(_silent)),
    Fault("names change their addresses", "names", _names(_flipping)),
)
