"""Rotation: the new secret signs at once, the older ones until their overlap ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_a_rotated_secret_signs_during_the_overlap(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}/secrets"
    rotated = await tenant.client.post(f"{path}/rotate")
    assert rotated.status_code == 201
    assert rotated.json()["secret"].startswith("whsec_")
    assert rotated.json()["secret"] != created["secret"]
    newest, older = (await tenant.client.get(path)).json()["items"]
    assert newest["key_id"] == rotated.json()["key_id"]
    assert newest["not_after"] is None
    left = datetime.fromisoformat(older["not_after"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


async def test_an_overlap_of_zero_ends_the_older_secrets_at_once(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}/secrets"
    await tenant.client.post(f"{path}/rotate", json={"overlap_hours": 1})
    rotated = await tenant.client.post(f"{path}/rotate", json={"overlap_hours": 0})
    live = (await tenant.client.get(path)).json()["items"]
    assert [item["key_id"] for item in live] == [rotated.json()["key_id"]]


async def test_a_longer_overlap_does_not_prolong_expiring_secrets(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}/secrets"
    await tenant.client.post(f"{path}/rotate", json={"overlap_hours": 1})
    await tenant.client.post(f"{path}/rotate", json={"overlap_hours": 100})
    _, second, first = (await tenant.client.get(path)).json()["items"]
    assert first["not_after"] < second["not_after"]


async def test_a_provided_secret_becomes_the_newest(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}/secrets/rotate"
    rotated = await tenant.client.post(path, json={"secret": OWN})
    assert rotated.json()["secret"] == OWN
    twice = await tenant.client.post(path, json={"secret": OWN})
    assert twice.status_code == 422
    assert twice.json()["errors"][0]["field"] == "secret"


async def test_no_more_than_five_secrets_are_live(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}/secrets"
    for _ in range(4):
        assert (await tenant.client.post(f"{path}/rotate")).status_code == 201
    refused = await tenant.client.post(f"{path}/rotate")
    assert refused.status_code == 409
    assert "overlap_hours" in refused.json()["detail"]
    assert len((await tenant.client.get(path)).json()["items"]) == 5
    assert (await tenant.client.post(f"{path}/rotate", json={"overlap_hours": 0})).status_code == 201
    assert len((await tenant.client.get(path)).json()["items"]) == 1


async def test_a_refused_rotation_changes_nothing(tenant: TenantClient):
    created = await tenant.create_endpoint(secret=OWN)
    path = f"/v1/endpoints/{created['id']}/secrets"
    refused = await tenant.client.post(f"{path}/rotate", json={"secret": OWN, "overlap_hours": 1})
    assert refused.status_code == 422
    (live,) = (await tenant.client.get(path)).json()["items"]
    assert live["not_after"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"overlap_hours": -1}, "overlap_hours"),
        ({"overlap_hours": 721}, "overlap_hours"),
        ({"overlap_hours": 1e400}, "body"),
        ({"overlap_hours": "1"}, "overlap_hours"),
        ({"overlap_hours": True}, "overlap_hours"),
        ({"secret": "whsec_short"}, "secret"),
        ({"secret": "whsec_\0"}, "secret"),
        ({"secret": "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "secret"),
        ({"secret": "x" * 100_000}, "secret"),
        ({"hours": 1}, "hours"),
    ],
)
async def test_a_bad_rotation_is_refused(tenant: TenantClient, body: dict[str, object], field: str):
    created = await tenant.create_endpoint()
    refused = await tenant.post(f"/v1/endpoints/{created['id']}/secrets/rotate", body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field
    assert "MfKQ9r8" not in refused.text
