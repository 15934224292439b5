"""What figures cost when history is large: they look rows up by index, so many and no more."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.figures.spans import floor
from delivery.ledger import figures, present
from delivery.ledger.figures import HOUR, MINUTE, Range
from delivery.model import id_floor
from delivery.paging import NEWEST
from tests.support import ledger as on
from tests.support.attempts import NOON
from tests.support.plans import Explainer, Plan, analyse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId
    from tests.support.postgres import DatabaseServer

A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(days=1)
TENANTS, ENDPOINTS = 10, 40
# Two days of attempts, one every four seconds; as many events; one of fifty-one attempts was broken off.
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


async def _plans(url: str, *, analysed: bool) -> dict[str, list[Plan]]:
    async with on.opened(url) as ledger:
        tenants, endpoints = await _large(ledger)
        if analysed:
            analyse(url)
        # Counting changes so much of it every minute that it is never without statistics for long.
        await on.change(ledger, "analyze figures")
        general = await Explainer.of(ledger, url, plan_cache_mode="force_generic_plan")
        await _explain_figures(general, tenants[3])
        # As `plan_for_this_tenant` has it.
        own = await Explainer.of(ledger, url, plan_cache_mode="force_custom_plan")
        await _explain_present(own, tenants[3], endpoints)
        return general.plans | own.plans


async def _large(ledger: Ledger) -> tuple[list[TenantId], list[EndpointId]]:
    tenants = [await on.new_tenant(ledger) for _ in range(TENANTS)]
    endpoints = [await on.new_endpoint(ledger, tenants[n % TENANTS]) for n in range(ENDPOINTS)]
    whose = {"tenants": tenants, "owners": TENANTS, "endpoints": endpoints, "several": ENDPOINTS}
    await on.change(ledger, FILL, noon=NOON, count=ATTEMPTS, **whose)
    for width, count in ((MINUTE, MINUTES), (HOUR, HOURS)):
        counted = [*tenants, figures.EVERYBODY]
        await on.change(ledger, ROLLED, noon=NOON, tenants=counted, width=width, count=count)
    await on.change(ledger, UNCOUNTED, day=NOON - A_DAY)
    for endpoint in endpoints:
        await on.change(ledger, OWED, tenant=tenants[0], endpoint=endpoint, count=DUE)
    return tenants, endpoints


async def _explain_figures(explainer: Explainer, tenant: TenantId) -> None:
    explain, day = explainer.explain, floor(NOON - A_DAY, A_MINUTE)
    week = NOON - timedelta(days=7)
    await explain("week", lambda tx: figures.read(tx, tenant, week, NOON, width=HOUR), of=tenant)
    await explain("day", lambda tx: figures.read(tx, None, day, NOON, width=MINUTE))
    await explain(
        "tail", lambda tx: figures.tail(tx, tenant, NOON - 2 * A_MINUTE, NOON, most=MOST), of=tenant
    )
    await explain("long tail", lambda tx: figures.tail(tx, None, week, NOON, most=MOST))
    # Not counted before: each statement is explained for itself, on what was there.
    early, half_an_hour = day - 10 * A_MINUTE, NOON - 30 * A_MINUTE
    await explain("roll", lambda tx: figures.roll(tx, early, day, width=MINUTE))
    await explain("sum", lambda tx: figures.sum_hour(tx, half_an_hour, NOON))
    await explain("forget", lambda tx: figures.forget(tx, width=MINUTE, before=NOON - A_DAY, most=MOST))


async def _explain_present(explainer: Explainer, tenant: TenantId, endpoints: list[EndpointId]) -> None:
    explain, week = explainer.explain, NOON - timedelta(days=7)
    when = Range(week, NOON, timedelta(hours=1))
    its, since = endpoints[3], id_floor(week)
    await explain("of endpoint", lambda tx: figures.of_endpoint(tx, tenant, its, when, most=MOST), of=tenant)
    await explain("sparks", lambda tx: present.sparks(tx, endpoints, since=since, most=SPARKS))
    await explain("types", lambda tx: present.types(tx, None, before=NEWEST, most=MOST, most_types=100))
    await explain(
        "types of", lambda tx: present.types(tx, tenant, before=NEWEST, most=MOST, most_types=100), of=tenant
    )
    await explain("oldest", lambda tx: present.oldest(tx, None))
    await explain("oldest of", lambda tx: present.oldest(tx, tenant))
    await explain("due", lambda tx: present.due(tx, endpoints, most_each=MOST, most=2 * MOST))
    await explain("troubled", lambda tx: present.troubled(tx, None, most=10))
    await explain("on the way", lambda tx: present.on_the_way(tx, None))


@pytest.fixture(scope="module", params=["analysed", "never analysed"])
def plans(
    request: pytest.FixtureRequest, database_server: DatabaseServer, migrated_template: str
) -> Iterator[dict[str, list[Plan]]]:
    with database_server.database(template=migrated_template) as url:
        yield asyncio.run(_plans(url, analysed=request.param == "analysed"))


def looked_at(plans: dict[str, list[Plan]], name: str, relation: str) -> int:
    """How many rows of a table the statements of this name read."""
    return sum(plan.looked_at(relation) for plan in plans[name])


def test_nothing_that_grows_is_read_through(plans: dict[str, list[Plan]]) -> None:
    for name, each in plans.items():
        for plan in each:
            through = {node["Relation Name"] for node in plan.nodes() if node["Node Type"] == "Seq Scan"}
            assert through <= {"claims"} | ROUNDS.get(name, set()), f"{name}: {plan.statement}"


def test_of_what_was_counted_only_what_a_page_shows_is_read(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "week", "figures") == 7 * 24
    assert looked_at(plans, "day", "figures") == 24 * 60


def test_the_newest_minutes_are_all_that_is_read_live(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "tail", HISTORY.pattern) == 2 * EACH_MINUTE


def test_where_there_is_more_the_look_ends_at_its_bound(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "long tail", HISTORY.pattern) == MOST + 1


def test_counting_reads_the_attempts_of_its_minutes_alone(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "roll", HISTORY.pattern) == 10 * EACH_MINUTE


def test_summing_up_reads_the_minutes_of_its_time_alone(plans: dict[str, list[Plan]]) -> None:
    clear, add = plans["sum"]
    assert add.looked_at("figures") == 30 * (TENANTS + 1)
    assert clear.looked_at("figures") == 0


def test_forgetting_reads_what_it_takes(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "forget", "figures") <= 2 * MOST


def test_of_an_endpoint_only_its_newest_attempts_are_read(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "of endpoint", HISTORY.pattern) == MOST


def test_of_each_endpoint_only_its_last_results_are_read(plans: dict[str, list[Plan]]) -> None:
    broken_off = 2
    assert looked_at(plans, "sparks", HISTORY.pattern) <= ENDPOINTS * (SPARKS + broken_off)


@pytest.mark.parametrize("name", ["types", "types of"])
def test_of_events_only_the_newest_are_read(plans: dict[str, list[Plan]], name: str) -> None:
    # A tenant's are found by its own index, or among all: one in so many is its.
    assert looked_at(plans, name, HISTORY.pattern) <= MOST * TENANTS


def test_the_oldest_takes_one_look_at_each_endpoint(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "oldest", "schedule") <= ENDPOINTS


def test_the_oldest_of_a_tenant_takes_one_look_at_each_of_its_endpoints(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "oldest of", "schedule") <= ENDPOINTS / TENANTS


def test_what_is_due_is_counted_up_to_its_bounds(plans: dict[str, list[Plan]]) -> None:
    assert looked_at(plans, "due", "schedule") == 2 * MOST
