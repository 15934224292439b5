"""What is around a process: a clock that is wrong, and names that are not found, late, or change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.fault import AFTER_A_LEASE, Fault, NotHereError

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground

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
            time.sleep(_LONG)
        finally:
            ground.stack.own[kind] = own
            ground.stack.stop(kind)
            ground.serve(kind)

    return strike


FAULTS = tuple(
    Fault(f"{kind}'s clock is {words}", "clock", _clock(kind, offset), AFTER_A_LEASE)
    for kind in ("web", "relay", "worker")
    for offset, words in (("-1h", "an hour behind"), ("+1h", "an hour ahead"))
)
