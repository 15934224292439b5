"""Timelines of deliveries and events over the API."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from delivery.domain.ids import Prefix, parse_id
from tests.integration.api.test_api_deliveries import attempt, claim, finish

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "01kasw8qbefy09m6sc7n75yr3h"


@pytest_asyncio.fixture(loop_scope="session")
async def owed(tenant: TenantClient) -> dict[str, Any]:
    """A pending delivery."""
    await tenant.create_endpoint(filter=["order.*"])
    await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    return delivery


async def trace(tenant: TenantClient, id_: str) -> dict[str, Any]:
    noun = "deliveries" if id_.startswith("dlv_") else "events"
    read = await tenant.client.get(f"/v1/{noun}/{id_}/trace")
    assert read.status_code == 200, read.text
    return dict(read.json())


async def act(tenant: TenantClient, endpoint: str, action: str, body: object = None) -> None:
    done = await tenant.client.post(f"/v1/endpoints/{endpoint}/{action}", json=body)
    assert done.status_code == 200, done.text


# ------------------------------------------------------------------ of a delivery
async def test_a_new_delivery_shows_why_it_exists(tenant: TenantClient, owed: dict[str, Any]):
    result = await trace(tenant, owed["id"])
    assert result["delivery"] == owed
    assert result["url"] == "https://shop.example/in"
    assert [step["what"] for step in result["steps"]] == ["event.accepted", "delivery.matched"]
    accepted, matched = result["steps"]
    assert accepted["details"] == {"event_id": owed["event_id"], "event_type": "order.created"}
    assert matched["details"] == {"endpoint_id": owed["endpoint_id"], "pattern": "order.*"}
    assert result["standing"].startswith("Due since ")
    assert result["left_out"] == []


async def test_attempts_are_in_order_with_their_facts(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    ids = [attempt(sql, owed["id"], number=number) for number in (1, 2)]
    sql.execute(
        "update attempts set started_at = started_at + number * interval '1 s' where delivery_id = %s",
        [parse_id(Prefix.DELIVERY, owed["id"])],
    )
    steps = (await trace(tenant, owed["id"]))["steps"][2:]
    of_one = ["delivery.attempted", "attempt.failed", "delivery.decided"]
    assert [step["what"] for step in steps] == of_one * 2
    assert [step["details"]["attempt_id"] for step in steps[::3]] == ids
    facts = steps[0]["details"]
    assert (facts["number"], facts["worker"], facts["address"], facts["took_ms"]) == (
        1, "host:1", "203.0.113.7", 12.5,
    )  # fmt: skip
    assert steps[2]["sentence"] == "It may be better later."


async def test_a_delivery_in_flight_shows_its_start(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    claim(sql, owed["id"])
    sql.execute(
        """
        insert into claims (id, lane, size, remaining, created_at, started_at, lease_until, worker)
        select claim_id, 0, 1, 1, now(), now(), now() + interval '1 min', 'host:7' from schedule
        where delivery_id = %s
        """,
        [parse_id(Prefix.DELIVERY, owed["id"])],
    )
    result = await trace(tenant, owed["id"])
    assert result["steps"][-1]["what"] == "delivery.claimed"
    assert result["steps"][-1]["details"]["worker"] == "host:7"
    assert result["steps"][-1]["details"]["waited_ms"] >= 0
    assert result["standing"].endswith(": the worker host:7 has it, for attempt 1 of 10.")


async def test_replay_step_names_the_actor_and_previous_state(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    finish(sql, owed["id"])
    for _ in range(2):
        assert (await tenant.client.post(f"/v1/deliveries/{owed['id']}/replay")).status_code == 200
    steps = (await trace(tenant, owed["id"]))["steps"]
    requested = [step for step in steps if step["what"] == "delivery.replayed"]
    assert [step["details"]["was"] for step in requested] == ["failed", "pending"]
    assert all(step["details"]["actor"].startswith("key_") for step in requested)


async def test_timeline_omits_steps_that_did_not_happen(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    claim(sql, owed["id"])
    assert (await tenant.client.post(f"/v1/deliveries/{owed['id']}/replay")).status_code == 409
    steps = (await trace(tenant, owed["id"]))["steps"]
    assert not [step for step in steps if step["what"] == "delivery.replayed"]


async def test_endpoint_changes_have_actor_and_reason(tenant: TenantClient, owed: dict[str, Any]):
    endpoint = owed["endpoint_id"]
    await act(tenant, endpoint, "pause", {"reason": "moving house"})
    await act(tenant, endpoint, "resume")
    await act(tenant, endpoint, "disable", {"reason": "closed"})
    steps = (await trace(tenant, owed["id"]))["steps"][2:]
    assert [step["what"] for step in steps] == ["endpoint.paused", "endpoint.resumed", "endpoint.disabled"]
    assert steps[0]["details"]["reason"] == "moving house"
    assert steps[0]["details"]["actor"].startswith("key_")
    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)


async def test_an_earlier_active_pause_is_shown(tenant: TenantClient):
    endpoint = await tenant.create_endpoint()
    await act(tenant, endpoint["id"], "pause", {"reason": "moving house"})
    await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    result = await trace(tenant, delivery["id"])
    assert [step["what"] for step in result["steps"]] == [
        "endpoint.paused",
        "event.accepted",
        "delivery.matched",
    ]
    assert result["standing"].startswith("Held: the endpoint has been paused since ")
    assert ": moving house. It is sent when the endpoint is resumed." in result["standing"]


async def test_pause_that_ended_before_the_delivery_is_omitted(tenant: TenantClient):
    endpoint = await tenant.create_endpoint()
    await act(tenant, endpoint["id"], "pause")
    await act(tenant, endpoint["id"], "resume")
    await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    assert len((await trace(tenant, delivery["id"]))["steps"]) == 2


async def test_later_events_of_a_final_delivery_are_omitted(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    finish(sql, owed["id"], "succeeded")
    await act(tenant, owed["endpoint_id"], "pause")
    result = await trace(tenant, owed["id"])
    assert result["steps"][-1]["what"] == "delivery.finished"
    assert result["standing"].startswith("Succeeded on attempt 10 at ")


async def test_a_timeline_is_bounded_and_says_so(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    sql.execute(
        """
        insert into journal (id, tenant_id, endpoint_id, at, what, actor, details)
        select cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as bigint) + n), 12, '0')
                    || '70008000000000000000' as uuid),
               %s, %s, now() + n * interval '1 ms', 'endpoint.changed', 'number ' || n, '{}'
        from generate_series(1, 250) as n
        """,
        [parse_id(Prefix.TENANT, tenant.id), parse_id(Prefix.ENDPOINT, owed["endpoint_id"])],
    )
    result = await trace(tenant, owed["id"])
    changed = [step["details"]["actor"] for step in result["steps"] if step["what"] == "endpoint.changed"]
    assert changed == [f"number {n}" for n in range(51, 251)]
    assert result["left_out"] == ["Only the newest 200 changes of its endpoint are shown."]


async def test_a_deleted_endpoints_timeline_is_readable(
    tenant: TenantClient, owed: dict[str, Any], sql: psycopg.Connection
):
    await tenant.client.delete(f"/v1/endpoints/{owed['endpoint_id']}")
    result = await trace(tenant, owed["id"])
    assert result["steps"][-1]["what"] == "endpoint.deleted"
    assert result["standing"].startswith("The endpoint was deleted")
    finish(sql, owed["id"], "cancelled")
    assert (await trace(tenant, owed["id"]))["standing"].startswith("Cancelled at ")


# ------------------------------------------------------------------ of an event
async def test_an_event_explains_each_endpoints_verdict(tenant: TenantClient):
    requested = await tenant.create_endpoint(filter=["user.left", "order.*"])
    other = await tenant.create_endpoint(filter=["invoice.paid", "user.*"])
    event = await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    result = await trace(tenant, event["id"])
    assert result["event"] == event | {"tenant_id": tenant.id, "erased_at": None, "channels": []}
    neither: dict[str, Any] = {"channels": [], "condition": None, "condition_failed": None}
    assert result["endpoints"] == [
        neither
        | {
            "endpoint_id": requested["id"],
            "url": "https://shop.example/in",
            "verdict": "matched",
            "sentence": f"Its filter includes order.*: {delivery['id']} is pending.",
            "filter": ["user.left", "order.*"],
            "pattern": "order.*",
            "delivery_id": delivery["id"],
            "status": "pending",
        },
        neither
        | {
            "endpoint_id": other["id"],
            "url": "https://shop.example/in",
            "verdict": "not_asked_for",
            "sentence": "Its filter includes invoice.paid, user.*, but not order.created.",
            "filter": ["invoice.paid", "user.*"],
            "pattern": None,
            "delivery_id": None,
            "status": None,
        },
    ]
    assert result["standing"] == "It was owed to 1 endpoint, and not to 1 other."
    assert (result["made_later"], result["left_out"]) == (0, [])


async def test_a_filter_is_shown_as_of_the_event(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(filter=["first"])
    path = f"/v1/endpoints/{endpoint['id']}"
    await tenant.client.patch(path, json={"filter": ["invoice.paid"]})
    event = await tenant.send_event()
    for later in (["order.*"], ["*"], ["last"]):
        await tenant.client.patch(path, json={"filter": later})
    (fate,) = (await trace(tenant, event["id"]))["endpoints"]
    assert fate["filter"] == ["invoice.paid"]
    assert fate["sentence"] == "Its filter then included invoice.paid, but not order.created."
    (fate,) = (await trace(tenant, (await tenant.send_event())["id"]))["endpoints"]
    assert fate["filter"] == ["last"]


async def test_other_endpoint_changes_do_not_affect_the_filter(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(filter=["invoice.paid"])
    event = await tenant.send_event()
    await tenant.client.patch(f"/v1/endpoints/{endpoint['id']}", json={"description": "Invoices"})
    (fate,) = (await trace(tenant, event["id"]))["endpoints"]
    assert fate["sentence"].startswith("Its filter includes invoice.paid,")


async def test_endpoints_created_later_are_counted(tenant: TenantClient):
    event = await tenant.send_event()
    for _ in range(2):
        await tenant.create_endpoint()
    result = await trace(tenant, event["id"])
    assert (result["endpoints"], result["made_later"]) == ([], 2)
    assert result["standing"] == (
        "It was owed to no endpoint: none existed when it arrived. 2 endpoints were created after it."
    )


async def test_timeline_omits_endpoints_deleted_before_the_event_only(tenant: TenantClient):
    gone, going = await tenant.create_endpoint(), await tenant.create_endpoint(filter=["a"])
    await tenant.client.delete(f"/v1/endpoints/{gone['id']}")
    event = await tenant.send_event()
    await tenant.client.delete(f"/v1/endpoints/{going['id']}")
    (fate,) = (await trace(tenant, event["id"]))["endpoints"]
    assert fate["endpoint_id"] == going["id"]
    assert fate["sentence"] == "Its filter includes a, but not order.created. It has been deleted since."


async def test_a_test_event_is_shown_as_a_test(tenant: TenantClient):
    tested, other = await tenant.create_endpoint(filter=["a"]), await tenant.create_endpoint()
    sent = (await tenant.client.post(f"/v1/endpoints/{tested['id']}/test")).json()
    result = await trace(tenant, sent["id"])
    assert [(fate["endpoint_id"], fate["verdict"]) for fate in result["endpoints"]] == [
        (tested["id"], "named"),
        (other["id"], "not_named"),
    ]
    assert result["standing"].startswith("It is a test event, sent directly to one endpoint")
    (delivery,) = await tenant.list_deliveries(event=sent["id"])
    matched = (await trace(tenant, delivery["id"]))["steps"][1]
    assert matched["sentence"].endswith(", to which it was sent directly.")


async def test_operational_endpoints_are_shown_only_for_system_events(
    tenant: TenantClient, sql: psycopg.Connection
):
    plain, operational = await tenant.create_endpoint(), await tenant.create_endpoint()
    event = await tenant.send_event()
    sql.execute(
        "update endpoints set operational = true where id = %s",
        [parse_id(Prefix.ENDPOINT, operational["id"])],
    )
    sql.execute(
        "delete from deliveries where event_id = %s and endpoint_id = %s",
        [parse_id(Prefix.EVENT, event["id"]), parse_id(Prefix.ENDPOINT, plain["id"])],
    )
    result = await trace(tenant, event["id"])
    assert [(fate["endpoint_id"], fate["verdict"]) for fate in result["endpoints"]] == [
        (operational["id"], "matched"),
        (plain["id"], "operational"),
    ]
    sql.execute("delete from deliveries where event_id = %s", [parse_id(Prefix.EVENT, event["id"])])
    result = await trace(tenant, event["id"])
    assert [fate["endpoint_id"] for fate in result["endpoints"]] == [plain["id"]]


async def test_timeline_explains_an_endpoint_created_concurrently(
    tenant: TenantClient, sql: psycopg.Connection
):
    event = await tenant.send_event()
    endpoint = await tenant.create_endpoint()
    sql.execute(
        "update endpoints set created_at = %s where id = %s",
        [datetime.fromisoformat(event["created_at"]), parse_id(Prefix.ENDPOINT, endpoint["id"])],
    )
    (fate,) = (await trace(tenant, event["id"]))["endpoints"]
    assert fate["verdict"] == "just_changed"


async def test_timeline_lists_matched_endpoints_first(tenant: TenantClient, sql: psycopg.Connection):
    first = await tenant.create_endpoint(filter=["a"])
    sql.execute(
        """
        insert into endpoints (id, tenant_id, url, description, filter, state, state_changed_at, header_names,
                               signature, created_at, updated_at)
        select gen_random_uuid(), tenant_id, url, description, filter, state, state_changed_at, header_names,
               signature, created_at, updated_at
        from endpoints, generate_series(1, 1005) where id = %s
        """,
        [parse_id(Prefix.ENDPOINT, first["id"])],
    )
    requested = await tenant.create_endpoint()
    event = await tenant.send_event()
    result = await trace(tenant, event["id"])
    assert len(result["endpoints"]) == 1_000
    assert result["endpoints"][0]["endpoint_id"] == requested["id"]
    assert result["left_out"] == ["Only 1,000 endpoints are shown, first those that it is owed to."]


# ------------------------------------------------------------------ what is not there
@pytest.mark.parametrize(("noun", "prefix"), [("deliveries", "dlv"), ("events", "evt")])
async def test_unknown_or_malformed_ids_are_not_found(tenant: TenantClient, noun: str, prefix: str):
    missing = await tenant.client.get(f"/v1/{noun}/{prefix}_{UNKNOWN}/trace")
    assert missing.status_code == 404
    assert f"{prefix}_{UNKNOWN}" in missing.json()["detail"]
    nonsense = await tenant.client.get(f"/v1/{noun}/ep_{UNKNOWN}/trace")
    assert nonsense.status_code in {400, 404, 422}
    assert f"is not an id of the form {prefix}_…" in nonsense.json()["detail"]


async def test_other_tenants_events_are_not_found(
    tenant: TenantClient, other_tenant: TenantClient, owed: dict[str, Any]
):
    for path in (f"/v1/deliveries/{owed['id']}/trace", f"/v1/events/{owed['event_id']}/trace"):
        assert (await other_tenant.client.get(path)).status_code == 404
        assert (await tenant.client.get(path)).status_code == 200
    await other_tenant.create_endpoint(filter=["a"])
    result = await trace(tenant, owed["event_id"])
    assert [fate["endpoint_id"] for fate in result["endpoints"]] == [owed["endpoint_id"]]
