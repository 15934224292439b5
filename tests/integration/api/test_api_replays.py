"""Replays over HTTP: validation, previews and access."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.domain.ids import Prefix, parse_id
from delivery.services.replays.runner import ReplayRunner
from tests.integration.api.test_api_deliveries import finish

if TYPE_CHECKING:
    import httpx
    import psycopg

    from delivery.bootstrap import Services
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

WHY = {"reason": "the receiver lost them"}
SINCE = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


async def failed(tenant: TenantClient, sql: psycopg.Connection, count: int) -> tuple[str, list[str]]:
    """An endpoint with failed deliveries; returns its id and theirs."""
    endpoint = (await tenant.create_endpoint())["id"]
    for _ in range(count):
        await tenant.send_event()
    owed = [delivery["id"] for delivery in await tenant.list_deliveries(endpoint=endpoint)]
    for delivery in owed:
        finish(sql, delivery)
    return endpoint, owed


async def begin(client: httpx.AsyncClient, **requested: Any) -> dict[str, Any]:
    answer = await client.post("/v1/replays", json=WHY | requested)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/replays/{answer.json()['id']}"
    return dict(answer.json())


async def step(services: Services, replay: str) -> None:
    advancer = ReplayRunner(services.ledger, default_max_in_flight=50)
    await advancer.step(parse_id(Prefix.REPLAY, replay))  # type: ignore[arg-type]


# ------------------------------------------------------------------ looked at first
async def test_a_dry_run_previews_and_changes_nothing(tenant: TenantClient, sql: psycopg.Connection) -> None:
    endpoint, owed = await failed(tenant, sql, 12)
    answer = await tenant.client.post(
        "/v1/replays", json=WHY | {"selection": {"status": ["failed"]}, "dry_run": True}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["count"], body["exact"], body["by_status"]) == (12, True, {"failed": 12})
    assert [delivery["id"] for delivery in body["deliveries"]] == sorted(owed)[:10]
    assert body["oldest"] < body["newest"]
    assert [(delivery["id"], delivery["state"], delivery["held"]) for delivery in body["endpoints"]] == [
        (endpoint, "active", None)
    ]
    assert (await tenant.client.get("/v1/replays")).json()["items"] == []


async def test_dry_run_previews_missing_events(tenant: TenantClient) -> None:
    await tenant.create_endpoint()
    before = [(await tenant.send_event())["id"] for _ in range(3)]
    late = (await tenant.create_endpoint(filter=["order.*"]))["id"]
    await tenant.send_event("user.left")
    requested = WHY | {"missing": {"endpoint": late}, "dry_run": True}
    body = (await tenant.client.post("/v1/replays", json=requested)).json()
    assert (body["count"], body["exact"]) == (3, True)
    assert [event["id"] for event in body["events"]] == before


# ------------------------------------------------------------------ a job's life
async def test_a_replay_can_be_created_paused_resumed_and_cancelled(
    tenant: TenantClient, sql: psycopg.Connection, services: Services
) -> None:
    endpoint, _ = await failed(tenant, sql, 3)
    created = await begin(tenant.client, selection={"endpoint": [endpoint], "status": ["failed"]}, rate=10)
    path = f"/v1/replays/{created['id']}"
    assert (created["state"], created["rate"], created["progress"]["selecting"]) == ("running", 10, True)
    assert created["selection"]["endpoints"] == [endpoint]
    await step(services, created["id"])
    body = (await tenant.client.get(path)).json()["progress"]
    assert (body["selected"], body["done"], body["remaining"], body["selecting"]) == (3, 0, 3, False)
    assert (await tenant.client.post(f"{path}/pause", json={"reason": "wait"})).json()["state"] == "paused"
    await step(services, created["id"])
    items = (await tenant.client.get(f"{path}/deliveries", params={"state": "waiting"})).json()["items"]
    assert [item["endpoint_id"] for item in items] == [endpoint] * 3
    assert (await tenant.client.post(f"{path}/resume")).json()["state"] == "running"
    assert (await tenant.client.post(f"{path}/cancel")).json()["state"] == "cancelling"
    await step(services, created["id"])
    over = (await tenant.client.get(path)).json()
    assert (over["state"], over["progress"]["cancelled"]) == ("cancelled", 3)
    for move in ("pause", "resume", "cancel"):
        refused = await tenant.client.post(f"{path}/{move}")
        assert refused.status_code == 409
        assert "is cancelled" in refused.json()["detail"]
    found = (await tenant.client.get("/v1/audit", params={"what": "replay.*"})).json()["items"]
    assert [item["what"] for item in found] == [
        "replay.cancelled", "replay.resumed", "replay.paused", "replay.created",
    ]  # fmt: skip
    assert (found[2]["reason"], found[3]["reason"]) == ("wait", WHY["reason"])


async def test_a_recovery_replays_failed_and_waiting_deliveries(
    tenant: TenantClient, sql: psycopg.Connection, services: Services
) -> None:
    endpoint, owed = await failed(tenant, sql, 3)
    finish(sql, owed[0], "succeeded")
    await tenant.send_event()
    path = f"/v1/endpoints/{endpoint}/recover"
    body = (await tenant.client.post(path, json={"since": SINCE, "dry_run": True})).json()
    assert body["by_status"] == {"failed": 2, "pending": 1}
    created = await tenant.client.post(path, json={"since": SINCE})
    assert created.status_code == 201
    assert created.json()["reason"].startswith("recovery since ")
    await step(services, created.json()["id"])
    assert (await tenant.client.get(f"/v1/replays/{created.json()['id']}")).json()["progress"]["queued"] == 3


async def test_a_delivery_lists_its_replays(
    tenant: TenantClient, sql: psycopg.Connection, services: Services
) -> None:
    _, (owed,) = await failed(tenant, sql, 1)
    created = await begin(tenant.client, selection={"status": ["failed"]})
    await step(services, created["id"])
    steps = (await tenant.client.get(f"/v1/deliveries/{owed}/trace")).json()["steps"]
    assert (steps[-1]["what"], steps[-1]["details"]["replay_id"]) == ("delivery.replayed", created["id"])
    assert "because: the receiver lost them; it was failed" in steps[-1]["sentence"]


async def test_replays_are_listed_newest_first_page_by_page(tenant: TenantClient) -> None:
    created = [(await begin(tenant.client, selection={"status": ["failed"]}))["id"] for _ in range(3)]
    first = (await tenant.client.get("/v1/replays", params={"limit": 2})).json()
    then = (await tenant.client.get("/v1/replays", params={"limit": 2, "cursor": first["next"]})).json()
    assert [row["id"] for row in [*first["items"], *then["items"]]] == created[::-1]
    assert then["next"] is None
    assert (await tenant.client.get("/v1/replays", params={"state": "paused"})).json()["items"] == []


# ------------------------------------------------------------------ refused
@pytest.mark.parametrize(("done", "way_on"), [("pause", "resume"), ("disable", "enable")])
async def test_replay_to_a_paused_endpoint_is_refused_or_held(
    tenant: TenantClient, done: str, way_on: str
) -> None:
    endpoint = (await tenant.create_endpoint())["id"]
    await tenant.client.post(f"/v1/endpoints/{endpoint}/{done}")
    for row in ({"selection": {"endpoint": [endpoint]}}, {"missing": {"endpoint": endpoint}}):
        refused = await tenant.client.post("/v1/replays", json=WHY | row)
        assert refused.status_code == 409
        assert f"POST /v1/endpoints/{endpoint}/{way_on}" in refused.json()["detail"]
        assert (await tenant.client.post("/v1/replays", json=WHY | row | {"hold": True})).status_code == 201


@pytest.mark.parametrize(
    ("requested", "field"),
    [
        ({"selection": {"status": ["lost"]}}, "selection.status"),
        ({"selection": {"since": "yesterday"}}, "selection.since"),
        ({"selection": {"since": "2026-11-22T18:00:00"}}, "selection.since"),
        (
            {"selection": {"since": "2026-11-23T00:00:00Z", "until": "2026-11-22T00:00:00Z"}},
            "selection.until",
        ),
        ({"selection": {"endpoint": ["evt_1"]}}, "selection.endpoint"),
        ({"selection": {"type": ["order.*.paid"]}}, "selection.type"),
        ({"selection": {"response": ["6xx"]}}, "selection.response"),
        ({"selection": {"tenant": "ten_1"}}, "selection.tenant"),
        ({"selection": {}}, "selection"),
        ({}, "selection"),
        ({"selection": {"status": ["failed"]}, "missing": {"endpoint": "ep_1"}}, "selection"),
        ({"missing": {"endpoint": "ep_1"}}, "missing.endpoint"),
        ({"missing": {}}, "missing.endpoint"),
        ({"selection": {"status": ["failed"]}, "rate": 0}, "rate"),
        ({"selection": {"status": ["failed"]}, "rate": -1}, "rate"),
        ({"selection": {"status": ["failed"]}, "rate": 1e9}, "rate"),
        ({"selection": {"status": ["failed"]}, "rate": "fast"}, "rate"),
        ({"selection": {"status": ["failed"]}, "reason": " "}, "reason"),
        ({"selection": {"status": ["failed"]}, "reason": "x" * 501}, "reason"),
        ({"selection": {"status": ["failed"]}, "reason": None}, "reason"),
        ({"selection": {"status": ["failed"]}, "soon": True}, "soon"),
    ],
)
async def test_invalid_limits_name_their_field(
    tenant: TenantClient, requested: dict[str, Any], field: str
) -> None:
    for dry_run in (True, False):
        answer = await tenant.post("/v1/replays", WHY | requested | {"dry_run": dry_run})
        assert answer.status_code == 422, answer.text
        assert field in [error["field"] for error in answer.json()["errors"]]


async def test_a_recovery_needs_a_start_time(tenant: TenantClient) -> None:
    endpoint = (await tenant.create_endpoint())["id"]
    for row in ({}, {"since": "noon"}, {"since": "2026-11-22T18:00:00"}):
        answer = await tenant.post(f"/v1/endpoints/{endpoint}/recover", row)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["since"]


async def test_unfiltered_replay_needs_confirmation_and_the_operator_key(
    tenant: TenantClient, operator: httpx.AsyncClient
) -> None:
    requested = WHY | {"selection": {}, "all": True, "dry_run": True}
    assert (await tenant.client.post("/v1/replays", json=requested)).status_code == 403
    for_tenant = {"Waybill-Tenant": tenant.id}
    assert (await operator.post("/v1/replays", json=requested, headers=for_tenant)).status_code == 200
    refused = await operator.post("/v1/replays", json=requested | {"all": False}, headers=for_tenant)
    assert refused.status_code == 422


async def test_an_operational_endpoint_has_no_missing_events(tenant: TenantClient) -> None:
    endpoint = (await tenant.create_endpoint(operational=True))["id"]
    answer = await tenant.client.post("/v1/replays", json=WHY | {"missing": {"endpoint": endpoint}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "missing.endpoint"


# ------------------------------------------------------------------ whose
async def test_other_tenants_replays_are_not_found(tenant: TenantClient, other_tenant: TenantClient) -> None:
    path = f"/v1/replays/{(await begin(tenant.client, selection={'status': ['failed']}))['id']}"
    assert (await other_tenant.client.get(path)).status_code == 404
    assert (await other_tenant.client.get(f"{path}/deliveries")).status_code == 404
    for move in ("pause", "resume", "cancel"):
        assert (await other_tenant.client.post(f"{path}/{move}")).status_code == 404
    assert (await other_tenant.client.get("/v1/replays")).json()["items"] == []


async def test_other_tenants_endpoints_cannot_be_replayed(
    tenant: TenantClient, other_tenant: TenantClient
) -> None:
    theirs = (await other_tenant.create_endpoint())["id"]
    for row in ({"selection": {"endpoint": [theirs]}}, {"missing": {"endpoint": theirs}}):
        assert (await tenant.client.post("/v1/replays", json=WHY | row)).status_code == 404
    recover = await tenant.client.post(f"/v1/endpoints/{theirs}/recover", json={"since": SINCE})
    assert recover.status_code == 404


async def test_replay_filter_matches_only_the_tenants_deliveries(
    tenant: TenantClient, other_tenant: TenantClient, sql: psycopg.Connection
) -> None:
    """Selections that a tenant's key may send, including ids of another tenant's objects."""
    for row in (tenant, other_tenant):
        await failed(row, sql, 2)
        await row.send_event("user.left", **{"Idempotency-Key": "the-same"})
    own = {row["id"] for row in await tenant.list_deliveries()}
    others = await other_tenant.list_deliveries()
    some = {
        "event": st.sampled_from([row["event_id"] for row in others]),
        "type": st.sampled_from([["*"], ["order.*"], ["user.left"]]),
        "status": st.sampled_from([["failed"], ["pending", "failed"], ["succeeded"]]),
        "idempotency_key": st.just("the-same"),
        "payload": st.just(["$.n=1"]),
        "attempts_min": st.integers(0, 2),
        "since": st.just(SINCE),
    }
    requested: list[dict[str, Any]] = []
    draw_all(st.fixed_dictionaries({}, optional=some), requested)
    for selection in requested:
        answer = await tenant.client.post("/v1/replays", json=WHY | {"selection": selection, "dry_run": True})
        if not selection:
            assert answer.status_code == 422
            continue
        body = answer.json()
        assert {row["id"] for row in body["deliveries"]} <= own
        assert body["count"] <= len(own)
        assert {row["id"] for row in body["endpoints"]} <= {
            row["endpoint_id"] for row in await tenant.list_deliveries()
        }


def draw_all(strategy: st.SearchStrategy[dict[str, Any]], into: list[dict[str, Any]]) -> None:
    """Collect hypothesis examples for an asynchronous test."""

    @settings(max_examples=60)
    @given(strategy)
    def keep(drawn: dict[str, Any]) -> None:
        into.append(drawn)

    keep()
