"""An endpoint's format and payload: chosen, shown, changed, told in the audit; nonsense is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from delivery.model import Prefix, parse_id
from tests.integration.api.test_api_bad_input import check_problem
from tests.integration.api.test_api_deliveries import attempt

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "https://shop.example/in"
FORMATS = ["standard", "cloudevents_structured", "cloudevents_binary"]


def chosen(endpoint: dict[str, Any]) -> tuple[str, str]:
    return endpoint["format"], endpoint["payload"]


async def test_an_endpoint_gets_everything_in_the_standard_format_unless_it_says_otherwise(
    tenant: Tenancy,
) -> None:
    assert chosen(await tenant.endpoint()) == ("standard", "full")


@pytest.mark.parametrize("payload", ["full", "thin"])
@pytest.mark.parametrize("wanted", FORMATS)
async def test_each_format_goes_with_each_payload(tenant: Tenancy, wanted: str, payload: str) -> None:
    made = await tenant.endpoint(format=wanted, payload=payload)
    read = await tenant.client.get(f"/v1/endpoints/{made['id']}")
    assert chosen(made) == chosen(read.json()) == (wanted, payload)


async def test_a_change_leaves_the_other_and_is_told_in_the_audit(tenant: Tenancy) -> None:
    path = f"/v1/endpoints/{(await tenant.endpoint(payload='thin'))['id']}"
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


async def test_the_same_again_is_no_change(tenant: Tenancy) -> None:
    made = await tenant.endpoint(format="cloudevents_binary")
    again = await tenant.client.patch(f"/v1/endpoints/{made['id']}", json={"format": "cloudevents_binary"})
    assert again.json()["updated_at"] == made["updated_at"]


@pytest.mark.parametrize(
    "value", ["", "CloudEvents", "cloudevents", "Standard", "thin", 1, None, ["standard"], {}]
)
@pytest.mark.parametrize("field", ["format", "payload"])
async def test_nonsense_is_refused_with_its_field(tenant: Tenancy, field: str, value: Any) -> None:
    if (field, value) == ("payload", "thin"):
        return
    made = await tenant.endpoint()
    check_problem(await tenant.post("/v1/endpoints", {"url": URL, field: value}), 422, field)
    refused = await tenant.client.patch(f"/v1/endpoints/{made['id']}", json={field: value})
    check_problem(refused, 422, field)


@pytest.mark.parametrize("name", ["ce-id", "Ce-Source", "CE_TYPE", "ce-anything"])
async def test_attributes_of_cloudevents_are_no_custom_headers(tenant: Tenancy, name: str) -> None:
    refused = await tenant.post("/v1/endpoints", {"url": URL, "headers": {name: "x"}})
    check_problem(refused, 422, f"headers.{name}")
    assert "attributes of CloudEvents" in refused.text


async def test_an_attempt_says_why_what_was_sent_is_not_shown(
    tenant: Tenancy, sql: psycopg.Connection
) -> None:
    await tenant.endpoint()
    await tenant.event()
    (owed,) = await tenant.deliveries()
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
