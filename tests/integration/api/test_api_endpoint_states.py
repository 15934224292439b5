"""Endpoints paused, resumed, disabled and enabled by users: holds, releases and records."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from delivery.clock import clock
from delivery.domain.ids import EndpointId, Prefix, new_id, parse_id
from delivery.ledger.queue import endpoint_health
from delivery.ledger.records import endpoints as rows
from tests.integration.api.conftest import OPERATOR_KEY, make_client
from tests.support import ledger_builders as build
from tests.support import postgres

if TYPE_CHECKING:
    import httpx
    import psycopg
    from fastapi import FastAPI

    from delivery.bootstrap import Services
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOVES = ("pause", "resume", "disable", "enable")
# The request that leads to each state.
WAYS = {"active": [], "paused": ["pause"], "disabled": ["disable"]}


def uuid_of(endpoint: dict[str, Any]) -> EndpointId:
    return EndpointId(parse_id(Prefix.ENDPOINT, endpoint["id"]))


def journal(sql: psycopg.Connection, endpoint: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The journal entries of an endpoint, oldest first: action, actor, reason, details."""
    return sql.execute(
        "select what, actor, reason, details from journal where endpoint_id = %s and delivery_id is null"
        " order by id",
        [uuid_of(endpoint)],
    ).fetchall()


async def move(
    tenant: TenantClient, endpoint: dict[str, Any], how: str, **provided: object
) -> dict[str, Any]:
    """Change an endpoint's state, which must succeed."""
    done = await tenant.client.post(f"/v1/endpoints/{endpoint['id']}/{how}", json=provided)
    assert done.status_code == 200, done.text
    return dict(done.json())


async def read(tenant: TenantClient, endpoint: dict[str, Any]) -> dict[str, Any]:
    return dict((await tenant.client.get(f"/v1/endpoints/{endpoint['id']}")).json())


async def endpoint_in(tenant: TenantClient, state: str, **changed: object) -> dict[str, Any]:
    """Create an endpoint in this state."""
    created = await tenant.create_endpoint(**changed)
    for way in WAYS[state]:
        await move(tenant, created, way)
    return created


@pytest.mark.parametrize(
    ("before", "how", "after", "expected"),
    [
        ("active", "pause", "paused", "endpoint.paused"),
        ("paused", "resume", "active", "endpoint.resumed"),
        ("active", "disable", "disabled", "endpoint.disabled"),
        ("paused", "disable", "disabled", "endpoint.disabled"),
        ("disabled", "enable", "active", "endpoint.enabled"),
    ],
)
async def test_a_state_change_records_reason_and_actor(
    tenant: TenantClient, sql: psycopg.Connection, before: str, how: str, after: str, expected: str
):
    created = await endpoint_in(tenant, before)
    result = await move(tenant, created, how, reason="moving house")
    assert result == await read(tenant, created)
    assert (result["state"], result["state_reason"]) == (after, "moving house")
    assert result["state_actor"].startswith("key_")
    assert result["state_changed_at"] == result["updated_at"]
    assert journal(sql, created)[-1] == (expected, result["state_actor"], "moving house", {})


@pytest.mark.parametrize(
    ("state", "how"),
    [("active", "resume"), ("active", "enable"), ("paused", "pause"), ("disabled", "disable")],
)
async def test_setting_the_same_state_changes_nothing(
    tenant: TenantClient, sql: psycopg.Connection, state: str, how: str
):
    created = await endpoint_in(tenant, state)
    before, result = await read(tenant, created), journal(sql, created)
    assert await move(tenant, created, how) == before
    assert journal(sql, created) == result


@pytest.mark.parametrize("how", ["pause", "disable"])
async def test_new_reason_changes_the_actor_but_not_the_state_time(
    app: FastAPI, tenant: TenantClient, sql: psycopg.Connection, how: str
):
    created = await tenant.create_endpoint()
    first = await move(tenant, created, how, reason="moving house")
    async with make_client(app, OPERATOR_KEY, **{"Waybill-Tenant": tenant.id}) as operator:
        repeated = await operator.post(
            f"/v1/endpoints/{created['id']}/{how}", json={"reason": "still moving"}
        )
    body = repeated.json()
    assert (body["state_reason"], body["state_actor"]) == ("still moving", "operator")
    assert body["state_changed_at"] == first["state_changed_at"]
    assert [entry[1:] for entry in journal(sql, created)[1:]] == [
        (first["state_actor"], "moving house", {}),
        ("operator", "still moving", {"again": True}),
    ]


