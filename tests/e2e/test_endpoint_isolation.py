"""One bad endpoint costs only itself: two relays, two workers, and endpoints in every kind of trouble."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.ids import Prefix, format_id
from tests.support.misbehaving_receiver import (
    ALWAYS_500,
    HEALTHY,
    NEVER_ANSWERS,
    MisbehavingReceiver,
    PathBehaviour,
)
from tests.support.postgres import connect
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    import psycopg

    from tests.support.api import Api
    from tests.support.stack import Stack

# The defaults: most in flight, what a new endpoint starts with, failures in a row that open a breaker.
MOST, FIRST, CONSECUTIVE = 50, 10, 10
RAMP = [1, 2, 4, 8, 16, 32, MOST]
TERMS = {
    "WAYBILL_WORKER_PROCESSES": "1",
    "WAYBILL_BREAKER_COOL_DOWN_SECONDS": "1",
    "WAYBILL_BREAKER_LONGEST_COOL_DOWN_SECONDS": "2",
    # A delivery that is the probe again and again must not spend its schedule.
    "WAYBILL_RETRY_SCHEDULE": "0" + ",1" * 29,
}
FULL = PathBehaviour(429, retry_after=2)
# More than 80 % of the time limit of three seconds.
SLOW = PathBehaviour(delay=2.6)
# Long enough that several are seen at the same time.
WELL = PathBehaviour(delay=0.05)
PATIENCE = 60
# `make bench-isolation` does it with 20,000.
BACKLOG = 3_000

OPENED, CLOSED = "endpoint.breaker_opened", "endpoint.breaker_closed"
STAYED_OPEN = "endpoint.breaker_stayed_open"

# Writes down each change of what an endpoint has in flight and may have, whoever makes it, and in the order
# in which it is made: the changes of one endpoint wait for each other.
WITNESS = """
    create table witnessed (
        id bigint generated always as identity, endpoint_id uuid, breaker_was text, breaker text,
        limit_was int, limit_now int, in_flight_was int, in_flight int
    );
    create function witness() returns trigger language plpgsql security definer as $$
    begin
        insert into witnessed
            (endpoint_id, breaker_was, breaker, limit_was, limit_now, in_flight_was, in_flight)
        values (new.endpoint_id, old.breaker, new.breaker, old.limit_now, new.limit_now, old.in_flight,
            new.in_flight);
        return null;
    end $$;
    create trigger witness after update on endpoint_health for each row execute function witness();
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """The engine, its receiver, a tenant, and an endpoint for each path of the receiver."""

    stack: Stack
    receiver: MisbehavingReceiver
    tenant: Api
    ledger: psycopg.Connection

    def subscribe(self, kind: str, count: int, manner: PathBehaviour) -> list[str]:
        """So many endpoints that behave like this, all for the same events; returns their paths."""
        self.receiver.set_behaviour(f"/{kind}/", manner)
        paths = [f"/{kind}/{number}" for number in range(count)]
        for path in paths:
            self.tenant.post("/v1/endpoints", {"url": self.receiver.get_url(path), "filter": ["order.*"]})
        return paths

    def publish(self, events: int, *, batch: int) -> None:
        for start in range(0, events, batch):
            of_batch = [{"type": "order.created", "data": {"number": start + n}} for n in range(batch)]
            self.tenant.post("/v1/events/batch", {"events": of_batch})

    def rows(self, question: str, *values: Any) -> list[Any]:
        return self.ledger.execute(question, values).fetchall()

    def endpoints(self) -> dict[str, UUID]:
        """The endpoint of each path."""
        start = len(self.receiver.get_url(""))
        return {url[start:]: id_ for id_, url in self.rows("select id, url from endpoints")}

    def journal(self, what: str) -> Counter[str]:
        """How often this happened to the endpoint of each path."""
        paths = {id_: path for path, id_ in self.endpoints().items()}
        found = self.rows("select endpoint_id from journal where what = %s", what)
        return Counter(paths[id_] for (id_,) in found)

    def owed(self) -> Counter[str]:
        """How many deliveries the endpoint of each path is still owed."""
        paths = {id_: path for path, id_ in self.endpoints().items()}
        found = self.rows("select endpoint_id, count(*) from schedule group by endpoint_id")
        return Counter({paths[id_]: count for id_, count in found})

    def in_flight(self, path: str) -> int:
        """How many deliveries of a path are in a claim."""
        question = "select count(*) from schedule where endpoint_id = %s and claim_id is not null"
        [(count,)] = self.rows(question, self.endpoints()[path])
        return int(count)

    def limit(self, path: str) -> int:
        """How many deliveries of a path may be in flight; none while its breaker is not closed."""
        question = "select limit_now from endpoint_health where endpoint_id = %s and breaker = 'closed'"
        found = self.rows(question, self.endpoints()[path])
        return int(found[0][0]) if found else 0

    def wait_for_prober(self, path: str) -> str:
        """Wait for a probe on its way to this path; returns the worker that has it."""
        found: list[Any] = []

        def look() -> bool:
            question = """
                select c.worker from endpoint_health h join schedule s on s.delivery_id = h.probe_id
                join claims c on c.id = s.claim_id where h.endpoint_id = %s and c.worker is not null
            """
            found.extend(self.rows(question, self.endpoints()[path]))
            return bool(found)

        self.wait_until(look, "a probe on its way")
        return self.stack.find_process_name(int(found[0][0].rpartition(":")[2]))

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, seconds=PATIENCE)


