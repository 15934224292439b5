"""What the hot statements cost when history is large: they look rows up, they never read through a table.

Each statement is caught as the engine sends it and explained as a prepared statement with a generic plan,
which is what a long-lived connection comes to use.
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.bootstrap import clock
from delivery.dispatch.judging import judge_all
from delivery.ledger import (
    accepting,
    attempts,
    claiming,
    destinations,
    erasing,
    health,
    numbers,
    partitions,
    recording,
    thinning,
    upkeep,
)
from delivery.ledger.accepting import DeliveryRow, EventRow, KeyRow
from delivery.ledger.thinning import NIL, Span
from delivery.model import DeliveryId, EndpointId, EndpointState, EventId, Lane, id_floor, new_id
from delivery.paging import Cut
from tests.support import judging
from tests.support import ledger as on
from tests.support.judging import BAD, GONE, GOOD
from tests.support.ledger import Wanted
from tests.support.plans import Explainer, Plan, analyse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from delivery.dispatch.judging import Ended
    from delivery.ledger import Ledger, Transaction
    from delivery.model import TenantId
    from tests.support.postgres import DatabaseServer

    Act = Callable[[Transaction], Awaitable[object]]
    Node = Mapping[str, Any]

DAYS, FINISHED, LATER, HELD = 5, 20_000, 5_000, 5_000
LATER_KEYS = 3_000
# Events for each of ten endpoints, all of which are claimed.
EVENTS, CLAIMED = 30, 300
# Owed for longer than this, which is too long here.
OLD, OLDEST = 50, timedelta(days=3)
# What is small whatever happens: a row for each batch in work.
SMALL = {"claims"}
# Once a minute every endpoint is looked at.
# Once a day all that is owed is looked at for events that must stay.
ROUNDS = {
    "owed events": {"schedule"},
    "recount": {"endpoint_health"},
    "ensure": {"endpoints", "endpoint_health"},
}
# Walks over days that are past a term, so many rows at once.
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


async def _plans(url: str, *, analysed: bool) -> dict[str, list[Plan]]:
    async with on.opened(url) as ledger:
        endpoints, key = await _large(ledger)
        if analysed:
            analyse(url)
        explainer = await Explainer.of(ledger, url, plan_cache_mode="force_generic_plan")
        await _explain_all(explainer, ledger, endpoints, key)
        return explainer.plans


async def _large(ledger: Ledger) -> tuple[list[EndpointId], KeyRow]:
    """A ledger with much history, much that is not due, and a little that is."""
    async with ledger.transaction() as tx:
        await partitions.ensure(tx, now=clock() - timedelta(days=DAYS - 1))
    tenant = await on.new_tenant(ledger)
    old = await on.new_endpoint(ledger, tenant, Wanted(filter=("old",)))
    await on.change(ledger, FILL, tenant=tenant, endpoint=old)
    for _ in range(60):
        await on.new_endpoint(ledger, await on.new_tenant(ledger))
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(10)]
    later, due = timedelta(minutes=1), timedelta(0)
    await on.change(ledger, SCHEDULED, tenant=tenant, endpoint=endpoints[0], count=LATER, apart=later)
    for held in await _held(ledger, tenant):
        await on.change(ledger, SCHEDULED, tenant=tenant, endpoint=held, count=HELD, apart=due)
    await on.change(ledger, OVERDUE, floor=id_floor(clock() - OLDEST), count=OLD)
    await on.accept_many(ledger, tenant, EVENTS)
    keys = [KeyRow(tenant, f"{number}", b"", b"", clock()) for number in range(LATER_KEYS)]
    async with ledger.transaction() as tx:
        await accepting.remember(tx, keys)
    return endpoints, keys[0]


async def _held(ledger: Ledger, tenant: TenantId) -> list[EndpointId]:
    """A paused endpoint, and one whose breaker is open."""
    paused, broken = [await on.new_endpoint(ledger, tenant, Wanted(filter=("held",))) for _ in range(2)]
    await on.set_state(ledger, paused, EndpointState.PAUSED)
    await on.change(ledger, OPEN, id=broken)
    return [paused, broken]


async def _explain_all(
    explainer: Explainer, ledger: Ledger, endpoints: list[EndpointId], key: KeyRow
) -> None:
    explain, tenant = explainer.explain, key.tenant_id
    await explain("ready", lambda tx: claiming.ready(tx, lane=Lane.LIVE))
    await explain("unstarted", lambda tx: claiming.unstarted(tx, lane=Lane.LIVE))
    every = [EndpointId(row.id) for row in await on.rows(ledger, "select id from endpoints")]
    await explain("claim", lambda tx: on.claim_within(tx, every))
    first, second, *others = (await on.claim(ledger, endpoints)).claims
    await explain("start", lambda tx: claiming.start(tx, first, worker="", lease=on.LEASE))
    works = await on.start(ledger, first)
    group = [judging.ended(work, first, GOOD) for work in works[:40]]
    group += [judging.ended(work, first, BAD) for work in works[40:90]]
    group += [judging.ended(work, first, GONE) for work in works[90:]]
    await explain("record", lambda tx: _recorded(tx, group))
    await explain("recount", health.recount)
    ids = [work.delivery_id for work in works]
    await explain("numbers", lambda tx: numbers.after(tx, endpoints[0], 3, most=20), of=tenant)
    await explain("owed", lambda tx: erasing.owed(tx, tenant, works[0].event_id), of=tenant)
    await explain(
        "erase", lambda tx: erasing.erase_event(tx, tenant, works[0].event_id, at=clock()), of=tenant
    )
    await explain("postpone", lambda tx: recording.postpone(tx, first, ids, by=timedelta(0)))
    await explain("hand back", lambda tx: claiming.hand_back(tx, [second, *others]))
    async with ledger.transaction() as tx:
        await claiming.lapse_all(tx)
    await explain("rescue", claiming.rescue)
    await on.rescue(ledger)
    await explain("cancel owed", lambda tx: erasing.cancel(tx, ids, reason=""), of=tenant)
    await on.delete_endpoint(ledger, tenant, endpoints[-1])
    await explain("expire", lambda tx: upkeep.expire(tx, older_than=OLDEST, now=clock()))
    await explain("cancel", lambda tx: upkeep.cancel_of_deleted(tx, endpoints[-1:]))
    await explain("forget", lambda tx: upkeep.forget_idempotency_keys(tx, older_than=timedelta(hours=1)))
    await explain("versions", lambda tx: accepting.endpoint_versions(tx, [tenant]))
    await explain("accept", _accept(tenant, endpoints[0]))
    await explain("filters", lambda tx: accepting.wants(tx, [tenant]))
    await explain("recall", lambda tx: accepting.recall(tx, [(tenant, key.key)]))
    await explain("load", lambda tx: destinations.load(tx, endpoints))
    await explain("attempts", lambda tx: attempts.page(tx, tenant, ids[0], Cut()), of=tenant)
    await _explain_retention(explainer, ledger, tenant)


def _accept(tenant: TenantId, endpoint: EndpointId) -> Act:
    now, event_id = clock(), EventId(new_id())
    event = EventRow(event_id, tenant, "new", b"{}", b"", 1)
    owed = DeliveryRow(DeliveryId(new_id()), tenant, event_id, endpoint, "new", "*")
    return lambda tx: accepting.insert(tx, [event], [owed], now=now, known={tenant: 0})


async def _explain_retention(explainer: Explainer, ledger: Ledger, tenant: TenantId) -> None:
    explain, before = explainer.explain, id_floor(clock() - timedelta(days=1))
    everybodys, own = Span(NIL, before), Span(NIL, before, tenant)
    old = [
        EndpointId(row.id) for row in await on.rows(ledger, "select id from endpoints order by id limit 3")
    ]
    await explain("owed events", lambda tx: thinning.owed_events(tx, everybodys))
    await explain("forget bodies", lambda tx: thinning.forget_bodies(tx, everybodys, owed=()))
    await explain("forget bodies of one", lambda tx: thinning.forget_bodies(tx, own, owed=()))
    await explain("forget events", lambda tx: thinning.forget_events(tx, own, owed=()))
    await explain("forget deliveries", lambda tx: thinning.forget_deliveries(tx, own))
    await explain("forget attempts", lambda tx: thinning.forget_attempts(tx, old, before=before))


async def _recorded(tx: Transaction, group: list[Ended]) -> None:
    recorded = await recording.record(tx, [one.result for one in group])
    await judge_all(tx, group, recorded, dice=lambda: 0.0)


@pytest.fixture(scope="module", params=["analysed", "never analysed"])
def plans(
    request: pytest.FixtureRequest, database_server: DatabaseServer, migrated_template: str
) -> Iterator[dict[str, list[Plan]]]:
    with database_server.database(template=migrated_template) as url:
        yield asyncio.run(_plans(url, analysed=request.param == "analysed"))


def test_no_statement_reads_through_a_table_that_grows(plans: dict[str, list[Plan]]) -> None:
    for name, each in plans.items():
        for plan in each:
            read_through = {
                node["Relation Name"]
                for node in plan.nodes()
                if node["Node Type"] == "Seq Scan" or node.get("Disabled")
            }
            assert read_through <= SMALL | ROUNDS.get(name, set()), f"{name}: {plan.statement}"


def test_every_look_into_history_goes_by_the_first_column_of_an_index(plans: dict[str, list[Plan]]) -> None:
    for name, each in plans.items():
        for plan in each if name not in WALKS else ():
            looks = [node for node in plan.nodes() if HISTORY.match(node.get("Index Name", ""))]
            for node in looks:  # those of a bitmap too
                first = "(tenant_id = " if "_tenant_id_" in node["Index Name"] else "_id = "
                first = "(id = " if node["Index Name"].endswith("_pkey") else first
                assert first in node.get("Index Cond", ""), f"{name}: {plan.statement} {node}"


@pytest.mark.parametrize("name", ["start", "record", "cancel", "numbers", "cancel owed", "erase"])
def test_only_the_partition_that_holds_the_rows_is_touched(plans: dict[str, list[Plan]], name: str) -> None:
    today = clock().strftime("%Y%m%d")
    touched = {
        node["Relation Name"] for plan in plans[name] for node in plan.on(HISTORY) if node["Actual Loops"]
    }
    assert {table.rpartition("_")[2] for table in touched} == {today}


@pytest.mark.parametrize("name", ["claim", "start", "hand back", "rescue", "cancel", "numbers", "owed"])
def test_the_schedule_is_read_only_where_it_is_wanted(plans: dict[str, list[Plan]], name: str) -> None:
    scans = [node for plan in plans[name] for node in plan.on("schedule")]
    assert scans
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)


@pytest.mark.parametrize("name", sorted(WALKS - {"owed events"}))
def test_a_step_of_retention_looks_at_no_more_rows_than_it_may_take(
    plans: dict[str, list[Plan]], name: str
) -> None:
    for plan in plans[name]:
        for node in plan.on(HISTORY):
            assert node["Node Type"] in {"Index Scan", "Index Only Scan"}, plan.statement
        assert plan.looked_at(HISTORY.pattern) <= 4 * thinning.AT_ONCE, plan.statement


def test_what_is_not_due_costs_a_claim_nothing(plans: dict[str, list[Plan]]) -> None:
    *_, plan = plans["claim"]  # the gates come first
    by_endpoint = [node for node in plan.on("schedule") if node.get("Index Name") == "schedule_due_idx"]
    assert by_endpoint
    assert all("due_at" in node["Index Cond"] for node in by_endpoint)


def test_what_is_held_or_not_due_costs_no_statement_anything(plans: dict[str, list[Plan]]) -> None:
    for name, each in plans.items():
        for plan in each if "schedule" not in ROUNDS.get(name, ()) else ():
            assert plan.looked_at("schedule") < min(HELD, LATER), f"{name}: {plan.statement}"


@pytest.mark.parametrize("name", ["claim", "record", "postpone", "hand back", "rescue"])
def test_health_is_looked_up_by_its_key(plans: dict[str, list[Plan]], name: str) -> None:
    scans = [node for plan in plans[name] for node in plan.on("endpoint_health")]
    assert scans
    assert all("endpoint_id = " in node.get("Index Cond", node.get("Recheck Cond", "")) for node in scans)


def test_what_is_not_too_old_costs_expiring_nothing(plans: dict[str, list[Plan]]) -> None:
    (plan,) = plans["expire"]
    (oldest, *_) = [node for node in plan.on("schedule") if "<" in node.get("Index Cond", "")]
    assert oldest["Index Name"] == "schedule_pkey"
    assert "delivery_id < " in oldest["Index Cond"]
    assert oldest["Actual Rows"] == OLD
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in plan.on("schedule"))


def test_expiring_touches_only_the_partitions_of_what_is_too_old(plans: dict[str, list[Plan]]) -> None:
    (plan,) = plans["expire"]
    floor = (clock() - OLDEST).strftime("%Y%m%d")
    touched = {node["Relation Name"].rpartition("_")[2] for node in plan.on(HISTORY) if node["Actual Loops"]}
    assert touched
    assert all(day <= floor for day in touched)


def test_counting_anew_reads_of_the_schedule_only_what_claims_have(plans: dict[str, list[Plan]]) -> None:
    for plan in plans["recount"]:
        assert plan.looked_at("schedule") == CLAIMED


def test_keys_that_are_still_remembered_cost_forgetting_nothing(plans: dict[str, list[Plan]]) -> None:
    (plan,) = plans["forget"]
    scans = plan.on("idempotency_keys")
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)
    assert any("created_at" in node.get("Index Cond", "") for node in scans)


def test_finding_who_has_work_takes_one_step_for_each_endpoint(plans: dict[str, list[Plan]]) -> None:
    (plan,) = plans["ready"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in plan.on("schedule")) <= 15


def test_recording_finds_each_delivery_by_its_own_key(plans: dict[str, list[Plan]]) -> None:
    scans = [node for plan in plans["record"] for node in plan.on("schedule") if "Index Name" in node]
    assert scans
    assert {node["Index Name"] for node in scans} == {"schedule_pkey"}


def test_recording_joins_no_list_with_itself(plans: dict[str, list[Plan]]) -> None:
    for plan in plans["record"]:
        assert all(node.get("Rows Removed by Join Filter", 0) == 0 for node in plan.nodes())