@pytest.mark.parametrize(
    ("state", "how", "way_on"),
    [("disabled", "pause", "enable"), ("disabled", "resume", "enable"), ("paused", "enable", "resume")],
)
async def test_invalid_state_change_is_refused_with_a_hint(
    tenant: TenantClient, sql: psycopg.Connection, state: str, how: str, way_on: str
):
    created = await endpoint_in(tenant, state)
    before, result = await read(tenant, created), journal(sql, created)
    for body in ({}, {"reason": "because"}, {"dry_run": True} if how == "enable" else {}):
        refused = await tenant.client.post(f"/v1/endpoints/{created['id']}/{how}", json=body)
        assert refused.status_code == 409
        assert f"/v1/endpoints/{created['id']}/{way_on}" in refused.json()["detail"]
    assert await read(tenant, created) == before
    assert journal(sql, created) == result


@pytest.mark.parametrize("how", MOVES)
@pytest.mark.parametrize("raw", [b"", b"null", b"{}", b'{"reason": null}'])
async def test_a_reason_is_optional(tenant: TenantClient, how: str, raw: bytes):
    before = {"resume": "paused", "enable": "disabled"}.get(how, "active")
    created = await endpoint_in(tenant, before)
    moved = await tenant.client.post(
        f"/v1/endpoints/{created['id']}/{how}", content=raw, headers={"Content-Type": "application/json"}
    )
    assert moved.status_code == 200
    assert moved.json()["state_reason"] is None


@pytest.mark.parametrize("how", MOVES)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": 1}, "reason"),
        ({"reason": ["x"]}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"reason": "\ud800"}, "reason"),
        ({"why": "x"}, "why"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"dry_run": 1}, "dry_run"),
        ([], "body"),
        ("reason", "body"),
    ],
    ids=range(10),
)
async def test_an_invalid_state_change_names_the_field(
    tenant: TenantClient, how: str, body: object, field: str
):
    created = await tenant.create_endpoint()
    before = await read(tenant, created)
    refused = await tenant.post(f"/v1/endpoints/{created['id']}/{how}", body)
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert await read(tenant, created) == before


@pytest.mark.parametrize(("hold", "release"), [("pause", "resume"), ("disable", "enable")])
async def test_pending_deliveries_stay_and_events_are_still_matched(
    tenant: TenantClient, sql: psycopg.Connection, hold: str, release: str
):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    await move(tenant, created, hold)
    assert (await tenant.send_event())["deliveries"] == 1
    assert [owed["status"] for owed in await tenant.list_deliveries()] == ["pending", "pending"]
    owed = "select delivery_id, due_at, attempts, step from schedule where endpoint_id = %s order by 1"
    before = sql.execute(owed, [uuid_of(created)]).fetchall()
    assert len(before) == 2
    await move(tenant, created, release)
    assert sql.execute(owed, [uuid_of(created)]).fetchall() == before


@pytest.mark.parametrize(("hold", "release"), [("pause", "resume"), ("disable", "enable")])
async def test_held_deliveries_drain_through_the_ramp(
    tenant: TenantClient, sql: psycopg.Connection, hold: str, release: str
):
    created = await tenant.create_endpoint()
    await move(tenant, created, hold)
    sql.execute(
        """
        update endpoint_health
        set in_flight = 2, breaker = 'open', probe_at = now() + interval '1 h', openings = 4, limit_now = 37,
            limit_ramping = false, waits_until = now() + interval '1 h', failing_since = now(), failed = 9,
            warned = 50, last_failed_at = '2026-01-01Z', last_succeeded_at = '2026-01-02Z'
        where endpoint_id = %s
        """,
        [uuid_of(created)],
    )
    await move(tenant, created, release)
    body = (await tenant.client.get(f"/v1/endpoints/{created['id']}/health")).json()
    assert body["breaker"]["state"] == "closed"
    assert body["breaker"]["openings"] == 0
    assert body["in_flight"] == {"now": 2, "limit": 1, "ramping": True, "most": 50}
    assert (body["waits_until"], body["failing_since"], body["disabled_at"]) == (None, None, None)
    assert body["last_failed_at"] == "2026-01-01T00:00:00.000Z"
    assert body["last_succeeded_at"] == "2026-01-02T00:00:00.000Z"


@pytest.mark.parametrize(("hold", "release"), [("pause", "resume"), ("disable", "enable")])
async def test_resuming_notifies_the_relay(
    tenant: TenantClient, api_database_url: str, hold: str, release: str
):
    created = await tenant.create_endpoint()
    await move(tenant, created, hold)
    with postgres.connect(api_database_url) as listener:
        listener.execute("listen waybill_due")
        await move(tenant, created, release)
        assert next(listener.notifies(timeout=10, stop_after=1)).channel == "waybill_due"


