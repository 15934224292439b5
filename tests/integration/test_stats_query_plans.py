"""The query cost of statistics with a large history: bounded index lookups."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.domain.ids import build_min_id
from delivery.domain.pagination import MAX_ID
from delivery.ledger.stats import live, rollup
from delivery.ledger.stats.rollup import HOUR_SECONDS, MINUTE_SECONDS, StatsRange
from delivery.services.stats.series import floor_to_interval
from tests.support import ledger_builders as build
from tests.support.attempt_rows import NOON
from tests.support.query_plans import Explainer, QueryPlan, analyze_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.support.postgres import DatabaseServer

A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(days=1)
TENANTS, ENDPOINTS = 10, 40
# Two days of attempts, one every four seconds, and as many events; one of fifty-one was interrupted.
ATTEMPTS, EACH_MINUTE = 43_200, 15
MINUTES, HOURS = 2_880, 400
DUE, MOST = 600, 500
SPARKS = 40
HISTORY = re.compile(r"(events|attempts)_\d{8}")
# Both have a row for each endpoint, and breakers are asked of all at once.
ROUNDS = {"troubled": {"endpoints", "endpoint_health"}}
FILL = """
with moments as (
    select n, cast(:noon as timestamptz) - (n - 0.5) * interval '4 s' as at
    from generate_series(1, :count) as n
), ids as (
    select n, lpad(to_hex(cast(extract(epoch from at) * 1000 as bigint)), 12, '0')
              || '70008' || lpad(to_hex(n), 15, '0') as id
    from moments
), made as (
    select n, cast(id as uuid) as id, (cast(:tenants as uuid[]))[1 + n % :owners] as tenant,
           (cast(:endpoints as uuid[]))[1 + n % :several] as endpoint
    from ids
), events_made as (
    insert into events (id, tenant_id, type, body_sha256, matched, created_at)
    select id, tenant, 'order.type' || n % 7, '', 1, now() from made
)
insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, total_us, url,
    request_headers, body_sha256, key_ids, response_headers, response_body, response_truncated, outcome,
    detail, decision, reason, worker)
select id, id, tenant, endpoint, id, 1, now(), n, '', '{}', '', '', '[]', '', false,
       case when n % 51 = 0 then 'interrupted' else 'delivered' end, '', '', '', ''
from made
"""
ROLLED = """
insert into figures (tenant_id, width, at, outcomes, latencies)
select tenant, :width, cast(:noon as timestamptz) - n * make_interval(secs => :width),
       '{"delivered": 1}', '{"3": 1}'
