"""The catalogue's documents are valid for OpenAPI's validator and AsyncAPI's schema."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from delivery.ledger.records.event_types import EventType, EventTypeVersion
from delivery.services.event_types.asyncapi import build_asyncapi
from delivery.services.event_types.openapi import build_openapi

if TYPE_CHECKING:
    from collections.abc import Callable

    Writer = Callable[..., dict[str, Any]]
    Judge = Callable[[dict[str, Any]], list[str]]

NOW = datetime(2026, 11, 26, tzinfo=UTC)
_SPECS = Path(__file__).parents[2] / "support" / "node" / "node_modules" / "@asyncapi" / "specs"
_ORDER = {
    "type": "object",
    "properties": {"total": {"$ref": "#/$defs/money"}},
    "$defs": {"money": {"type": "string"}},
}


def make_stored_type(
    name: str, *examples: Any, schema: Any = None, **more: Any
) -> tuple[EventType, EventTypeVersion]:
    item = EventType(name, f"About {name}.", "off", 1, NOW, NOW, **more)
    text = None if schema is None else json.dumps(schema)
    return item, EventTypeVersion(name, 1, text, json.dumps(examples), "ada", NOW)


TYPES = [
    make_stored_type("a.everything", 1, schema=True, deprecated_at=NOW),
    make_stored_type("a.nothing", schema=False),
    make_stored_type("a.undescribed", {"a": 10**30}),
    make_stored_type(
        "order.created",
        {"total": "19.90"},
        {},
        schema=_ORDER,
        deprecated_at=NOW,
        deprecated_until=NOW,
        replaced_by="x",
    ),
    make_stored_type(
        "order.newer",
        ["1"],
        schema={"prefixItems": [{"type": "string"}], "$ref": "#/$defs/a", "$defs": {"a": {}}},
    ),
]


def of_openapi(document: dict[str, Any]) -> list[str]:
    return [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()]


def of_asyncapi(document: dict[str, Any]) -> list[str]:
    schema = json.loads((_SPECS / "schemas" / "3.0.0.json").read_text())
    judge = jsonschema_rs.Draft7Validator(schema, offline=True)
    return [f"{list(error.instance_path)}: {error.message}" for error in judge.iter_errors(document)]


WRITERS = [
    pytest.param(build_openapi, of_openapi, id="openapi"),
    pytest.param(build_asyncapi, of_asyncapi, id="asyncapi"),
]


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """Convert to plain JSON values."""
    return dict(json.loads(json.dumps(document)))


@pytest.mark.parametrize(("write", "judged"), WRITERS)
def test_the_document_is_valid_for_any_catalogue(write: Writer, judged: Judge) -> None:
    assert judged(plain(write(TYPES, version=7))) == []
    assert judged(plain(write([], version=0))) == []


@pytest.mark.parametrize(("write", "judged"), WRITERS)
@pytest.mark.parametrize(
    "path", [("info",), ("components", "schemas", "order.created", "properties", "total", "$ref")]
)
def test_a_broken_document_is_invalid(write: Writer, judged: Judge, path: tuple[str, ...]) -> None:
    broken = plain(write(TYPES, version=7))
    *way, last = path
    within = broken
    for step in way:
        within = within[step]
    within[last] = 3
    assert judged(broken) != []


@pytest.mark.parametrize(("write", "_judged"), WRITERS)
def test_every_reference_resolves_within_the_document(write: Writer, _judged: Judge) -> None:
    document = plain(write(TYPES, version=7))
    found = list(references(document))
    assert len(found) > 10
    for ref in found:
        place: Any = document
        for step in ref.removeprefix("#/").split("/"):
            place = place[step]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for item in value.values() for ref in references(item)]
    return [ref for item in value for ref in references(item)] if isinstance(value, list) else []


def test_asyncapi_marks_schemas_of_a_newer_dialect() -> None:
    schemas = build_asyncapi(TYPES, version=7)["components"]["schemas"]
    assert schemas["order.newer"]["schemaFormat"] == "application/schema+json;version=2020-12"
    assert "schemaFormat" not in schemas["order.created"]


def test_both_documents_have_our_headers_and_deprecations() -> None:
    webhook = build_openapi(TYPES, version=7)["webhooks"]["order.created"]["post"]
    message = build_asyncapi(TYPES, version=7)["components"]["messages"]["order.created"]
    assert webhook["deprecated"] is message["payload"]["deprecated"] is True
    assert webhook["description"] == message["description"]
    assert "Use `x`" in webhook["description"]
    names = {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert {each["$ref"].rpartition("/")[2] for each in webhook["parameters"]} == names
    assert set(message["headers"]["required"]) == set(message["examples"][0]["headers"]) == names


def test_examples_are_complete_bodies_that_match_their_schemas() -> None:
    document = plain(build_openapi(TYPES, version=7))
    content = document["webhooks"]["order.created"]["post"]["requestBody"]["content"]["application/json"]
    # Like a reader of the document: the schema together with the components that it references.
    whole = {**copy.deepcopy(content["schema"]), "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, offline=True)
    bodies = [each["value"] for each in content["examples"].values()]
    assert [body["data"] for body in bodies] == [{"total": "19.90"}, {}]
    assert all(validator.is_valid(body) for body in bodies)
    assert not validator.is_valid(bodies[0] | {"data": {"total": 1}})
    assert not validator.is_valid(bodies[0] | {"type": "another"})