async def test_concurrent_state_changes_apply_once(tenant: TenantClient, sql: psycopg.Connection):
    created = await endpoint_in(tenant, "disabled")
    await asyncio.gather(*(move(tenant, created, "enable") for _ in range(6)))
    assert [entry[0] for entry in journal(sql, created)].count("endpoint.enabled") == 1


async def test_state_changes_wait_for_health_updates_without_deadlock(
    tenant: TenantClient, services: Services
):
    created = await endpoint_in(tenant, "paused")
    async with services.ledger.transaction() as judging:
        await endpoint_health.lock(judging, [uuid_of(created)])
        resuming = asyncio.create_task(move(tenant, created, "resume"))
        await build.wait_until(lambda: build.has_lock_waiter(services.ledger))
        # The holder of the health lock can continue to the endpoint, which is not locked yet.
        disabled = await rows.disable(
            judging, uuid_of(created), url=created["url"], reason="gone", actor="waybill", at=clock()
        )
    assert disabled
    with pytest.raises(AssertionError, match="Enable it"):
        await resuming


# ------------------------------------------------------------------ what would go out
async def preview(tenant: TenantClient, endpoint: dict[str, Any]) -> dict[str, Any]:
    return await move(tenant, endpoint, "enable", dry_run=True)


@pytest.mark.parametrize(("hold", "way_on"), [("pause", "resume"), ("disable", "enable")])
async def test_a_refused_retry_says_how_to_activate_the_endpoint(
    tenant: TenantClient, hold: str, way_on: str
):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    (owed,) = await tenant.list_deliveries()
    await move(tenant, created, hold)
    refused = await tenant.client.post(f"/v1/deliveries/{owed['id']}/replay")
    assert refused.status_code == 409
    assert f"/v1/endpoints/{created['id']}/{way_on}" in refused.json()["detail"]