from generate_series(1, :count) as n cross join unnest(cast(:tenants as uuid[])) as tenant
"""
UNCOUNTED = """
delete from figures where width = 60 and at < :day and at >= cast(:day as timestamptz) - interval '10 min'
"""
OWED = """
insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
select gen_random_uuid(), :tenant, :endpoint, gen_random_uuid(), now() - interval '1 s'
from generate_series(1, :count)
"""


async def _plans(url: str, *, analysed: bool) -> dict[str, list[QueryPlan]]:
    async with build.open_ledger(url) as ledger:
        tenants, endpoints = await _large(ledger)
        if analysed:
            analyze_tables(url)
        # The rollup changes so many rows every minute that autovacuum analyzes it often.
        await build.execute(ledger, "analyze figures")
        general = await Explainer.from_ledger(ledger, url, plan_cache_mode="force_generic_plan")
        await _explain_figures(general, tenants[3])
        # As `plan_for_this_tenant` has it.
        own = await Explainer.from_ledger(ledger, url, plan_cache_mode="force_custom_plan")
        await _explain_present(own, tenants[3], endpoints)
        return general.plans | own.plans


async def _large(ledger: Ledger) -> tuple[list[TenantId], list[EndpointId]]:
    tenants = [await build.create_tenant(ledger) for _ in range(TENANTS)]
    endpoints = [await build.create_endpoint(ledger, tenants[n % TENANTS]) for n in range(ENDPOINTS)]
    owner = {"tenants": tenants, "owners": TENANTS, "endpoints": endpoints, "several": ENDPOINTS}
    await build.execute(ledger, FILL, noon=NOON, count=ATTEMPTS, **owner)
    for width, count in ((MINUTE_SECONDS, MINUTES), (HOUR_SECONDS, HOURS)):
        counted = [*tenants, rollup.ALL_TENANTS]
        await build.execute(ledger, ROLLED, noon=NOON, tenants=counted, width=width, count=count)
    await build.execute(ledger, UNCOUNTED, day=NOON - A_DAY)
    for endpoint in endpoints:
        await build.execute(ledger, OWED, tenant=tenants[0], endpoint=endpoint, count=DUE)
    return tenants, endpoints


async def _explain_figures(explainer: Explainer, tenant: TenantId) -> None:
    explain, day = explainer.explain, floor_to_interval(NOON - A_DAY, A_MINUTE)
    week = NOON - timedelta(days=7)
    await explain(
        "week", lambda tx: rollup.read(tx, tenant, week, NOON, width=HOUR_SECONDS), tenant_id=tenant
    )
    await explain("day", lambda tx: rollup.read(tx, None, day, NOON, width=MINUTE_SECONDS))
    await explain(
        "tail",
        lambda tx: rollup.read_unrolled(tx, tenant, NOON - 2 * A_MINUTE, NOON, limit=MOST),
        tenant_id=tenant,
    )
    await explain("long tail", lambda tx: rollup.read_unrolled(tx, None, week, NOON, limit=MOST))
    # Not counted before: each statement is explained for itself, on what was there.
    early, half_an_hour = day - 10 * A_MINUTE, NOON - 30 * A_MINUTE
    await explain("roll", lambda tx: rollup.roll_up(tx, early, day, width=MINUTE_SECONDS))
    await explain("sum", lambda tx: rollup.sum_hour(tx, half_an_hour, NOON))
    await explain(
        "forget", lambda tx: rollup.delete_old(tx, width=MINUTE_SECONDS, before=NOON - A_DAY, limit=MOST)
    )


async def _explain_present(explainer: Explainer, tenant: TenantId, endpoints: list[EndpointId]) -> None:
    explain, week = explainer.explain, NOON - timedelta(days=7)
    when = StatsRange(week, NOON, timedelta(hours=1))
    its, since = endpoints[3], build_min_id(week)
    await explain(
        "of endpoint", lambda tx: rollup.read_by_endpoint(tx, tenant, its, when, limit=MOST), tenant_id=tenant
    )
    await explain("sparks", lambda tx: live.read_recent_results(tx, endpoints, since=since, limit=SPARKS))
    await explain(
        "types", lambda tx: live.count_recent_types(tx, None, before=MAX_ID, limit=MOST, max_types=100)
    )
    await explain(
        "types of",
        lambda tx: live.count_recent_types(tx, tenant, before=MAX_ID, limit=MOST, max_types=100),
        tenant_id=tenant,
    )
    await explain("oldest", lambda tx: live.find_oldest_due(tx, None))
    await explain("oldest of", lambda tx: live.find_oldest_due(tx, tenant))
    await explain("due", lambda tx: live.count_due(tx, endpoints, limit_per_endpoint=MOST, limit=2 * MOST))
    await explain("troubled", lambda tx: live.find_unhealthy_endpoints(tx, None, limit=10))
    await explain("on the way", lambda tx: live.count_claimed(tx, None))


@pytest.fixture(scope="module", params=["analysed", "never analysed"])
def plans(
    request: pytest.FixtureRequest, database_server: DatabaseServer, migrated_template: str
) -> Iterator[dict[str, list[QueryPlan]]]:
    with database_server.database(template=migrated_template) as url:
        yield asyncio.run(_plans(url, analysed=request.param == "analysed"))


def looked_at(plans: dict[str, list[QueryPlan]], name: str, relation: str) -> int:
    """The number of rows of a table that the statements of this name read."""
    return sum(plan.count_rows_read(relation) for plan in plans[name])


def test_no_growing_table_is_scanned(plans: dict[str, list[QueryPlan]]) -> None:
    for name, each in plans.items():
        for plan in each:
            through = {node["Relation Name"] for node in plan.iter_nodes() if node["Node Type"] == "Seq Scan"}
            assert through <= {"claims"} | ROUNDS.get(name, set()), f"{name}: {plan.statement}"


def test_only_the_shown_rollup_rows_are_read(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "week", "figures") == 7 * 24
    assert looked_at(plans, "day", "figures") == 24 * 60


def test_only_the_newest_minutes_are_read_live(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "tail", HISTORY.pattern) == 2 * EACH_MINUTE


def test_live_scan_stops_at_its_limit(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "long tail", HISTORY.pattern) == MOST + 1


def test_the_rollup_reads_only_attempts_of_its_minutes(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "roll", HISTORY.pattern) == 10 * EACH_MINUTE


def test_the_hourly_sum_reads_only_minutes_of_its_hours(plans: dict[str, list[QueryPlan]]) -> None:
    clear, add = plans["sum"]
    assert add.count_rows_read("figures") == 30 * (TENANTS + 1)
    assert clear.count_rows_read("figures") == 0


def test_deleting_expired_stats_reads_only_the_deleted_rows(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "forget", "figures") <= 2 * MOST


def test_only_an_endpoints_newest_attempts_are_read(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "of endpoint", HISTORY.pattern) == MOST


def test_only_the_last_results_of_each_endpoint_are_read(plans: dict[str, list[QueryPlan]]) -> None:
    broken_off = 2
    assert looked_at(plans, "sparks", HISTORY.pattern) <= ENDPOINTS * (SPARKS + broken_off)


@pytest.mark.parametrize("name", ["types", "types of"])
def test_only_the_newest_events_are_read(plans: dict[str, list[QueryPlan]], name: str) -> None:
    # A tenant's rows are found by its own index, or among all: one in this many is its own.
    assert looked_at(plans, name, HISTORY.pattern) <= MOST * TENANTS


def test_the_oldest_takes_one_lookup_for_each_endpoint(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "oldest", "schedule") <= ENDPOINTS


def test_a_tenants_oldest_takes_one_lookup_for_each_endpoint(
    plans: dict[str, list[QueryPlan]],
) -> None:
    assert looked_at(plans, "oldest of", "schedule") <= ENDPOINTS / TENANTS


def test_due_deliveries_are_counted_up_to_a_bound(plans: dict[str, list[QueryPlan]]) -> None:
    assert looked_at(plans, "due", "schedule") == 2 * MOST
