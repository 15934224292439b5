"""An endpoint's own limits: set, changed, reset, refused, and announced to the relay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.test_api_endpoint_states import journal, uuid_of
from tests.support import postgres

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "https://shop.example/in"
NONE_OF_ITS_OWN: dict[str, object] = {
    "in_flight_max": None,
    "rate_limit": None,
    "breaker": None,
    "disable_after_hours": None,
    "permanent_statuses": [],
}
OWN = {
    "in_flight_max": 20,
    "rate_limit": {"limit": 100, "per_seconds": 60},
    "breaker": {
        "consecutive_failures": 5,
        "failure_ratio": 0.25,
        "minimum_requests": 10,
        "window_seconds": 30.5,
        "cool_down_seconds": 5,
        "longest_cool_down_seconds": 120,
    },
    "disable_after_hours": 36,
    "permanent_statuses": [404, 422],
}


def limits_in(expected: dict[str, Any]) -> dict[str, Any]:
    return {name: expected[name] for name in NONE_OF_ITS_OWN}


async def change(tenant: TenantClient, endpoint: dict[str, Any], **changes: object) -> dict[str, Any]:
    changed = await tenant.client.patch(f"/v1/endpoints/{endpoint['id']}", json=changes)
    assert changed.status_code == 200, changed.text
    return dict(changed.json())


async def test_an_endpoint_has_no_own_limits_by_default(tenant: TenantClient):
    result = await tenant.create_endpoint()
    assert limits_in(result) == NONE_OF_ITS_OWN
    assert result["operational"] is False


async def test_limits_are_returned_as_created(tenant: TenantClient):
    created = await tenant.create_endpoint(**OWN)
    assert limits_in(created) == OWN
    read = await tenant.client.get(f"/v1/endpoints/{created['id']}")
    assert limits_in(read.json()) == OWN
    assert '"per_seconds":60}' in read.text.replace(" ", "")


async def test_limits_can_be_added_and_removed_later(tenant: TenantClient):
    created = await tenant.create_endpoint(filter=["order.*"])
    assert limits_in(await change(tenant, created, **OWN)) == OWN
    assert limits_in(await change(tenant, created, description="more")) == OWN
    reset = await change(tenant, created, **NONE_OF_ITS_OWN)
    assert limits_in(reset) == NONE_OF_ITS_OWN
    assert reset["filter"] == ["order.*"]


async def test_limits_change_separately_and_breaker_settings_as_a_whole(tenant: TenantClient):
    created = await tenant.create_endpoint(**OWN)
    changed = await change(
        tenant, created, in_flight_max=3, breaker={"failure_ratio": 1, "window_seconds": None}
    )
    assert limits_in(changed) == OWN | {"in_flight_max": 3, "breaker": {"failure_ratio": 1}}


async def test_duplicate_statuses_are_stored_once(tenant: TenantClient):
    assert (await tenant.create_endpoint(permanent_statuses=[404, 401, 404]))["permanent_statuses"] == [
        404,
        401,
    ]


BAD = [
    ({"in_flight_max": 0}, "in_flight_max"),
    ({"in_flight_max": 1_001}, "in_flight_max"),
    ({"in_flight_max": -1}, "in_flight_max"),
    ({"in_flight_max": 10**30}, "in_flight_max"),
    ({"in_flight_max": 1.5}, "in_flight_max"),
    ({"in_flight_max": "10"}, "in_flight_max"),
    ({"in_flight_max": True}, "in_flight_max"),
    ({"rate_limit": 10}, "rate_limit"),
    ({"rate_limit": []}, "rate_limit"),
    ({"rate_limit": {}}, "rate_limit.limit"),
    ({"rate_limit": {"limit": 10}}, "rate_limit.per_seconds"),
    ({"rate_limit": {"limit": 10, "per_seconds": None}}, "rate_limit.per_seconds"),
    ({"rate_limit": {"limit": 0, "per_seconds": 1}}, "rate_limit.limit"),
    ({"rate_limit": {"limit": 100_001, "per_seconds": 1}}, "rate_limit.limit"),
    ({"rate_limit": {"limit": 1.5, "per_seconds": 1}}, "rate_limit.limit"),
    ({"rate_limit": {"limit": 1, "per_seconds": 0}}, "rate_limit.per_seconds"),
    ({"rate_limit": {"limit": 1, "per_seconds": 1e-9}}, "rate_limit.per_seconds"),
    ({"rate_limit": {"limit": 1, "per_seconds": 86_400.5}}, "rate_limit.per_seconds"),
    ({"rate_limit": {"limit": 1, "per_seconds": 10**400}}, "rate_limit.per_seconds"),
    ({"rate_limit": {"limit": 1, "per_seconds": 1, "burst": 5}}, "rate_limit.burst"),
    ({"breaker": 5}, "breaker"),
    ({"breaker": {"trips": 5}}, "breaker.trips"),
    ({"breaker": {"consecutive": 5}}, "breaker.consecutive"),
    ({"breaker": {"consecutive_failures": 0}}, "breaker.consecutive_failures"),
    ({"breaker": {"consecutive_failures": 100_001}}, "breaker.consecutive_failures"),
    ({"breaker": {"consecutive_failures": 2.5}}, "breaker.consecutive_failures"),
    ({"breaker": {"failure_ratio": 0}}, "breaker.failure_ratio"),
    ({"breaker": {"failure_ratio": 1.01}}, "breaker.failure_ratio"),
    ({"breaker": {"failure_ratio": "half"}}, "breaker.failure_ratio"),
    ({"breaker": {"minimum_requests": 0}}, "breaker.minimum_requests"),
    ({"breaker": {"window_seconds": 0}}, "breaker.window_seconds"),
    ({"breaker": {"window_seconds": 3_601}}, "breaker.window_seconds"),
    ({"breaker": {"window_seconds": 1e-9}}, "breaker.window_seconds"),
    ({"breaker": {"cool_down_seconds": -1}}, "breaker.cool_down_seconds"),
    ({"breaker": {"cool_down_seconds": 601}}, "breaker.cool_down_seconds"),
    ({"breaker": {"longest_cool_down_seconds": 29}}, "breaker.longest_cool_down_seconds"),
    ({"breaker": {"longest_cool_down_seconds": 3_601}}, "breaker.longest_cool_down_seconds"),
    ({"disable_after_hours": 0}, "disable_after_hours"),
    ({"disable_after_hours": -1}, "disable_after_hours"),
    ({"disable_after_hours": 8_761}, "disable_after_hours"),
    ({"disable_after_hours": "48"}, "disable_after_hours"),
    ({"permanent_statuses": None}, "permanent_statuses"),
    ({"permanent_statuses": 404}, "permanent_statuses"),
    ({"permanent_statuses": ["404"]}, "permanent_statuses.0"),
    ({"permanent_statuses": [404, 399]}, "permanent_statuses.1"),
    ({"permanent_statuses": [500]}, "permanent_statuses.0"),
    ({"permanent_statuses": [404.5]}, "permanent_statuses.0"),
    ({"permanent_statuses": [10**30]}, "permanent_statuses.0"),
    *(({"permanent_statuses": [never]}, "permanent_statuses.0") for never in (408, 410, 413, 425, 429)),
    ({"permanent_statuses": [404] * 101}, "permanent_statuses"),
]


@pytest.mark.parametrize(("limit", "field"), BAD, ids=range(len(BAD)))
async def test_a_bad_limit_is_named_and_nothing_is_stored(
    tenant: TenantClient, limit: dict[str, object], field: str
):
    for refused in (
        await tenant.post("/v1/endpoints", {"url": URL, **limit}),
        await tenant.post("/v1/endpoints", {"url": URL, **OWN, **limit}),
    ):
        assert refused.status_code == 422, refused.text
        (error, *_) = refused.json()["errors"]
        assert error["field"] == field
        assert error["why"]
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []


@pytest.mark.parametrize(("limit", "field"), BAD, ids=range(len(BAD)))
async def test_a_bad_limit_changes_nothing(tenant: TenantClient, limit: dict[str, object], field: str):
    created = await tenant.create_endpoint(**OWN)
    path = f"/v1/endpoints/{created['id']}"
    before = (await tenant.client.get(path)).json()
    refused = await tenant.client.patch(path, json={"description": "changed", **limit})
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert (await tenant.client.get(path)).json() == before


@pytest.mark.parametrize("operational", [None, 1, "yes"])
async def test_operational_is_set_at_creation(tenant: TenantClient, operational: object):
    refused = await tenant.post("/v1/endpoints", {"url": URL, "operational": operational})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "operational"


async def test_operational_cannot_be_changed(tenant: TenantClient):
    created = await tenant.create_endpoint(operational=True)
    refused = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json={"operational": False})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "operational"


async def test_a_new_endpoint_starts_within_its_own_limit(tenant: TenantClient):
    created = await tenant.create_endpoint(in_flight_max=4)
    body = (await tenant.client.get(f"/v1/endpoints/{created['id']}/health")).json()
    assert body["in_flight"] == {"now": 0, "limit": 4, "ramping": False, "most": 4}


async def test_a_lowered_limit_applies_at_once(tenant: TenantClient):
    created = await tenant.create_endpoint()
    await change(tenant, created, in_flight_max=2)
    body = (await tenant.client.get(f"/v1/endpoints/{created['id']}/health")).json()
    assert (body["in_flight"]["limit"], body["in_flight"]["most"]) == (2, 2)


@pytest.mark.parametrize("rate", [None, {"limit": 10, "per_seconds": 1}])
async def test_changing_the_rate_limit_clears_the_old_wait(
    tenant: TenantClient, sql: psycopg.Connection, rate: dict[str, int] | None
):
    created = await tenant.create_endpoint(rate_limit={"limit": 1, "per_seconds": 86_400})
    await tenant.send_event()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    sql.execute(
        "update endpoint_health set rate_next_at = %s where endpoint_id = %s", [tomorrow, uuid_of(created)]
    )
    path = f"/v1/endpoints/{created['id']}/health"
    held = (await tenant.client.get(path)).json()
    assert (held["hold"], held["held"]) == ("rate_limit", 1)
    await change(tenant, created, in_flight_max=5)
    assert (await tenant.client.get(path)).json()["hold"] == "rate_limit"
    await change(tenant, created, rate_limit=rate)
    body = (await tenant.client.get(path)).json()
    assert (body["hold"], body["hold_until"], body["held"], body["waiting"]) == (None, None, 0, 1)
    stored = sql.execute(
        "select rate_next_at from endpoint_health where endpoint_id = %s", [uuid_of(created)]
    )
    assert stored.fetchone() == (None,)


async def test_new_limits_notify_the_relay(tenant: TenantClient, api_database_url: str):
    created = await tenant.create_endpoint()
    with postgres.connect(api_database_url) as listener:
        listener.execute("listen waybill_due")
        await change(tenant, created, in_flight_max=5)
        assert next(listener.notifies(timeout=10, stop_after=1)).channel == "waybill_due"


async def test_the_journal_names_the_changed_limits(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint(in_flight_max=5)
    await change(
        tenant, created, in_flight_max=5, rate_limit=OWN["rate_limit"], breaker={"failure_ratio": 0.1}
    )
    (_, (what, _, _, details)) = journal(sql, created)
    assert (what, details) == ("endpoint.changed", {"fields": ["breaker", "rate_limit"]})


async def test_the_openapi_document_has_every_limit(tenant: TenantClient):
    document = (await tenant.client.get("/openapi.json")).json()
    requested = document["components"]["schemas"]["EndpointIn"]["properties"]
    assert set(NONE_OF_ITS_OWN) | {"operational"} <= requested.keys()
    assert "endpoint.breaker_opened" in requested["operational"]["description"]
