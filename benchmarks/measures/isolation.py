"""What others notice of a tenant with a large backlog, and of endpoints that never answer."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.bench import ENDPOINTS_EACH, TENANTS
from benchmarks.posts import Post
from benchmarks.site import PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench import Bench
    from benchmarks.site import Target

NOISY_ENDPOINTS, QUIET_ENDPOINTS = 50, 5
QUIET_RATE, QUIET_SECONDS, QUIET_CONNECTIONS = 20.0, 30.0, 16
UNDER_WAY = 2_000
PATIENCE = 60.0
SOON_MS = 500
# Of five events one goes to an endpoint that never answers.
HEALTHY_FOR_EACH_STALLED = 4
LONGEST_LOAD = 12.0
HEALTHY = "/hooks/"
_HEALTHY_RATE = """
    select count(*) / extract(epoch from max(d.finished_at) - min(d.created_at))
    from deliveries d join endpoints e on e.id = d.endpoint_id
    where e.url like '%/hooks/%' and d.status = 'succeeded'
"""


def noisy(bench: Bench) -> dict[str, float]:
    """A quiet tenant's events, from answered to arrived, while another one's backlog is drained."""
    engine, site, inbox = bench.engine, bench.site, bench.inbox
    site.clear()
    loud = site.add_owners(1, NOISY_ENDPOINTS, lambda _, kind: inbox.url(f"/hooks/noisy/{kind}"))
    calm = site.add_owners(1, QUIET_ENDPOINTS, lambda _, kind: inbox.url(f"/hooks/quiet/{kind}"))
    site.renew()
    posts = _posts(engine.key_of(calm[0].owner), calm)
    site.owe(loud, bench.sizes.noisy)
    with engine.serving(kill=True):
        began = inbox.count()
        engine.until(lambda: inbox.count() - began > UNDER_WAY, "the noisy tenant", seconds=PATIENCE)
        inbox.keep("/hooks/quiet")
        said, answered = engine.stream(posts, QUIET_SECONDS, QUIET_RATE, QUIET_CONNECTIONS)
        if not site.is_owed("/hooks/noisy/"):
            raise RuntimeError("The noisy tenant's backlog was over before the stream was: let more wait.")
        engine.settled("/hooks/quiet/", seconds=PATIENCE)
        arrived = dict(reversed(inbox.kept()))
    site.clear()
    if said["refused"] or answered.keys() - arrived.keys():
        raise RuntimeError(f"{len(arrived)} of {len(answered)} arrived, {said['refused']} were refused.")
    took = [(arrived[event] - at) / 1e6 for event, at in answered.items()]
    return {
        "noisy_p99_ms": statistics.quantiles(took, n=100, method="inclusive")[98],
        "noisy_within_500ms": sum(each <= SOON_MS for each in took) / len(took),
    }


def slow(bench: Bench) -> dict[str, list[float]]:
    """How fast healthy endpoints are served beside stalled ones, against alone: pairs, in turn."""
    stage = _Stalled(bench)
    ratios = []
    for number in range(bench.sizes.close_pairs):
        alone, beside = _in_turn(number, lambda: stage.rate(beside=False), lambda: stage.rate(beside=True))
        print(f"  slow: {alone:,.0f} against {beside:,.0f} healthy events/s", flush=True)
        ratios.append(beside / alone)
    return {"slow_ratio": ratios}


class _Stalled:
    """Ten tenants with five healthy endpoints each, and one that never answers."""

    def __init__(self, bench: Bench) -> None:
        """Add them."""
        self._bench = bench
        bench.site.clear()

        def url_of(tenant: int, kind: int) -> str:
            path = "hooks" if kind < ENDPOINTS_EACH else "never"
            return bench.inbox.url(f"/{path}/beside/{tenant}/{kind}")

        each = ENDPOINTS_EACH + 1
        targets = bench.site.add_owners(TENANTS, each, url_of)
        keys = [bench.engine.key_of(one.owner) for one in targets[::each]]
        posts = [
            post for place, key in enumerate(keys) for post in _posts(key, targets[place * each :][:each])
        ]
        self._healthy = [post for place, post in enumerate(posts) if place % each < ENDPOINTS_EACH]
        stalled = [replace(post, arrives=False) for post in posts[ENDPOINTS_EACH::each]]
        self._mixed: list[Post] = []
        for place, post in enumerate(self._healthy * HEALTHY_FOR_EACH_STALLED):
            self._mixed.append(post)
            if place % HEALTHY_FOR_EACH_STALLED == 0:
                self._mixed.append(stalled[place // HEALTHY_FOR_EACH_STALLED % len(stalled)])

    def rate(self, *, beside: bool) -> float:
        """Healthy events a second, from accepted to recorded success, under closed-loop load."""
        engine, site, sizes = self._bench.engine, self._bench.site, self._bench.sizes
        site.clear()
        with engine.serving(kill=True):
            self._bench.warm_up(self._healthy)
            site.renew(f"%{HEALTHY}%")
            posts, connections = self._healthy, sizes.connections
            if beside:  # as many clients as before have healthy events, and others come for the stalled
                posts, connections = self._mixed, connections + connections // HEALTHY_FOR_EACH_STALLED
            engine.load(posts, min(sizes.seconds, LONGEST_LOAD), connections, self._bench.inbox.port)
            engine.settled(HEALTHY)
        rate = float(site.row(_HEALTHY_RATE)[0])
        site.clear()
        return rate


def _posts(key: str, targets: Sequence[Target]) -> list[Post]:
    return [Post(key, [one.type], PAYLOAD_BYTES) for one in targets]


def _in_turn(number: int, one: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    """Both, the other one first every second time."""
    if number % 2:
        second = other()
        return one(), second
    return one(), other()
