"""Requests with another tenant's ids, in every place of the OpenAPI document that takes an id."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# By what an id begins with, which parameter of a path has it.
ID_PARAMETERS = {
    "ten": "tenant_id",
    "key": "key_id",
    "ep": "endpoint_id",
    "evt": "event_id",
    "dlv": "delivery_id",
    "att": "attempt_id",
    "rpl": "replay_id",
    "msg": "message_id",
}
# Bodies that would be carried out, where a path needs one and `{}` is none.
VALID_BODIES: Mapping[tuple[str, str], object] = {
    ("POST", "/v1/endpoints/{endpoint_id}/recover"): {"since": "2026-01-01T00:00:00Z"},
    ("POST", "/v1/endpoints/{endpoint_id}/filter/test"): {"event": {"type": "order.created", "data": 1}},
    ("PATCH", "/v1/endpoints/{endpoint_id}"): {"description": "mine now", "url": "https://evil.example/in"},
}
_MALFORMED_BODIES: tuple[object, ...] = ({}, {"no_such_field": 1}, [])
_REASON = "curiosity"
_BODIES_NAMING_IDS: tuple[object, ...] = tuple(
    body | {"reason": _REASON, "dry_run": dry_run}
    for dry_run in (True, False)
    for body in (
        {"selection": {"endpoint": ["{endpoint_id}"]}},
        {"selection": {"event": "{event_id}"}},
        {"missing": {"endpoint": "{endpoint_id}", "since": "2026-01-01T00:00:00Z"}},
    )
)
# Bodies that name ids, and the fields of the document's schemas that they go through.
BODIES_WITH_IDS: Mapping[tuple[str, str], tuple[object, ...]] = {
    ("POST", "/v1/replays"): _BODIES_NAMING_IDS,
    ("POST", "/v1/endpoints/{endpoint_id}/filter/test"): ({"event_id": "{event_id}"},),
    ("POST", "/v1/ingest/messages/{message_id}/retry"): ({"tenant_id": "{tenant_id}", "reason": _REASON},),
}
COVERED_FIELDS = {
    "SelectionIn.endpoint",
    "SelectionIn.event",
    "MissingIn.endpoint",
    "MessageRetryIn.tenant_id",
}
_ID = re.compile(r"\b(" + "|".join(ID_PARAMETERS) + r")_[0-9a-z]{26}\b")
_NAMES_AN_ID = re.compile(r"`(" + "|".join(ID_PARAMETERS) + r")_…`")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|\+00:00)")
_REQUEST_ID = re.compile(r"\b[0-9a-f]{32}\b")


@dataclass(frozen=True, slots=True)
class Probe:
    """One request; ids stand in it as `{endpoint_id}`. `documented`: the document knows the method there."""

    method: str
    path: str
    is_documented: bool = True
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    is_well_formed: bool = True

    def fill_ids(self, ids: Mapping[str, str]) -> Probe:
        """The same with these ids."""
        return Probe(
            self.method,
            _fill_placeholders(self.path, ids),
            self.is_documented,
            tuple((name, _fill_placeholders(value, ids)) for name, value in self.query),
            {name: _fill_placeholders(value, ids) for name, value in self.headers.items()},
            json.loads(_fill_placeholders(json.dumps(self.body), ids)),
            self.is_well_formed,
        )

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        """Try it; ids must be filled in."""
        sent = None if self.body is None else json.dumps(self.body)
        headers = {"Content-Type": "application/json", **self.headers}
        query = httpx.QueryParams(self.query)
        return await client.request(self.method, self.path, params=query, headers=headers, content=sent)


def iter_probes(document: Mapping[str, Any]) -> Iterator[Probe]:
    """Everything that the document offers, and every other method on its paths."""
    for path, operations in document["paths"].items():
        for method in METHODS:
            operation = operations.get(method.lower())
            if "_id}" in path:
                yield from _iter_path_probes(method, path, operation)
            if operation is not None:
                yield from _iter_parameter_probes(method, path, operation)
    for (method, path), bodies in BODIES_WITH_IDS.items():
        yield from (Probe(method, path, body=body) for body in bodies)


def _iter_path_probes(method: str, path: str, operation: Mapping[str, Any] | None) -> Iterator[Probe]:
    body = VALID_BODIES.get((method, path))
    yield Probe(method, path, operation is not None, body=body)
    if operation is not None and "requestBody" in operation:
        yield from (Probe(method, path, body=odd, is_well_formed=False) for odd in _MALFORMED_BODIES)


def _iter_parameter_probes(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[Probe]:
    for parameter in operation.get("parameters", ()):
        named = _NAMES_AN_ID.search(parameter.get("description", ""))
        if named is None or parameter["in"] == "path":
            continue
        value = f"{{{ID_PARAMETERS[named[1]]}}}"
        body = VALID_BODIES.get((method, path))
        if parameter["in"] == "header":
            yield Probe(method, path, headers={parameter["name"]: value}, body=body, is_well_formed=False)
        else:
            yield Probe(method, path, query=((parameter["name"], value),), is_well_formed=False)


def find_fields_with_ids(document: Mapping[str, Any]) -> set[str]:
    """The fields of requests' bodies that hold an id, as far as they say so."""
    asked = {name for name in document["components"]["schemas"] if name.endswith(("In", "Patch"))}
    return {
        f"{name}.{field_}"
        for name in asked
        for field_, schema in document["components"]["schemas"][name].get("properties", {}).items()
        if _NAMES_AN_ID.search(schema.get("description", ""))
    }


def normalize_answer(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], str]:
    """All that an answer tells but what is new in each: the request's id, ids, moments."""
    return (
        answer.status_code,
        [(name, _mask_variable_parts(value)) for name, value in answer.headers.multi_items()],
        _mask_variable_parts(answer.text),
    )


def _mask_variable_parts(text: str) -> str:
    return _REQUEST_ID.sub("(request)", _TIMESTAMP.sub("(moment)", _ID.sub(r"(\1)", text)))


def _fill_placeholders(text: str, ids: Mapping[str, str]) -> str:
    return re.sub(r"\{([a-z]+_id)\}", lambda found: ids[found[1]], text)
