"""Where an attempt's time went, as bars one behind the other. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from delivery.model import Timings

_NOTHING: Final = timedelta(0)
WIDTH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Bar:
    """One phase: where it begins and how wide it is, of WIDTH in all."""

    phase: str
    tone: str
    took: timedelta
    x: float
    width: float


def bars(timings: Timings, *, longest: timedelta | None = None) -> tuple[Bar, ...]:
    """The phases of an attempt in order, on the scale of the longest attempt beside it."""
    phases = list(_phases(timings))
    whole = max(longest or _NOTHING, sum((took for _, _, took in phases), _NOTHING))
    if whole <= _NOTHING:
        return ()
    found, x = [], 0.0
    for phase, tone, took in phases:
        width = WIDTH * (took / whole)
        found.append(Bar(phase, tone, took, x, width))
        x += width
    return tuple(found)


def _phases(timings: Timings) -> Iterator[tuple[str, str, timedelta]]:
    total = timings.total or _NOTHING
    before = _NOTHING
    for phase, tone, took in (
        ("name", "still", timings.dns),
        ("connect", "move", timings.connect),
        ("TLS", "wait", timings.tls),
    ):
        if took:
            before += took
            yield phase, tone, took
    if timings.first_byte is not None:
        yield "waiting for the answer", "ok", timings.first_byte
        rest = total - before - timings.first_byte
        if rest > _NOTHING:
            yield "answer", "still", rest
    elif total > before:
        yield "waiting, in vain", "bad", total - before
