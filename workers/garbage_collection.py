"""Python's collector of cycles, set for processes that make and drop many small values and live for weeks."""

from __future__ import annotations

import gc
from typing import Final

# The defaults look every 700 values, which is several times for each claim, and find nothing.
_GC_THRESHOLDS: Final = (10_000, 20, 20)


def tune_gc() -> None:
    """Leave what is there now, modules above all, out of every collection, and collect less often.

    Call it once a process has all its parts. About a twentieth of the throughput (`docs/performance.md`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