@pytest.fixture
def scene(stack: Stack, operator: Api) -> Iterator[Scene]:
    """Two relays and two workers with nothing to do yet."""
    stack.environment |= TERMS
    receiver = MisbehavingReceiver(stack)
    stack.serve("web", "relay", "relay.2", "worker", "worker.2")
    with connect(stack.database_url) as ledger:
        ledger.execute(WITNESS)
        yield Scene(stack, receiver, operator.create_tenant(), ledger)


def test_bad_endpoints_hold_up_nobody_and_get_all_they_are_owed_once_repaired(scene: Scene) -> None:
    healthy = scene.subscribe("healthy", 30, HEALTHY)
    dead = scene.subscribe("never", 5, NEVER_ANSWERS) + scene.subscribe("error", 5, ALWAYS_500)
    dead += scene.subscribe("full", 5, FULL)
    [slow] = scene.subscribe("slow", 1, SLOW)
    scene.publish(200, batch=20)
    scene.wait_until(lambda: not scene.owed().keys() & set(healthy), "the healthy ones")
    scene.wait_until(lambda: scene.journal(OPENED).keys() == {*dead, slow}, "sixteen open breakers")
    scene.wait_until(lambda: scene.journal(STAYED_OPEN).keys() >= set(dead), "probes that fail")
    seen, probes = scene.receiver.read_stats(), scene.journal(STAYED_OPEN)
    for path in dead:
        # What opened the breaker, what was on its way by then, its probes, and the one on its way now.
        assert seen[path].requests <= CONSECUTIVE + FIRST + probes[path] + 1
    assert scene.journal(CLOSED).keys() <= {slow}

    for kind in ("never", "error", "full", "slow"):
        scene.receiver.set_behaviour(f"/{kind}/", WELL)
    scene.wait_until(lambda: not scene.owed(), "everything that is owed")
    assert_each_succeeded_once(scene, paths=46, events=200)
    assert_nothing_came_beside_the_ledger(scene)
    assert_limits_held(scene)
    assert_one_probe_and_nothing_else_while_open(scene)
    for path in dead:
        assert_it_ramped_up(scene, path)


def test_a_backlog_of_thousands_drains_to_a_repaired_endpoint_within_its_limit(scene: Scene) -> None:
    [path] = scene.subscribe("broken", 1, ALWAYS_500)
    endpoint = format_id(Prefix.ENDPOINT, scene.endpoints()[path])
    scene.publish(BACKLOG, batch=1_000)
    scene.wait_until(lambda: path in scene.journal(OPENED), "its breaker to open")
    scene.tenant.post(f"/v1/endpoints/{endpoint}/disable", {"reason": "It is broken"})
    scene.wait_until(lambda: scene.in_flight(path) == 0, "the last answer")
    scene.receiver.set_behaviour(path, WELL)
    scene.tenant.post(f"/v1/endpoints/{endpoint}/enable", {"reason": "It was repaired"})
    scene.wait_until(lambda: not scene.owed(), "everything that is owed")
    assert_each_succeeded_once(scene, paths=1, events=BACKLOG)
    assert_nothing_came_beside_the_ledger(scene)
    assert_limits_held(scene)
    assert_it_ramped_up(scene, path)


