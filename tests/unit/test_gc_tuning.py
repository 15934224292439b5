"""The collector of cycles is set once, and still collects."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from workers.garbage_collection import tune_gc

if TYPE_CHECKING:
    from collections.abc import Iterator


class Knot:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_startup_objects_are_frozen_and_new_cycles_are_collected() -> None:
    tune_gc()
    assert gc.get_freeze_count() > 0
    went: list[bool] = []
    weakref.finalize(Knot(), went.append, True)  # noqa: FBT003  what is appended
    for _ in range(20):
        gc.collect(0)
    assert went == [True]
