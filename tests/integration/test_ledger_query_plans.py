"""Plans of hot statements with a large history: they look rows up and never scan a table.

Each statement is caught as the engine sends it and explained as a prepared statement with a generic plan,
which is what a long-lived connection comes to use.
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.clock import clock
from delivery.domain.delivery import Priority
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import DeliveryId, EndpointId, EventId, build_min_id, new_id
from delivery.domain.pagination import PageRequest
from delivery.ledger.db import partitions
from delivery.ledger.queue import claims, destinations, endpoint_health, enqueue, expiry, results
from delivery.ledger.queue.enqueue import DeliveryRow, EventRow, IdempotencyKeyRow
from delivery.ledger.records import attempts
from delivery.ledger.retention import erase, prune_rows
from delivery.ledger.retention.prune_rows import NIL_UUID, IdRange
from delivery.ledger.search import sequences
from delivery.pipeline.health_update import apply_results
from tests.support import health_attempts
from tests.support import ledger_builders as build
from tests.support.health_attempts import BAD, GONE, GOOD
from tests.support.ledger_builders import EndpointSpec
from tests.support.query_plans import Explainer, QueryPlan, analyze_tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.pipeline.health_update import FinishedAttempt
    from tests.support.postgres import DatabaseServer

    Act = Callable[[Transaction], Awaitable[object]]
    Node = Mapping[str, Any]

DAYS, FINISHED, LATER, HELD = 5, 20_000, 5_000, 5_000
LATER_KEYS = 3_000
# Events for each of ten endpoints, all of which are claimed.
EVENTS, CLAIMED = 30, 300
# Owed for longer than this, which is too long here.
OLD, OLDEST = 50, timedelta(days=3)
# Always small: a row per batch in work.
SMALL = {"claims"}
# Once a minute every endpoint is looked at.
# Once a day all that is owed is looked at for events that must stay.
ROUNDS = {
    "owed events": {"schedule"},
    "recount": {"endpoint_health"},
    "ensure": {"endpoints", "endpoint_health"},
}
# Reads expired days, a bounded number of rows at once.
WALKS = {
    "owed events",
    "forget bodies",
    "forget bodies of one",
    "forget events",
    "forget deliveries",
    "forget attempts",
}
HISTORY = re.compile(r"(events|deliveries|attempts)_\d{8}")
FILL = f"""
with days as (
    select n, cast(extract(epoch from now() - (n % {DAYS}) * interval '1 day') * 1000 as bigint) as moment
    from generate_series(1, {FINISHED}) as n
), made as (
    select cast(lpad(to_hex(moment), 12, '0') || '70008' || lpad(to_hex(n), 15, '0') as uuid) as id from days
), events_made as (
    insert into events select id, :tenant, 'old', '', '', 1, now() from made
), deliveries_made as (
    insert into deliveries
    select id, :tenant, id, :endpoint, 'old', 'succeeded', 'delivered', 1, now(), now() from made
)
insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, url,
    request_headers, body_sha256, key_ids, response_headers, response_body, response_truncated, outcome,
    detail, decision, reason, worker)
select id, id, :tenant, :endpoint, id, 1, now(), '', '{{}}', '', '', '[]', '', false, '', '', '', '', ''
from made
"""  # noqa: S608  numbers of our own
# Ids as they are made today.
SCHEDULED = """
insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
select cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as bigint)), 12, '0') || '7'
            || substr(replace(cast(gen_random_uuid() as text), '-', ''), 14) as uuid),
       :tenant, :endpoint, gen_random_uuid(), now() + n * cast(:apart as interval)
