"""Effect of a tenant with a large backlog, and of endpoints that never answer, on others."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.bench_database import PAYLOAD_BYTES
from benchmarks.post_requests import PostRequest
from benchmarks.suite import ENDPOINTS_EACH, TENANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench_database import BenchEndpoint
    from benchmarks.suite import BenchSuite

NOISY_ENDPOINTS, QUIET_ENDPOINTS = 50, 5
QUIET_RATE, QUIET_SECONDS, QUIET_CONNECTIONS = 20.0, 30.0, 16
MIN_DRAINED = 2_000
TIMEOUT_SECONDS = 60.0
FAST_MS = 500
# One of five events goes to an endpoint that never answers.
HEALTHY_FOR_EACH_STALLED = 4
MAX_LOAD_SECONDS = 12.0
HEALTHY = "/hooks/"
_HEALTHY_RATE = """
    select count(*) / extract(epoch from max(d.finished_at) - min(d.created_at))
    from deliveries d join endpoints e on e.id = d.endpoint_id
    where e.url like '%/hooks/%' and d.status = 'succeeded'
"""


def measure_noisy_neighbour(bench: BenchSuite) -> dict[str, float]:
    """Measure a quiet tenant's latency, answered to arrived, while another tenant's backlog drains."""
    engine, site, inbox = bench.engine, bench.site, bench.inbox
    site.reset()
    noisy = site.add_tenants(1, NOISY_ENDPOINTS, lambda _, kind: inbox.get_url(f"/hooks/noisy/{kind}"))
    quiet = site.add_tenants(1, QUIET_ENDPOINTS, lambda _, kind: inbox.get_url(f"/hooks/quiet/{kind}"))
    site.reset_queue()
    posts = _make_posts(engine.create_key(quiet[0].tenant_public_id), quiet)
    site.add_pending(noisy, bench.sizes.noisy)
    with engine.run_processes(kill=True):
        began = inbox.count_received()
        engine.wait_until(
            lambda: inbox.count_received() - began > MIN_DRAINED, "the noisy tenant", seconds=TIMEOUT_SECONDS
        )
        inbox.start_recording("/hooks/quiet")
        counts, answered = engine.run_open_loop(posts, QUIET_SECONDS, QUIET_RATE, QUIET_CONNECTIONS)
        if not site.has_pending("/hooks/noisy/"):
            raise RuntimeError("The noisy tenant's backlog drained too early: use a larger --noisy.")
        engine.wait_until_delivered("/hooks/quiet/", seconds=TIMEOUT_SECONDS)
        arrived = dict(reversed(inbox.read_recorded()))
    site.reset()
    if counts["refused"] or answered.keys() - arrived.keys():
        raise RuntimeError(f"{len(arrived)} of {len(answered)} arrived, {counts['refused']} were refused.")
    took = [(arrived[event] - at) / 1e6 for event, at in answered.items()]
    return {
        "noisy_p99_ms": statistics.quantiles(took, n=100, method="inclusive")[98],
        "noisy_within_500ms": sum(per_tenant <= FAST_MS for per_tenant in took) / len(took),
    }


def measure_stalled_endpoints(bench: BenchSuite) -> dict[str, list[float]]:
    """Measure the throughput of healthy endpoints with stalled ones relative to alone, in pairs."""
    bench_state = _StalledBench(bench)
    ratios = []
    for number in range(bench.sizes.close_pairs):
        alone, with_stalled = _run_alternating(
            number,
            lambda: bench_state.measure_rate(beside_stalled=False),
            lambda: bench_state.measure_rate(beside_stalled=True),
        )
        print(
            f"  slow: {alone:,.0f} alone, {with_stalled:,.0f} with stalled endpoints, healthy events/s",
            flush=True,
        )
        ratios.append(with_stalled / alone)
    return {"slow_ratio": ratios}


class _StalledBench:
    """Ten tenants, each with five healthy endpoints and one that never answers."""

    def __init__(self, bench: BenchSuite) -> None:
        """Add the tenants and endpoints."""
        self._bench = bench
        bench.site.reset()

        def url_of(tenant: int, kind: int) -> str:
            path = "hooks" if kind < ENDPOINTS_EACH else "never"
            return bench.inbox.get_url(f"/{path}/beside/{tenant}/{kind}")

        per_tenant = ENDPOINTS_EACH + 1
        targets = bench.site.add_tenants(TENANTS, per_tenant, url_of)
        keys = [bench.engine.create_key(endpoint.tenant_public_id) for endpoint in targets[::per_tenant]]
        posts = [
            post
            for place, key in enumerate(keys)
            for post in _make_posts(key, targets[place * per_tenant :][:per_tenant])
        ]
        self._healthy = [post for place, post in enumerate(posts) if place % per_tenant < ENDPOINTS_EACH]
        stalled = [replace(post, is_delivered=False) for post in posts[ENDPOINTS_EACH::per_tenant]]
        self._mixed: list[PostRequest] = []
        for place, post in enumerate(self._healthy * HEALTHY_FOR_EACH_STALLED):
            self._mixed.append(post)
            if place % HEALTHY_FOR_EACH_STALLED == 0:
                self._mixed.append(stalled[place // HEALTHY_FOR_EACH_STALLED % len(stalled)])

    def measure_rate(self, *, beside_stalled: bool) -> float:
        """Measure healthy events per second, accepted to recorded success, under closed-loop load."""
        engine, site, sizes = self._bench.engine, self._bench.site, self._bench.sizes
        site.reset()
        with engine.run_processes(kill=True):
            self._bench.warm_up(self._healthy)
            site.reset_queue(f"%{HEALTHY}%")
            posts, connections = self._healthy, sizes.connections
            if beside_stalled:  # the number of clients with healthy events stays the same
                posts, connections = self._mixed, connections + connections // HEALTHY_FOR_EACH_STALLED
            engine.run_closed_loop(
                posts, min(sizes.seconds, MAX_LOAD_SECONDS), connections, self._bench.inbox.port
            )
            engine.wait_until_delivered(HEALTHY)
        rate = float(site.fetch_row(_HEALTHY_RATE)[0])
        site.reset()
        return rate


def _make_posts(key: str, targets: Sequence[BenchEndpoint]) -> list[PostRequest]:
    return [PostRequest(key, [endpoint.type], PAYLOAD_BYTES) for endpoint in targets]


def _run_alternating(
    number: int, first: Callable[[], float], second: Callable[[], float]
) -> tuple[float, float]:
    """Call both; the second one first in every other round."""
    if number % 2:
        value = second()
        return first(), value
    return first(), second()
