"""An endpoint's format and payload: set, shown, changed, audited, and refused if invalid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.ids import Prefix, parse_id
from tests.integration.api.test_api_bad_input import check_problem
from tests.integration.api.test_api_deliveries import attempt

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "https://shop.example/in"
FORMATS = ["standard", "cloudevents_structured", "cloudevents_binary"]


def chosen(endpoint: dict[str, Any]) -> tuple[str, str]:
    return endpoint["format"], endpoint["payload"]


async def test_standard_format_is_the_default(
    tenant: TenantClient,
) -> None:
    assert chosen(await tenant.create_endpoint()) == ("standard", "full")


@pytest.mark.parametrize("payload", ["full", "thin"])
@pytest.mark.parametrize("wanted", FORMATS)
async def test_formats_and_payloads_combine_freely(tenant: TenantClient, wanted: str, payload: str) -> None:
    created = await tenant.create_endpoint(format=wanted, payload=payload)
    read = await tenant.client.get(f"/v1/endpoints/{created['id']}")
    assert chosen(created) == chosen(read.json()) == (wanted, payload)


async def test_changing_format_or_payload_keeps_the_other_and_is_audited(tenant: TenantClient) -> None:
    path = f"/v1/endpoints/{(await tenant.create_endpoint(payload='thin'))['id']}"
    changed = await tenant.client.patch(path, json={"format": "cloudevents_binary"})
    back = await tenant.client.patch(path, json={"format": "standard", "payload": "full"})
    assert [chosen(answer.json()) for answer in (changed, back)] == [
        ("cloudevents_binary", "thin"),
        ("standard", "full"),
    ]
    audit = (await tenant.client.get("/v1/audit")).json()["items"]
    details = [entry["details"] for entry in audit if entry["what"] == "endpoint.changed"]
    assert details[0]["format"] == {"was": "cloudevents_binary", "is": "standard"}
    assert details[0]["payload"] == {"was": "thin", "is": "full"}
    assert details[1] == {"fields": ["format"], "format": {"was": "standard", "is": "cloudevents_binary"}}


async def test_setting_the_same_format_changes_nothing(tenant: TenantClient) -> None:
    created = await tenant.create_endpoint(format="cloudevents_binary")
    repeated = await tenant.client.patch(
        f"/v1/endpoints/{created['id']}", json={"format": "cloudevents_binary"}
    )
    assert repeated.json()["updated_at"] == created["updated_at"]


@pytest.mark.parametrize(
    "value", ["", "CloudEvents", "cloudevents", "Standard", "thin", 1, None, ["standard"], {}]
)
@pytest.mark.parametrize("field", ["format", "payload"])
async def test_an_invalid_format_is_refused_with_its_field(
    tenant: TenantClient, field: str, value: Any
) -> None:
    if (field, value) == ("payload", "thin"):
        return
    created = await tenant.create_endpoint()
    check_problem(await tenant.post("/v1/endpoints", {"url": URL, field: value}), 422, field)
    refused = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json={field: value})
    check_problem(refused, 422, field)


@pytest.mark.parametrize("name", ["ce-id", "Ce-Source", "CE_TYPE", "ce-anything"])
async def test_cloudevents_attributes_cannot_be_custom_headers(tenant: TenantClient, name: str) -> None:
    refused = await tenant.post("/v1/endpoints", {"url": URL, "headers": {name: "x"}})
    check_problem(refused, 422, f"headers.{name}")
    assert "attributes of CloudEvents" in refused.text


async def test_an_attempt_says_why_its_body_is_not_shown(
    tenant: TenantClient, sql: psycopg.Connection
) -> None:
    await tenant.create_endpoint()
    await tenant.send_event()
    (owed,) = await tenant.list_deliveries()
    path = f"/v1/attempts/{attempt(sql, owed['id'])}"
    sent = (await tenant.client.get(path)).json()["request"]
    assert (sent["body"][:8], sent["body_missing"]) == ('{"type":', None)
    of_event = [b"\x01" * 32, parse_id(Prefix.EVENT, owed["event_id"])]
    sql.execute("update attempts set body_sha256 = %s where event_id = %s", of_event)
    unknown = (await tenant.client.get(path)).json()["request"]
    assert (unknown["body"], unknown["body_missing"]) == (None, "another_shape")
    assert unknown["body_sha256"] == "01" * 32
    event = f"/v1/events/{owed['event_id']}/content"
    assert (await tenant.client.delete(event, params={"cancel_pending": True})).status_code == 200
    gone = (await tenant.client.get(path)).json()["request"]
    assert (gone["body"], gone["body_missing"]) == (None, "not_kept")