from generate_series(1, :count) as n
"""
OPEN = """
update endpoint_health set breaker = 'open', probe_at = now() + interval '1 h' where endpoint_id = :id
"""
OVERDUE = """
insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
select id, tenant_id, endpoint_id, event_id, now() + interval '1 h' from deliveries
where id < :floor order by id limit :count
"""


async def _plans(url: str, *, analysed: bool) -> dict[str, list[QueryPlan]]:
    async with build.open_ledger(url) as ledger:
        endpoints, key = await _large(ledger)
        if analysed:
            analyze_tables(url)
        explainer = await Explainer.from_ledger(ledger, url, plan_cache_mode="force_generic_plan")
        await _explain_all(explainer, ledger, endpoints, key)
        return explainer.plans


async def _large(ledger: Ledger) -> tuple[list[EndpointId], IdempotencyKeyRow]:
    """A ledger with much history, much that is not due, and a little that is."""
    async with ledger.transaction() as tx:
        await partitions.ensure_partitions(tx, now=clock() - timedelta(days=DAYS - 1))
    tenant = await build.create_tenant(ledger)
    old = await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("old",)))
    await build.execute(ledger, FILL, tenant=tenant, endpoint=old)
    for _ in range(60):
        await build.create_endpoint(ledger, await build.create_tenant(ledger))
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(10)]
    later, due = timedelta(minutes=1), timedelta(0)
    await build.execute(ledger, SCHEDULED, tenant=tenant, endpoint=endpoints[0], count=LATER, apart=later)
    for held in await _held(ledger, tenant):
        await build.execute(ledger, SCHEDULED, tenant=tenant, endpoint=held, count=HELD, apart=due)
    await build.execute(ledger, OVERDUE, floor=build_min_id(clock() - OLDEST), count=OLD)
    await build.accept_events(ledger, tenant, EVENTS)
    keys = [IdempotencyKeyRow(tenant, f"{number}", b"", b"", clock()) for number in range(LATER_KEYS)]
    async with ledger.transaction() as tx:
        await enqueue.insert_idempotency_keys(tx, keys)
    return endpoints, keys[0]


async def _held(ledger: Ledger, tenant: TenantId) -> list[EndpointId]:
    """A paused endpoint, and one whose breaker is open."""
    paused, broken = [
        await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("held",))) for _ in range(2)
    ]
    await build.set_state(ledger, paused, EndpointState.PAUSED)
    await build.execute(ledger, OPEN, id=broken)
    return [paused, broken]


async def _explain_all(
    explainer: Explainer, ledger: Ledger, endpoints: list[EndpointId], key: IdempotencyKeyRow
) -> None:
    explain, tenant = explainer.explain, key.tenant_id
    await explain("ready", lambda tx: claims.find_ready_endpoints(tx, priority=Priority.LIVE))
    await explain("unstarted", lambda tx: claims.count_queued(tx, priority=Priority.LIVE))
    every = [EndpointId(row.id) for row in await build.fetch_rows(ledger, "select id from endpoints")]
    await explain("claim", lambda tx: build.claim_in_transaction(tx, every))
    first, second, *others = (await build.claim_deliveries(ledger, endpoints)).claim_ids
    await explain("start", lambda tx: claims.start_claim(tx, first, worker="", lease=build.LEASE))
    works = await build.start_claim(ledger, first)
    group = [health_attempts.make_attempt_result(work, first, GOOD) for work in works[:40]]
    group += [health_attempts.make_attempt_result(work, first, BAD) for work in works[40:90]]
    group += [health_attempts.make_attempt_result(work, first, GONE) for work in works[90:]]
    await explain("record", lambda tx: _recorded(tx, group))
    await explain("recount", endpoint_health.recount_in_flight)
    ids = [work.delivery_id for work in works]
    await explain("numbers", lambda tx: sequences.read_after(tx, endpoints[0], 3, limit=20), tenant_id=tenant)
    await explain("owed", lambda tx: erase.find_unfinished(tx, tenant, works[0].event_id), tenant_id=tenant)
    await explain(
        "erase", lambda tx: erase.erase_event(tx, tenant, works[0].event_id, at=clock()), tenant_id=tenant
    )
    await explain("postpone", lambda tx: results.postpone(tx, first, ids, delay=timedelta(0)))
    await explain("hand back", lambda tx: claims.return_claims(tx, [second, *others]))
    async with ledger.transaction() as tx:
        await claims.expire_all_leases(tx)
    await explain("rescue", claims.rescue_claims)
    await build.rescue_lapsed(ledger)
    await explain("cancel owed", lambda tx: erase.cancel(tx, ids, reason=""), tenant_id=tenant)
    await build.delete_endpoint(ledger, tenant, endpoints[-1])
    await explain("expire", lambda tx: expiry.expire_deliveries(tx, older_than=OLDEST, now=clock()))
    await explain("cancel", lambda tx: expiry.cancel_for_deleted_endpoints(tx, endpoints[-1:]))
    await explain("forget", lambda tx: expiry.delete_idempotency_keys(tx, older_than=timedelta(hours=1)))
    await explain("versions", lambda tx: enqueue.load_endpoint_versions(tx, [tenant]))
    await explain("accept", _accept(tenant, endpoints[0]))
    await explain("filters", lambda tx: enqueue.load_subscriptions(tx, [tenant]))
    await explain("recall", lambda tx: enqueue.find_idempotency_keys(tx, [(tenant, key.key)]))
    await explain("load", lambda tx: destinations.load_destinations(tx, endpoints))
    await explain(
        "attempts", lambda tx: attempts.read_page(tx, tenant, ids[0], PageRequest()), tenant_id=tenant
    )
    await _explain_retention(explainer, ledger, tenant)


def _accept(tenant: TenantId, endpoint: EndpointId) -> Act:
    now, event_id = clock(), EventId(new_id())
    event = EventRow(event_id, tenant, "new", b"{}", b"", 1)
    owed = DeliveryRow(DeliveryId(new_id()), tenant, event_id, endpoint, "new", "*")
    return lambda tx: enqueue.insert_events(tx, [event], [owed], now=now, expected_versions={tenant: 0})


async def _explain_retention(explainer: Explainer, ledger: Ledger, tenant: TenantId) -> None:
    explain, before = explainer.explain, build_min_id(clock() - timedelta(days=1))
    everybodys, own = IdRange(NIL_UUID, before), IdRange(NIL_UUID, before, tenant)
    old = [
        EndpointId(row.id)
        for row in await build.fetch_rows(ledger, "select id from endpoints order by id limit 3")
    ]
    await explain("owed events", lambda tx: prune_rows.find_owed_events(tx, everybodys))
    await explain("forget bodies", lambda tx: prune_rows.prune_bodies(tx, everybodys, owed=()))
    await explain("forget bodies of one", lambda tx: prune_rows.prune_bodies(tx, own, owed=()))
    await explain("forget events", lambda tx: prune_rows.prune_events(tx, own, owed=()))
    await explain("forget deliveries", lambda tx: prune_rows.prune_deliveries(tx, own))
    await explain("forget attempts", lambda tx: prune_rows.prune_attempts(tx, old, before=before))


async def _recorded(tx: Transaction, group: list[FinishedAttempt]) -> None:
    recorded = await results.record_attempts(tx, [one.result for one in group])
    await apply_results(tx, group, recorded, rng=lambda: 0.0)


@pytest.fixture(scope="module", params=["analysed", "never analysed"])
def plans(
    request: pytest.FixtureRequest, database_server: DatabaseServer, migrated_template: str
) -> Iterator[dict[str, list[QueryPlan]]]:
    with database_server.database(template=migrated_template) as url:
        yield asyncio.run(_plans(url, analysed=request.param == "analysed"))


def test_no_statement_reads_through_a_table_that_grows(plans: dict[str, list[QueryPlan]]) -> None:
    for name, each in plans.items():
        for plan in each:
            read_through = {
                node["Relation Name"]
                for node in plan.iter_nodes()
                if node["Node Type"] == "Seq Scan" or node.get("Disabled")
            }
            assert read_through <= SMALL | ROUNDS.get(name, set()), f"{name}: {plan.statement}"


def test_every_look_into_history_goes_by_the_first_column_of_an_index(
    plans: dict[str, list[QueryPlan]],
) -> None:
    for name, each in plans.items():
        for plan in each if name not in WALKS else ():
            looks = [node for node in plan.iter_nodes() if HISTORY.match(node.get("Index Name", ""))]
            for node in looks:  # those of a bitmap too
                first = "(tenant_id = " if "_tenant_id_" in node["Index Name"] else "_id = "
                first = "(id = " if node["Index Name"].endswith("_pkey") else first
                assert first in node.get("Index Cond", ""), f"{name}: {plan.statement} {node}"


@pytest.mark.parametrize("name", ["start", "record", "cancel", "numbers", "cancel owed", "erase"])
def test_only_the_partition_that_holds_the_rows_is_touched(
    plans: dict[str, list[QueryPlan]], name: str
) -> None:
    today = clock().strftime("%Y%m%d")
    touched = {
        node["Relation Name"]
        for plan in plans[name]
        for node in plan.find_scans(HISTORY)
        if node["Actual Loops"]
    }
    assert {table.rpartition("_")[2] for table in touched} == {today}


@pytest.mark.parametrize("name", ["claim", "start", "hand back", "rescue", "cancel", "numbers", "owed"])
def test_the_schedule_is_read_only_where_it_is_wanted(plans: dict[str, list[QueryPlan]], name: str) -> None:
    scans = [node for plan in plans[name] for node in plan.find_scans("schedule")]
    assert scans
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)


@pytest.mark.parametrize("name", sorted(WALKS - {"owed events"}))
def test_a_step_of_retention_looks_at_no_more_rows_than_it_may_take(
    plans: dict[str, list[QueryPlan]], name: str
) -> None:
    for plan in plans[name]:
        for node in plan.find_scans(HISTORY):
            assert node["Node Type"] in {"Index Scan", "Index Only Scan"}, plan.statement
        assert plan.count_rows_read(HISTORY.pattern) <= 4 * prune_rows.PRUNE_BATCH_SIZE, plan.statement


def test_what_is_not_due_costs_a_claim_nothing(plans: dict[str, list[QueryPlan]]) -> None:
    *_, plan = plans["claim"]  # the gates come first
    by_endpoint = [
        node for node in plan.find_scans("schedule") if node.get("Index Name") == "schedule_due_idx"
    ]
    assert by_endpoint
    assert all("due_at" in node["Index Cond"] for node in by_endpoint)


def test_what_is_held_or_not_due_costs_no_statement_anything(plans: dict[str, list[QueryPlan]]) -> None:
    for name, each in plans.items():
        for plan in each if "schedule" not in ROUNDS.get(name, ()) else ():
            assert plan.count_rows_read("schedule") < min(HELD, LATER), f"{name}: {plan.statement}"


@pytest.mark.parametrize("name", ["claim", "record", "postpone", "hand back", "rescue"])
def test_health_is_looked_up_by_its_key(plans: dict[str, list[QueryPlan]], name: str) -> None:
    scans = [node for plan in plans[name] for node in plan.find_scans("endpoint_health")]
    assert scans
    assert all("endpoint_id = " in node.get("Index Cond", node.get("Recheck Cond", "")) for node in scans)


def test_what_is_not_too_old_costs_expiring_nothing(plans: dict[str, list[QueryPlan]]) -> None:
    (plan,) = plans["expire"]
    (oldest, *_) = [node for node in plan.find_scans("schedule") if "<" in node.get("Index Cond", "")]
    assert oldest["Index Name"] == "schedule_pkey"
    assert "delivery_id < " in oldest["Index Cond"]
    assert oldest["Actual Rows"] == OLD
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in plan.find_scans("schedule"))


def test_expiring_touches_only_the_partitions_of_what_is_too_old(plans: dict[str, list[QueryPlan]]) -> None:
    (plan,) = plans["expire"]
    floor = (clock() - OLDEST).strftime("%Y%m%d")
    touched = {
        node["Relation Name"].rpartition("_")[2] for node in plan.find_scans(HISTORY) if node["Actual Loops"]
    }
    assert touched
    assert all(day <= floor for day in touched)


def test_counting_anew_reads_of_the_schedule_only_what_claims_have(plans: dict[str, list[QueryPlan]]) -> None:
    for plan in plans["recount"]:
        assert plan.count_rows_read("schedule") == CLAIMED


def test_keys_that_are_still_remembered_cost_forgetting_nothing(plans: dict[str, list[QueryPlan]]) -> None:
    (plan,) = plans["forget"]
    scans = plan.find_scans("idempotency_keys")
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)
    assert any("created_at" in node.get("Index Cond", "") for node in scans)


def test_finding_who_has_work_takes_one_step_for_each_endpoint(plans: dict[str, list[QueryPlan]]) -> None:
    (plan,) = plans["ready"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in plan.find_scans("schedule")) <= 15


def test_recording_finds_each_delivery_by_its_own_key(plans: dict[str, list[QueryPlan]]) -> None:
    scans = [node for plan in plans["record"] for node in plan.find_scans("schedule") if "Index Name" in node]
    assert scans
    assert {node["Index Name"] for node in scans} == {"schedule_pkey"}


def test_recording_joins_no_list_with_itself(plans: dict[str, list[QueryPlan]]) -> None:
    for plan in plans["record"]:
        assert all(node.get("Rows Removed by Join Filter", 0) == 0 for node in plan.iter_nodes())
