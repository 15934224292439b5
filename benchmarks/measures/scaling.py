"""Whether it matters how much waits, how much has happened, and how many endpoints there are.

Each ratio compares two databases that differ in one thing. As many deliveries are drained on both, in turn,
with all endpoints at full speed; rates are those of the middle, without the start and the end.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from benchmarks import ledger
from benchmarks.bench import ENDPOINTS_EACH, TENANTS
from tests.support.postgres import DatabaseServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.site import Site, Target

MANY_TENANTS, MANY_EACH = 1_000, 10
# Of 10,000 endpoints each gets ten: the first of them has the endpoint loaded, as after a start.
EACH_OF_MANY = 10
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared. `drained` is measured, `more` waits beside it."""

    name: str
    site: Site
    targets: Sequence[Target]
    drained: int
    more: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a side has: tenants, endpoints of each, what waits beside what is drained, what is over."""

    tenants: int = TENANTS
    each: int = ENDPOINTS_EACH
    more: int = 0
    history: int = 0


def backlog(bench: Bench) -> dict[str, list[float]]:
    """Draining where a million waits, against where no more waits than is drained."""
    return {"backlog_ratio": _ratios(bench, "backlog", Scene(more=bench.sizes.waiting))}


def history(bench: Bench) -> dict[str, list[float]]:
    """Draining in a ledger with millions of deliveries that are over, against an empty one."""
    return {"history_ratio": _ratios(bench, "history", Scene(history=bench.sizes.history))}


def endpoints(bench: Bench) -> dict[str, list[float]]:
    """Draining to ten thousand endpoints of a thousand tenants, against fifty of ten."""
    many, drained = Scene(MANY_TENANTS, MANY_EACH), MANY_TENANTS * MANY_EACH * EACH_OF_MANY
    return {"endpoints_ratio": _ratios(bench, "endpoints", many, drained)}


def _ratios(bench: Bench, name: str, scene: Scene, drained: int | None = None) -> list[float]:
    """The rate of a scene, against that of one with nothing but what is drained: of each pair, in turn."""
    with ExitStack() as exits:
        sides = [
            _set(
                bench,
                f"{name}-{place}",
                exits.enter_context(_fresh(bench)),
                one,
                drained or bench.sizes.drained,
            )
            for place, one in enumerate((Scene(), scene))
        ]
        ratios = []
        for number in range(bench.sizes.pairs):
            turn = sides if number % 2 == 0 else sides[::-1]
            rates = {side.name: _drain(bench, side) for side in turn}
            plain, other = (rates[side.name] for side in sides)
            print(f"  {name}: {plain:,.0f} against {other:,.0f} deliveries/s", flush=True)
            ratios.append(other / plain)
    return ratios


def _set(bench: Bench, name: str, site: Site, scene: Scene, drained: int) -> Side:
    if scene.history:
        _have_history(bench, site, scene.history)
    targets = site.add_owners(scene.tenants, scene.each, bench.hooks)
    if scene.more:
        bench.status.update(f"{name}: {scene.more:,} deliveries are made to wait …")
        site.owe(targets, scene.more)
    return Side(name, site, targets, drained, scene.more)


def _drain(bench: Bench, side: Side) -> float:
    """Deliveries per second in the middle of the first so many."""
    site, count = side.site, side.drained
    site.renew()
    if not side.more:
        site.owe(side.targets, count)
    since = datetime.now(UTC)
    settings = {"WAYBILL_DATABASE_URL": site.url, "WAYBILL_QUEUE_NAME": side.name}
    with bench.engine.set(**settings), bench.engine.serving(kill=True):
        bench.engine.until(
            lambda: site.delivered(since) >= count or not site.is_owed(),
            f"{count:,} deliveries",
            seconds=PATIENCE,
        )
    return site.steady_rate(since, count)


@contextmanager
def _fresh(bench: Bench) -> Iterator[Site]:
    """A site on a database of its own, dropped at the end."""
    server = DatabaseServer(make_url(bench.engine.stack.database_url))
    with server.database() as url:
        site = bench.engine.migrate(url)
        try:
            yield site
        finally:
            site.database.close()


def _have_history(bench: Bench, site: Site, rows: int) -> None:
    """Write it, and count it for the overview: a relay would do that beside what is measured."""
    ledger.build(site.url, rows, bench.status, pending=0)
    asyncio.run(ledger.roll(site.url, bench.status))
