"""The catalogue of event types over the API: declared by the operator, readable and enforced for all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from delivery.domain.ids import Prefix, new_id, parse_id
from tests.integration.api.conftest import make_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import psycopg
    from fastapi import FastAPI

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

MONEY = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2}$"}
ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["order"],
    "properties": {
        "order": {"type": "integer"},
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"price": {"$ref": "#/$defs/money"}}},
        },
    },
    "additionalProperties": False,
    "$defs": {"money": MONEY},
}
EXAMPLE = {"order": 1042, "lines": [{"price": "19.90"}]}


@pytest.fixture
def name() -> str:
    """A type name unique to this test."""
    return f"order.created_{new_id().hex}"


def path(name: str) -> str:
    return f"/v1/event-types/{name}"


async def declare(operator: httpx.AsyncClient, name: str, **message: Any) -> dict[str, Any]:
    answer = await operator.put(path(name), json=message)
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json())


def faults(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [fault["field"] for fault in answer.json()["errors"]]


# ---- declared and read
async def test_a_declared_type_is_readable_with_every_key(
    operator: httpx.AsyncClient, tenant: TenantClient, name: str
) -> None:
    created = await operator.put(
        path(name), json={"description": "Ordered.", "schema": ORDER, "examples": [EXAMPLE]}
    )
    assert created.status_code == 201
    assert created.headers["location"] == path(name)
    read = (await tenant.client.get(path(name))).json()
    assert read == created.json() == (await operator.get(path(name))).json()
    assert (read["schema"], read["examples"], read["description"]) == (ORDER, [EXAMPLE], "Ordered.")
    assert (read["version"], read["validation"], read["deprecated"]) == (1, "off", None)
    listed = (await tenant.client.get("/v1/event-types")).json()
    assert listed["next"] is None
    (item,) = [each for each in listed["items"] if each["name"] == name]
    assert item["version"] == 1
    assert "schema" not in item
    names = [each["name"] for each in listed["items"]]
    assert names == sorted(names)


async def test_only_the_operator_can_write(tenant: TenantClient, name: str) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        body: Any = None if method == "DELETE" else {}
        refused = await tenant.client.request(method, path(name), json=body)
        assert refused.status_code == 403
        assert "`operate`" in refused.json()["detail"]
    assert (await tenant.client.get(path(name))).status_code == 404


async def test_a_changed_schema_or_example_creates_a_version(operator: httpx.AsyncClient, name: str) -> None:
    first = await declare(operator, name, schema=ORDER, examples=[EXAMPLE], validation="reject")
    same = await declare(operator, name, schema=ORDER, examples=[EXAMPLE], description="In words.")
    assert (same["version"], same["validation"]) == (1, "reject")
    second = await declare(operator, name, schema=ORDER, examples=[{"order": 1}])
    third = await declare(operator, name, schema=True, examples=[{"order": 1}])
    assert [second["version"], third["version"]] == [2, 3]
    assert [each["version"] for each in third["versions"]] == [3, 2, 1]
    old = (await operator.get(path(name), params={"version": 1})).json()
    assert (old["schema"], old["examples"], old["shown_version"]) == (ORDER, [EXAMPLE], 1)
    assert old["versions"][-1] == first["versions"][0]
    assert (await operator.get(path(name), params={"version": 4})).status_code == 404


async def test_declaring_the_same_type_changes_nothing(operator: httpx.AsyncClient, name: str) -> None:
    first = await declare(operator, name, schema=ORDER, examples=[EXAMPLE], description="In words.")
    repeated = await declare(operator, name, schema=ORDER, examples=[EXAMPLE], description="In words.")
    assert repeated == first
    noted = (await operator.get("/v1/audit", params={"what": "event_type.*", "limit": 5})).json()["items"]
    assert [item["what"] for item in noted if item["details"].get("name") == name] == ["event_type.created"]


async def test_stored_examples_are_exactly_as_written(operator: httpx.AsyncClient, name: str) -> None:
    odd: list[Any] = [{"b": 10**30, "a": 1.5, "ä": "\u2028"}, [], None, False, "x"]
    read = await operator.get(path((await declare(operator, name, examples=odd))["name"]))
    assert read.json()["examples"] == odd
    assert '{"b":1000000000000000000000000000000,"a":1.5' in read.text
    assert (await declare(operator, name, schema=False))["schema"] is False


async def test_a_deprecation_can_be_withdrawn(operator: httpx.AsyncClient, name: str) -> None:
    await declare(operator, name, schema=ORDER)
    until = "2031-06-30T00:00:00Z"
    deprecated = {"until": until, "replaced_by": "order.placed"}
    changed = (await operator.patch(path(name), json={"deprecated": deprecated})).json()
    assert changed["deprecated"]["replaced_by"] == "order.placed"
    assert changed["deprecated"]["until"].startswith("2031-06-30")
    assert changed["deprecated"]["since"] == changed["changed_at"]
    assert changed["version"] == 1
    assert (await declare(operator, name, schema=True))["deprecated"] == changed["deprecated"]
    repeated = (await operator.patch(path(name), json={"deprecated": None, "description": "Back."})).json()
    assert (repeated["deprecated"], repeated["description"]) == (None, "Back.")


async def test_an_archived_type_can_be_restored_with_its_versions(
    operator: httpx.AsyncClient, tenant: TenantClient, name: str
) -> None:
    await declare(operator, name, schema=ORDER, validation="reject")
    assert (await operator.delete(path(name))).status_code == 204
    assert (await operator.delete(path(name))).status_code == 404

    async def listed(**asked: Any) -> set[str]:
        items = (await tenant.client.get("/v1/event-types", params=asked)).json()["items"]
        return {each["name"] for each in items}

    assert name not in await listed()
    assert name in await listed(archived=True)
    assert (await tenant.client.get(path(name))).json()["archived_at"] is not None
    await tenant.send_event(name)  # which its schema would refuse
    back = await operator.put(path(name), json={"schema": True})
    assert back.status_code == 201
    assert (back.json()["version"], back.json()["archived_at"]) == (2, None)


async def test_changes_are_in_the_operators_audit_only(
    operator: httpx.AsyncClient, tenant: TenantClient, name: str
) -> None:
    await operator.put(path(name), json={"schema": ORDER}, params={"reason": "first"})
    await operator.patch(path(name), json={"validation": "reject"}, params={"reason": "second"})
    await operator.delete(path(name), params={"reason": "third"})
    entries = (await operator.get("/v1/audit", params={"what": "event_type.*", "limit": 3})).json()["items"]
    result = [(entry["what"], entry["reason"], entry["details"]["name"]) for entry in entries]
    assert result == [
        ("event_type.archived", "third", name),
        ("event_type.changed", "second", name),
        ("event_type.created", "first", name),
    ]
    assert name in entries[0]["sentence"]
    assert not (await tenant.client.get("/v1/audit", params={"what": "event_type.*"})).json()["items"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"schema": {"type": "objekt"}}, "schema.type"),
        ({"schema": {"properties": {"a": {"$ref": "https://evil.example/x"}}}}, "schema.properties.a.$ref"),
        ({"schema": {"$ref": "file:///etc/passwd"}}, "schema.$ref"),
        ({"schema": {"$id": "https://evil.example/x"}}, "schema.$id"),
        ({"schema": {"properties": {"next": {"$ref": "#"}}}}, "schema"),
        ({"schema": {"properties": {"a": {"pattern": r"(a)\1"}}}}, "schema.properties.a.pattern"),
        ({"schema": {"description": "x" * 70_000}}, "schema"),
        ({"schema": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "schema.$schema"),
        ({"schema": ORDER, "examples": [EXAMPLE, {"order": "1"}]}, "examples.1.order"),
        (
            {"schema": ORDER, "examples": [{"order": 1, "lines": [{"price": "x"}]}]},
            "examples.0.lines.0.price",
        ),
        ({"examples": ["x" * 70_000]}, "examples.0"),
        ({"examples": [1] * 11}, "examples"),
        ({"description": "x" * 2_001}, "description"),
        ({"validation": "reject"}, "validation"),
        ({"validation": "warn"}, "validation"),
        ({"schema": "string"}, "schema.dict[str,any]"),
        ({"owner": "me"}, "owner"),
    ],
)
async def test_an_invalid_declaration_is_refused_with_its_location(
    operator: httpx.AsyncClient, name: str, message: dict[str, Any], field: str
) -> None:
    assert faults(await operator.put(path(name), json=message))[0] == field
    assert (await operator.get(path(name))).status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"validation": "reject"}, "validation"),
        ({"deprecated": {"until": "2020-01-01T00:00:00Z"}}, "deprecated.until"),
        ({"deprecated": {"until": "tomorrow"}}, "deprecated.until"),
        ({"deprecated": {"replaced_by": "no such name!"}}, "deprecated.replaced_by"),
        ({"schema": {}}, "schema"),
    ],
)
async def test_an_invalid_change_is_refused_with_its_field(
    operator: httpx.AsyncClient, name: str, changes: dict[str, Any], field: str
) -> None:
    await declare(operator, name)
    assert faults(await operator.patch(path(name), json=changes)) == [field]
    assert (await operator.patch(path(f"{name}_"), json=changes | {})).status_code in {404, 422}


@pytest.mark.parametrize("engines", ["waybill.test", "endpoint.disabled", "delivery.failed"])
async def test_system_event_types_cannot_be_declared(operator: httpx.AsyncClient, engines: str) -> None:
    assert faults(await operator.put(path(engines), json={})) == ["name"]


async def test_an_invalid_name_is_not_found(operator: httpx.AsyncClient) -> None:
    assert (await operator.get(path("order..created"))).status_code == 404


# ---- held to
@pytest.fixture
async def held(operator: httpx.AsyncClient, name: str) -> AsyncIterator[str]:
    """A type whose events are validated against its schema."""
    await declare(operator, name, schema=ORDER, examples=[EXAMPLE], validation="reject")
    yield name
    await operator.delete(path(name))


async def test_schema_violation_is_refused_with_its_location(tenant: TenantClient, held: str) -> None:
    endpoint = await tenant.create_endpoint()
    wrong = {"type": held, "data": {"order": 1, "lines": [{"price": "1.00"}, {"price": "secret words"}]}}
    refused = await tenant.post("/v1/events", wrong)
    assert faults(refused) == ["data.lines.1.price"]
    assert refused.json()["type"] == "/problems/invalid"
    assert "secret words" not in refused.text
    assert faults(await tenant.post("/v1/events", {"type": held, "data": {}})) == ["data"]
    assert await tenant.list_deliveries(endpoint=endpoint["id"]) == []
    right = await tenant.post("/v1/events", {"type": held, "data": EXAMPLE})
    assert right.status_code == 202


async def test_one_invalid_event_refuses_the_batch(tenant: TenantClient, held: str) -> None:
    events = [
        {"type": held, "data": EXAMPLE},
        {"type": "something.else", "data": {}},
        {"type": held, "data": {"order": 1.5}},
    ]
    assert faults(await tenant.post("/v1/events/batch", {"events": events})) == ["events.2.data.order"]
    assert (await tenant.client.get("/v1/events")).json()["items"] == []
    assert (await tenant.post("/v1/events/batch", {"events": events[:2]})).status_code == 202


async def test_repeated_idempotency_key_is_accepted_after_schema_becomes_stricter(
    operator: httpx.AsyncClient, tenant: TenantClient, held: str
) -> None:
    async def post(key: str, data: object) -> httpx.Response:
        body = {"type": held, "data": data}
        return await tenant.client.post("/v1/events", json=body, headers={"Idempotency-Key": key})

    first = await post("order-1", EXAMPLE)
    await declare(operator, held, schema={"required": ["more"]}, validation="reject")
    repeated = await post("order-1", EXAMPLE)
    assert (repeated.status_code, repeated.content) == (first.status_code, first.content)
    assert (await post("order-1", EXAMPLE | {"order": 2})).status_code == 409
    assert (await post("order-2", EXAMPLE)).status_code == 422


async def test_a_change_applies_at_once_in_its_own_process(
    operator: httpx.AsyncClient, tenant: TenantClient, held: str
) -> None:
    wrong = {"type": held, "data": {"order": "1"}}
    assert (await tenant.post("/v1/events", wrong)).status_code == 422
    await operator.patch(path(held), json={"validation": "off"})
    assert (await tenant.post("/v1/events", wrong)).status_code == 202
    await operator.patch(path(held), json={"validation": "reject"})
    assert (await tenant.post("/v1/events", wrong)).status_code == 422
    await declare(operator, held, schema=True)
    assert (await tenant.post("/v1/events", wrong)).status_code == 202


async def test_schema_without_validation_refuses_nothing(
    operator: httpx.AsyncClient, tenant: TenantClient, name: str
) -> None:
    await declare(operator, name, schema=ORDER)
    assert (await tenant.post("/v1/events", {"type": name, "data": "anything"})).status_code == 202


# ---- tried out
async def test_a_test_event_uses_the_catalogues_example(
    tenant: TenantClient, held: str, sql: psycopg.Connection
) -> None:
    endpoint, _other = await tenant.create_endpoint(filter=["none.of.it"]), await tenant.create_endpoint()
    sent = await tenant.client.post(f"/v1/endpoints/{endpoint['id']}/test", json={"type": held})
    assert sent.status_code == 202, sent.text
    assert (sent.json()["type"], sent.json()["deliveries"]) == (held, 1)
    (delivery,) = await tenant.list_deliveries(event=sent.json()["id"])
    assert delivery["endpoint_id"] == endpoint["id"]
    event = parse_id(Prefix.EVENT, sent.json()["id"])
    row = sql.execute("select body from events where id = %s", [event]).fetchone()
    assert row is not None
    assert json.loads(row[0])["data"] == EXAMPLE


async def test_a_test_event_needs_an_example(
    operator: httpx.AsyncClient, tenant: TenantClient, name: str
) -> None:
    endpoint = await tenant.create_endpoint()
    test = f"/v1/endpoints/{endpoint['id']}/test"
    assert (await tenant.client.post(test, json={"type": name})).status_code == 404
    await declare(operator, name, schema=ORDER)
    answer = await tenant.client.post(test, json={"type": name})
    assert (answer.status_code, "no example" in answer.text) == (409, True)
    assert (await tenant.client.post(test)).json()["type"] == "waybill.test"


# ---- exported
async def test_the_catalogue_is_a_valid_openapi_document_with_our_headers(
    app: FastAPI, operator: httpx.AsyncClient, tenant: TenantClient, held: str
) -> None:
    await operator.patch(path(held), json={"deprecated": {"replaced_by": "order.placed"}})
    document = (await tenant.client.get("/v1/event-catalogue/openapi")).json()
    OpenAPIV31SpecValidator(document).validate()
    post = document["webhooks"][held]["post"]
    assert post["deprecated"] is True
    assert "order.placed" in post["description"]
    names = {
        document["components"]["parameters"][each["$ref"].rpartition("/")[2]]["name"]
        for each in post["parameters"]
    }
    assert names == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    content = post["requestBody"]["content"]["application/json"]
    assert content["examples"]["example-1"]["value"]["data"] == EXAMPLE
    assert content["schema"]["properties"]["data"] == {"$ref": f"#/components/schemas/{held}"}
    stored = document["components"]["schemas"][held]
    price = stored["properties"]["lines"]["items"]["properties"]["price"]
    assert price == {"$ref": f"#/components/schemas/{held}/$defs/money"}
    created = await operator.post(f"/v1/tenants/{tenant.id}/keys", json={"name": "x", "scopes": ["publish"]})
    async with make_client(app, created.json()["key"]) as publisher:
        assert (await publisher.get("/v1/event-catalogue/openapi")).status_code == 403
