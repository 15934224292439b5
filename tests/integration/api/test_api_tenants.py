"""Changes of tenants' names and retention periods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPERATORS = {"payload": None, "attempts": None, "deliveries": None, "events": None}


async def test_a_tenants_retention_changes_only_the_given_periods(
    operator: httpx.AsyncClient, tenant: TenantClient
) -> None:
    path = f"/v1/tenants/{tenant.id}"
    assert (await operator.get(path)).json()["retention"] == OPERATORS

    async def changed(**changes: Any) -> Any:
        answer = await operator.patch(path, json=changes)
        assert answer.status_code == 200, answer.text
        assert (await operator.get(path)).json() == answer.json()
        return answer.json()["retention"]

    assert await changed(retention={"payload": 7, "events": 30}) == OPERATORS | {"payload": 7, "events": 30}
    assert await changed(retention={"payload": None, "attempts": 1}) == OPERATORS | {
        "attempts": 1,
        "events": 30,
    }
    assert await changed(name="Acme Ltd") == OPERATORS | {"attempts": 1, "events": 30}
    assert await changed(retention=None) == OPERATORS
    assert (await operator.get(path)).json()["name"] == "Acme Ltd"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"retention": {"payload": 91}}, "retention.payload"),
        ({"retention": {"events": 0}}, "retention.events"),
        ({"retention": {"attempts": "7"}}, "retention.attempts"),
        ({"retention": {"journal": 7}}, "retention.journal"),
        ({"name": " "}, "name"),
        ({"id": "ten_"}, "id"),
    ],
)
async def test_invalid_periods_and_names_are_refused_by_name(
    operator: httpx.AsyncClient, tenant: TenantClient, changes: dict[str, object], named: str
) -> None:
    answer = await operator.patch(f"/v1/tenants/{tenant.id}", json=changes)
    assert answer.status_code == 422, answer.text
    assert named in answer.text


async def test_only_the_operator_can_change_retention(tenant: TenantClient) -> None:
    answer = await tenant.client.patch(f"/v1/tenants/{tenant.id}", json={"retention": None})
    assert answer.status_code == 403


async def test_a_retention_change_is_audited_with_the_previous_value(
    operator: httpx.AsyncClient, tenant: TenantClient
) -> None:
    path, why = f"/v1/tenants/{tenant.id}", {"reason": "their contract"}
    await operator.patch(path, json={"retention": {"payload": 7}}, params=why)
    await operator.patch(path, json={"retention": {"payload": 7}})  # no change, no audit entry
    await operator.patch(path, json={"name": "Acme Ltd", "retention": {"payload": 3}})
    body = (await tenant.client.get("/v1/audit")).json()["items"]
    retention = [item for item in body if item["what"] == "tenant.retention_changed"]
    assert [(item["details"]["before"], item["details"]["retention"]) for item in retention] == [
        ({"payload": 7}, {"payload": 3}),
        ({}, {"payload": 7}),
    ]
    assert [item["reason"] for item in retention] == [None, "their contract"]
    assert [item["details"]["name"] for item in body if item["what"] == "tenant.changed"] == ["Acme Ltd"]