async def test_a_dry_run_previews_and_changes_nothing(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint(in_flight_max=20)
    other = await tenant.create_endpoint()
    for _ in range(3):
        await tenant.send_event()
    newest, _, oldest = await tenant.list_deliveries(endpoint=created["id"])
    await move(tenant, created, "disable")
    await move(tenant, other, "disable")
    sql.execute(
        "update schedule set due_at = now() + interval '1 day' where endpoint_id = %s", [uuid_of(created)]
    )
    before, result = await read(tenant, created), journal(sql, created)
    assert await preview(tenant, created) == {
        "endpoint_id": created["id"],
        "state": "disabled",
        "held": 3,
        "oldest": {"delivery_id": oldest["id"], "created_at": oldest["created_at"]},
        "newest": {"delivery_id": newest["id"], "created_at": newest["created_at"]},
        "at_first": 1,
        "up_to": 20,
    }
    assert await read(tenant, created) == before
    assert journal(sql, created) == result
    assert (await move(tenant, created, "enable", dry_run=False))["state"] == "active"


async def test_in_flight_deliveries_do_not_count_as_held(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    await tenant.send_event()
    _, oldest = await tenant.list_deliveries()
    await move(tenant, created, "disable")
    sql.execute(
        "update schedule set claim_id = %s where delivery_id = %s",
        [new_id(), parse_id(Prefix.DELIVERY, oldest["id"])],
    )
    assert (await preview(tenant, created))["held"] == 1


async def test_a_dry_run_without_deliveries_previews_nothing(tenant: TenantClient):
    created = await endpoint_in(tenant, "disabled")
    result = await preview(tenant, created)
    assert (result["held"], result["oldest"], result["newest"]) == (0, None, None)


async def test_a_dry_run_on_an_active_endpoint_releases_nothing(tenant: TenantClient):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    result = await preview(tenant, created)
    assert (result["state"], result["held"], result["oldest"]) == ("active", 0, None)


# ------------------------------------------------------------------ operational events
async def told_to(tenant: TenantClient, endpoint: dict[str, Any]) -> list[str]:
    """The event types of an endpoint's deliveries, oldest first."""
    return [owed["event_type"] for owed in reversed(await tenant.list_deliveries(endpoint=endpoint["id"]))]


async def test_disabling_and_enabling_send_system_events(tenant: TenantClient):
    watcher = await tenant.create_endpoint(operational=True, filter=["endpoint.*"])
    other = await tenant.create_endpoint(filter=["*"])
    created = await tenant.create_endpoint()
    result = await move(tenant, created, "disable", reason="moving house")
    await move(tenant, created, "disable", reason="still moving")
    await move(tenant, created, "enable")
    assert await told_to(tenant, watcher) == ["endpoint.disabled", "endpoint.enabled"]
    assert await told_to(tenant, other) == []
    _, first = await tenant.list_deliveries(endpoint=watcher["id"])
    event = (await tenant.client.get(f"/v1/events/{first['event_id']}")).json()
    data = event["body"]["data"]
    assert (data["endpoint_id"], data["reason"]) == (created["id"], "moving house")
    assert data["actor"] == result["state_actor"]


async def test_operational_endpoint_gets_only_events_in_its_filter(tenant: TenantClient):
    watcher = await tenant.create_endpoint(operational=True, filter=["endpoint.enabled", "delivery.failed"])
    created = await endpoint_in(tenant, "disabled")
    await move(tenant, created, "enable")
    await move(tenant, created, "pause")
    await move(tenant, created, "resume")
    assert await told_to(tenant, watcher) == ["endpoint.enabled"]


async def test_changes_to_operational_endpoints_send_no_system_events(tenant: TenantClient):
    watcher = await tenant.create_endpoint(operational=True)
    watched = await tenant.create_endpoint(operational=True)
    await move(tenant, watched, "disable")
    await move(tenant, watched, "enable")
    assert (await tenant.client.get("/v1/events")).json()["items"] == []
    assert await told_to(tenant, watcher) == []


async def test_system_events_stay_within_the_tenant(tenant: TenantClient, other_tenant: TenantClient):
    theirs = await other_tenant.create_endpoint(operational=True)
    created = await tenant.create_endpoint()
    await move(tenant, created, "disable")
    assert await told_to(other_tenant, theirs) == []


async def test_an_operational_endpoint_gets_no_events_of_tenants(tenant: TenantClient):
    watcher = await tenant.create_endpoint(operational=True)
    assert watcher["operational"] is True
    assert (await tenant.send_event("endpoint.disabled"))["deliveries"] == 0
    assert await told_to(tenant, watcher) == []


# ------------------------------------------------------------------ the journal
async def test_the_journal_has_all_changes_and_no_secrets(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint(filter=["order.*"], url="https://user.example/?token=s3same0pen")
    path = f"/v1/endpoints/{created['id']}"
    changes = {
        "filter": ["invoice.*"],
        "url": "https://b.example/?token=s3same0pen",
        "headers": {"X-Token": "s3same0pen"},
        "description": "",  # as it was
        "in_flight_max": 7,
    }
    assert (await tenant.client.patch(path, json=changes)).status_code == 200
    rotated = (await tenant.client.post(f"{path}/secrets/rotate")).json()
    assert (await tenant.client.delete(path)).status_code == 204
    result = journal(sql, created)
    assert [(what, details) for what, _, _, details in result] == [
        ("endpoint.created", {}),
        (
            "endpoint.changed",
            {
                "fields": ["filter", "headers", "in_flight_max", "url"],
                "filter": {"was": ["order.*"], "is": ["invoice.*"]},
            },
        ),
        ("endpoint.secret_rotated", {"key_id": rotated["key_id"]}),
        ("endpoint.deleted", {}),
    ]
    assert {actor for _, actor, _, _ in result} == {created["state_actor"]}
    for needle in ("s3same0pen", created["secret"], rotated["secret"]):
        assert needle not in json.dumps(result)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"url": "https://SHOP.example:443/in"},
        {"headers": {"X-Token": "t"}},
        {"headers": {"X-Other": None}},
        {"filter": ["*", "*"], "in_flight_max": None, "breaker": {}},
    ],
    ids=range(5),
)
async def test_unchanged_values_change_nothing(
    tenant: TenantClient, sql: psycopg.Connection, change: dict[str, object]
):
    created = await tenant.create_endpoint(headers={"X-Token": "t"})
    before = await read(tenant, created)
    changed = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json=change)
    assert (changed.status_code, changed.json()) == (200, before)
    assert [entry[0] for entry in journal(sql, created)] == ["endpoint.created"]


async def test_a_new_endpoint_shows_its_creator(tenant: TenantClient, operator: httpx.AsyncClient):
    created = await tenant.create_endpoint()
    (key,) = (await operator.get(f"/v1/tenants/{tenant.id}/keys")).json()["items"]
    assert created["state_actor"] == key["id"]


async def test_an_operational_endpoint_can_be_tested(tenant: TenantClient):
    watcher = await tenant.create_endpoint(operational=True, filter=["delivery.failed"])
    sent = await tenant.client.post(f"/v1/endpoints/{watcher['id']}/test")
    assert sent.status_code == 202
    assert await told_to(tenant, watcher) == ["waybill.test"]
