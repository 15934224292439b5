"""The duration of each phase of an attempt, as consecutive bars. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from delivery.domain.attempt import Timings

_ZERO: Final = timedelta(0)
WIDTH: Final = 1_000


@dataclass(frozen=True, slots=True)
class PhaseBar:
    """One phase: where its bar begins and how wide it is, in units of which WIDTH are the full width."""

    phase: str
    tone: str
    duration: timedelta
    x: float
    width: float


def build_bars(timings: Timings, *, scale: timedelta | None = None) -> tuple[PhaseBar, ...]:
    """Build the bars of an attempt in order; `scale` is the duration that fills the full width."""
    phases = list(_iter_phases(timings))
    total_width = max(scale or _ZERO, sum((took for _, _, took in phases), _ZERO))
    if total_width <= _ZERO:
        return ()
    bars, x = [], 0.0
    for phase, tone, took in phases:
        width = WIDTH * (took / total_width)
        bars.append(PhaseBar(phase, tone, took, x, width))
        x += width
    return tuple(bars)


def _iter_phases(timings: Timings) -> Iterator[tuple[str, str, timedelta]]:
    total = timings.total or _ZERO
    before = _ZERO
    for phase, tone, took in (
        ("name", "still", timings.dns),
        ("connect", "move", timings.connect),
        ("TLS", "wait", timings.tls),
    ):
        if took:
            before += took
            yield phase, tone, took
    if timings.first_byte is not None:
        yield "waiting for the response", "ok", timings.first_byte
        rest = total - before - timings.first_byte
        if rest > _ZERO:
            yield "response", "still", rest
    elif total > before:
        yield "waiting, no response", "bad", total - before
