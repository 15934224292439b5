"""An endpoint's health: its hold, its backlog, and its latest attempts."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from delivery.domain.ids import Prefix, build_min_id, new_id, parse_id
from tests.integration.api.test_api_endpoint_states import move, uuid_of

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTEMPTS = """
    insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, total_us,
        url, request_headers, body_sha256, key_ids, response_headers, response_body, response_truncated,
        outcome, detail, decision, reason, worker)
    select made.id, gen_random_uuid(), e.tenant_id, e.id, gen_random_uuid(), 1, now(), made.n * 1000,
           '', '{}', '', '', '[]', '', false, %s, '', '', '', ''
    from endpoints e, unnest(%s) with ordinality as made (id, n) where e.id = %s
"""


async def health_of(tenant: TenantClient, endpoint: dict[str, Any]) -> dict[str, Any]:
    read = await tenant.client.get(f"/v1/endpoints/{endpoint['id']}/health")
    assert read.status_code == 200, read.text
    return dict(read.json())


def attempts(
    sql: psycopg.Connection,
    endpoint: dict[str, Any],
    count: int,
    outcome: str = "delivered",
    *,
    ago: timedelta = timedelta(minutes=5),
) -> None:
    """Record attempts that took 1, 2, 3 … ms."""
    then = build_min_id(datetime.now(UTC) - ago).int
    ids = [UUID(int=then + secrets.randbits(70)) for _ in range(count)]
    sql.execute(ATTEMPTS, [outcome, ids, uuid_of(endpoint)])


def set_health(sql: psycopg.Connection, endpoint: dict[str, Any], assignments: bytes) -> None:
    sql.execute(
        b"update endpoint_health set " + assignments + b" where endpoint_id = %s",
        [uuid_of(endpoint)],
    )


async def test_new_endpoint_health_is_complete(tenant: TenantClient):
    created = await tenant.create_endpoint()
    result = await health_of(tenant, created)
    assert result == {
        "endpoint_id": created["id"],
        "state": "active",
        "state_reason": None,
        "state_actor": created["state_actor"],
        "state_changed_at": created["state_changed_at"],
        "hold": None,
        "hold_until": None,
        "held": 0,
        "oldest_held": None,
        "waiting": 0,
        "breaker": {"state": "closed", "since": created["created_at"], "probe_at": None, "openings": 0},
        "in_flight": {"now": 0, "limit": 10, "ramping": True, "most": 50},
        "waits_until": None,
        "failing_since": None,
        "disabled_at": None,
        "last_succeeded_at": None,
        "last_failed_at": None,
        "last_hour": {
            "attempts": 0,
            "success_ratio": None,
            "latency_ms": {"p50": None, "p95": None, "p99": None},
            "sampled": False,
        },
    }


async def test_open_breaker_reports_held_deliveries_and_next_probe(
    tenant: TenantClient, sql: psycopg.Connection
):
    created = await tenant.create_endpoint()
    other = await tenant.create_endpoint()
    for _ in range(3):
        await tenant.send_event()
    claimed, later, due = reversed(await tenant.list_deliveries(endpoint=created["id"]))
    sql.execute(
        "update schedule set claim_id = %s where delivery_id = %s",
        [new_id(), parse_id(Prefix.DELIVERY, claimed["id"])],
    )
    sql.execute(
        "update schedule set due_at = '2999-01-01Z' where delivery_id = %s",
        [parse_id(Prefix.DELIVERY, later["id"])],
    )
    set_health(
        sql,
        created,
        b"breaker = 'open', breaker_since = '2026-01-01Z', probe_at = '2999-01-01Z', openings = 3,"
        b" in_flight = 1",
    )
    result = await health_of(tenant, created)
    assert result["breaker"] == {
        "state": "open",
        "since": "2026-01-01T00:00:00.000Z",
        "probe_at": "2999-01-01T00:00:00.000Z",
        "openings": 3,
    }
    assert (result["hold"], result["hold_until"]) == ("breaker_open", "2999-01-01T00:00:00.000Z")
    assert (result["held"], result["waiting"], result["in_flight"]["now"]) == (1, 2, 1)
    assert result["oldest_held"] == {"delivery_id": due["id"], "created_at": due["created_at"]}
    assert (await health_of(tenant, other))["hold"] is None


@pytest.mark.parametrize(
    ("assignments", "hold", "until"),
    [
        (b"breaker = 'half_open'", "breaker_open", None),
        (b"breaker = 'open', probe_at = now() - interval '1 s'", "breaker_open", None),
        (b"waits_until = '2999-01-01Z'", "retry_after", "2999-01-01T00:00:00.000Z"),
        (b"in_flight = 10", "in_flight_limit", None),
        (b"in_flight = 9", None, None),
    ],
    ids=["probe under way", "probe due", "asked to wait", "in flight", "room"],
)
async def test_unhealthy_endpoint_holds_due_deliveries(
    tenant: TenantClient, sql: psycopg.Connection, assignments: bytes, hold: str | None, until: str | None
):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    set_health(sql, created, assignments)
    result = await health_of(tenant, created)
    assert (result["hold"], result["hold_until"]) == (hold, until)
    assert (result["held"], result["waiting"]) == (0 if hold is None else 1, 1)


@pytest.mark.parametrize(("how", "state"), [("pause", "paused"), ("disable", "disabled")])
async def test_a_hold_by_state_has_its_reason(tenant: TenantClient, how: str, state: str):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    await move(tenant, created, how, reason="moving house")
    result = await health_of(tenant, created)
    assert (result["hold"], result["held"], result["state_reason"]) == (state, 1, "moving house")


async def test_a_failing_endpoint_shows_when_it_is_disabled(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint(disable_after_hours=48)
    set_health(
        sql,
        created,
        b"failing_since = now() - interval '1 h', failed = 4, last_failed_at = now(),"
        b" last_succeeded_at = '2026-01-01Z'",
    )
    result = await health_of(tenant, created)
    row = sql.execute(
        "select failing_since + interval '48 h', last_failed_at from endpoint_health where endpoint_id = %s",
        [uuid_of(created)],
    ).fetchone()
    assert row is not None
    report = [moment.strftime("%Y-%m-%dT%H:%M:%S") for moment in row]
    assert [result["disabled_at"][:19], result["last_failed_at"][:19]] == report
    assert result["last_succeeded_at"] == "2026-01-01T00:00:00.000Z"


async def test_the_last_hour_has_statistics(tenant: TenantClient, sql: psycopg.Connection):
    created, other = await tenant.create_endpoint(), await tenant.create_endpoint()
    attempts(sql, created, 75)
    attempts(sql, created, 25, "refused")
    attempts(sql, created, 50, "timed_out", ago=timedelta(minutes=61))
    attempts(sql, created, 50, "interrupted")
    attempts(sql, other, 5, "refused")
    assert (await health_of(tenant, created))["last_hour"] == {
        "attempts": 100,
        "success_ratio": 0.75,
        "latency_ms": {"p50": 25, "p95": 70, "p99": 74},
        "sampled": False,
    }
    assert (await health_of(tenant, other))["last_hour"]["success_ratio"] == 0


async def test_health_statistics_cover_only_the_newest_attempts(
    tenant: TenantClient, sql: psycopg.Connection
):
    created = await tenant.create_endpoint()
    attempts(sql, created, 100, "refused", ago=timedelta(minutes=50))
    attempts(sql, created, 10_000)
    result = (await health_of(tenant, created))["last_hour"]
    assert (result["attempts"], result["success_ratio"], result["sampled"]) == (10_000, 1, True)
    assert result["latency_ms"] == {"p50": 5_000, "p95": 9_500, "p99": 9_900}


async def test_attempts_without_a_duration_are_counted_without_latency(
    tenant: TenantClient, sql: psycopg.Connection
):
    created = await tenant.create_endpoint()
    attempts(sql, created, 2, "blocked")
    sql.execute("update attempts set total_us = null where endpoint_id = %s", [uuid_of(created)])
    result = (await health_of(tenant, created))["last_hour"]
    assert (result["attempts"], result["latency_ms"]["p50"]) == (2, None)


async def test_an_endpoint_without_a_health_row_is_fresh(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint()
    sql.execute("delete from endpoint_health where endpoint_id = %s", [uuid_of(created)])
    assert (await health_of(tenant, created))["in_flight"] == {
        "now": 0, "limit": 10, "ramping": True, "most": 50,
    }  # fmt: skip
    await move(tenant, created, "disable")
    assert (await move(tenant, created, "enable", dry_run=True))["held"] == 0
    assert (await move(tenant, created, "enable"))["state"] == "active"


async def test_a_deleted_endpoint_has_no_health(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}"
    await tenant.client.delete(path)
    for way in ("pause", "resume", "disable", "enable"):
        assert (await tenant.client.post(f"{path}/{way}")).status_code == 404
    assert (await tenant.client.post(f"{path}/enable", json={"dry_run": True})).status_code == 404
    assert (await tenant.client.get(f"{path}/health")).status_code == 404


async def test_other_tenants_endpoint_health_is_not_found(tenant: TenantClient, other_tenant: TenantClient):
    created = await tenant.create_endpoint()
    before = await health_of(tenant, created)
    path = f"/v1/endpoints/{created['id']}"
    for way in ("pause", "resume", "disable", "enable"):
        assert (await other_tenant.client.post(f"{path}/{way}", json={"reason": "mine"})).status_code == 404
    assert (await other_tenant.client.post(f"{path}/enable", json={"dry_run": True})).status_code == 404
    assert (await other_tenant.client.get(f"{path}/health")).status_code == 404
    assert (await other_tenant.client.patch(path, json={"in_flight_max": 1})).status_code == 404
    assert await health_of(tenant, created) == before
