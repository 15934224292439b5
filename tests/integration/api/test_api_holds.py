"""The hold of a delivery is shown wherever deliveries are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from delivery.domain.ids import Prefix, parse_id
from retries.health import Hold
from tests.integration.api.test_api_deliveries import claim, finish

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOLDS = {
    Hold.PAUSED: "update endpoints set state = 'paused', state_reason = 'moving house' where id = %s",
    Hold.DISABLED: "update endpoints set state = 'disabled', state_reason = 'gone' where id = %s",
    Hold.BREAKER_OPEN: """
        update endpoint_health set breaker = 'open', probe_at = '2100-01-01' where endpoint_id = %s
    """,
    Hold.RETRY_AFTER: "update endpoint_health set waits_until = '2100-01-01' where endpoint_id = %s",
    Hold.RATE_LIMIT: """
        with paced as (update endpoints set rate_limit = 1, rate_per_seconds = 60 where id = %s returning id)
        update endpoint_health set rate_next_at = now() + interval '30 s'
        from paced where endpoint_id = paced.id
    """,
    Hold.IN_FLIGHT_LIMIT: "update endpoint_health set in_flight = limit_now where endpoint_id = %s",
}
REASONS = {Hold.PAUSED: "moving house", Hold.DISABLED: "gone"}
ENDS = {Hold.BREAKER_OPEN, Hold.RETRY_AFTER, Hold.RATE_LIMIT}
BEGAN = {Hold.PAUSED, Hold.DISABLED, Hold.BREAKER_OPEN}


@dataclass(frozen=True, slots=True)
class Owed:
    """A due delivery with its own endpoint."""

    tenant: TenantClient
    id: str
    endpoint: dict[str, Any]
    sql: psycopg.Connection

    def hold(self, by: Hold) -> None:
        """Make its endpoint hold deliveries."""
        self.sql.execute(HOLDS[by].encode(), [parse_id(Prefix.ENDPOINT, self.endpoint["id"])])

    async def held(self) -> Any:
        """Its hold, which must be the same when read and when listed."""
        read = (await self.tenant.client.get(f"/v1/deliveries/{self.id}")).json()
        traced = (await self.tenant.client.get(f"/v1/deliveries/{self.id}/trace")).json()["delivery"]
        (listed,) = await self.tenant.list_deliveries()
        assert read["held"] == listed["held"] == traced["held"]
        return read["held"]


@pytest_asyncio.fixture(loop_scope="session")
async def owed(tenant: TenantClient, sql: psycopg.Connection) -> Owed:
    endpoint = await tenant.create_endpoint()
    await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    return Owed(tenant, delivery["id"], endpoint, sql)


async def test_a_sendable_delivery_is_not_held(owed: Owed):
    assert await owed.held() is None


@pytest.mark.parametrize("by", Hold)
async def test_a_due_delivery_shows_its_hold(owed: Owed, by: Hold):
    owed.hold(by)
    held = await owed.held()
    assert held["by"] == by
    assert held["reason"] == REASONS.get(by)
    assert (held["until"] is not None) == (by in ENDS)
    assert (held["since"] is not None) == (by in BEGAN)


async def test_a_delivery_before_its_due_time_is_not_held(owed: Owed):
    owed.hold(Hold.PAUSED)
    owed.sql.execute(
        "update schedule set due_at = now() + interval '1 hour' where delivery_id = %s",
        [parse_id(Prefix.DELIVERY, owed.id)],
    )
    assert await owed.held() is None


async def test_in_flight_and_final_deliveries_are_not_held(owed: Owed):
    owed.hold(Hold.PAUSED)
    claim(owed.sql, owed.id)
    assert await owed.held() is None
    finish(owed.sql, owed.id)
    assert await owed.held() is None


async def test_a_deleted_endpoint_holds_nothing(owed: Owed):
    owed.hold(Hold.PAUSED)
    await owed.tenant.client.delete(f"/v1/endpoints/{owed.endpoint['id']}")
    assert await owed.held() is None


async def test_a_hold_by_a_user_has_their_reason(owed: Owed):
    before = datetime.now(UTC)
    path = f"/v1/endpoints/{owed.endpoint['id']}/pause"
    assert (await owed.tenant.client.post(path, json={"reason": "moving house"})).status_code == 200
    held = await owed.held()
    assert held["reason"] == "moving house"
    assert datetime.fromisoformat(held["since"]) >= before.replace(microsecond=0)


async def test_a_list_loads_all_endpoints_in_one_query(tenant: TenantClient, owed: Owed):
    others = [await tenant.create_endpoint() for _ in range(3)]
    await tenant.send_event()
    held_by = {owed.endpoint["id"]: Hold.PAUSED, others[0]["id"]: Hold.RETRY_AFTER}
    for endpoint, by in held_by.items():
        owed.sql.execute(HOLDS[by].encode(), [parse_id(Prefix.ENDPOINT, endpoint)])
    listed = await tenant.list_deliveries()
    assert len(listed) == 5
    for delivery in listed:
        held = delivery["held"]
        assert (None if held is None else held["by"]) == held_by.get(delivery["endpoint_id"])