def test_limits_hold_while_a_relay_and_a_worker_are_killed_during_a_recovery(scene: Scene) -> None:
    recovering = scene.subscribe("recovering", 3, ALWAYS_500)
    [hung] = scene.subscribe("hung", 1, NEVER_ANSWERS)
    scene.publish(500, batch=500)
    scene.wait_until(lambda: scene.journal(OPENED).keys() == {*recovering, hung}, "four open breakers")
    scene.receiver.set_behaviour("/hung/", NEVER_ANSWERS)  # resets the counts
    scene.receiver.set_behaviour("/recovering/", PathBehaviour(delay=0.4))
    scene.wait_until(lambda: min(map(scene.limit, recovering)) >= 8, "three that are half recovered")
    scene.stack.kill(scene.wait_for_prober(hung))
    scene.stack.kill("relay")
    failed = scene.journal(STAYED_OPEN)[hung]
    scene.wait_until(lambda: scene.journal(STAYED_OPEN)[hung] > failed, "another probe that fails")
    assert scene.receiver.read_stats()[hung].peaks == [1]
    scene.receiver.set_behaviour("/hung/", WELL)
    scene.wait_until(lambda: not scene.owed(), "everything that is owed")
    assert_each_succeeded_once(scene, paths=4, events=500)
    assert_limits_held(scene)
    assert_one_probe_and_nothing_else_while_open(scene)
    for path in (*recovering, hung):
        assert_it_ramped_up(scene, path)
        # Only what was on its way when the worker died was sent without an attempt in the ledger.
        [(recorded,)] = scene.rows(
            "select count(*) from attempts where endpoint_id = %s", scene.endpoints()[path]
        )
        assert recorded <= scene.receiver.read_stats()[path].requests <= recorded + MOST


def assert_each_succeeded_once(scene: Scene, *, paths: int, events: int) -> None:
    """Every delivery ended well by one attempt, and the receiver has seen every event on every path."""
    found = scene.rows("select count(*), count(*) filter (where status = 'succeeded') from deliveries")
    assert found == [(paths * events, paths * events)]
    good = "select delivery_id from attempts where outcome = 'delivered' group by delivery_id"
    assert scene.rows(f"{good} having count(*) > 1") == []
    assert {
        path: len(seen.times) for path, seen in scene.receiver.read_stats(ids=True).items()
    } == dict.fromkeys(scene.endpoints(), events)


def assert_nothing_came_beside_the_ledger(scene: Scene) -> None:
    """What came twice has two attempts in the ledger: no request was made beside them."""
    endpoints = scene.endpoints()
    found = scene.rows("select endpoint_id, event_id, count(*) from attempts group by endpoint_id, event_id")
    recorded = {(endpoint, format_id(Prefix.EVENT, event)): count for endpoint, event, count in found}
    for path, seen in scene.receiver.read_stats(ids=True).items():
        beside = {
            m: times for m, times in seen.times.items() if times > recorded.get((endpoints[path], m), 0)
        }
        assert beside == {}


def assert_limits_held(scene: Scene) -> None:
    """Nothing was added to what was in flight beyond the limit of that time, whoever added it."""
    added = """
        select breaker_was, breaker, limit_now, in_flight_was, in_flight from witnessed
        where in_flight > in_flight_was
    """
    for breaker_was, breaker, limit_now, in_flight_was, in_flight in scene.rows(added):
        if breaker_was == "closed":
            assert (breaker, in_flight <= limit_now <= MOST) == ("closed", True)
        else:
            assert (breaker_was, breaker, in_flight) == ("open", "half_open", in_flight_was + 1)
    assert scene.rows("select endpoint_id from endpoint_health where in_flight <> 0") == []
    assert all(seen.most <= MOST for seen in scene.receiver.read_stats().values())
    assert not any("in_flight_corrected" in scene.stack.read_log(name) for name in ("relay", "relay.2"))


def assert_one_probe_and_nothing_else_while_open(scene: Scene) -> None:
    """Between a breaker's opening and what its probe found out one attempt was claimed, after its time."""
    for endpoint in scene.endpoints().values():
        story = scene.rows(
            "select id, what, details ->> 'probe_at' from journal where endpoint_id = %s and what = any (%s) "
            "order by id", endpoint, [OPENED, STAYED_OPEN, CLOSED],
        )  # fmt: skip
        claimed = [
            at for (at,) in scene.rows("select claimed_at from attempts where endpoint_id = %s", endpoint)
        ]
        for (opened, what, probe_at), (ended, *_) in pairwise(story):
            if what == CLOSED:
                continue
            probes = [at for at in claimed if written_at(opened) < at < written_at(ended)]
            assert len(probes) == 1
            assert probes[0] >= datetime.fromisoformat(probe_at)


def assert_it_ramped_up(scene: Scene, path: str) -> None:
    """The limit doubled step by step after its breaker had closed, and the receiver saw no more than that."""
    changes = scene.rows(
        "select breaker_was, breaker, limit_now from witnessed where endpoint_id = %s order by id",
        scene.endpoints()[path],
    )
    closed = max(n for n, (was, now, _) in enumerate(changes) if was != "closed" and now == "closed")
    assert [limit for limit, _ in groupby(limit for *_, limit in changes[closed:])] == RAMP
    peaks = scene.receiver.read_stats()[path].peaks
    assert all(peak <= 2**doublings for doublings, peak in enumerate(peaks))


def written_at(journal_id: UUID) -> datetime:
    """When a journal entry was written, under its endpoint's lock: to the millisecond, from its id."""
    return datetime.fromtimestamp(((journal_id.int >> 80) + 1) / 1000, tz=UTC)
