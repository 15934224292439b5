"""What somebody may try with another tenant's ids: every place of the OpenAPI document that takes an id."""

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
NOUNS = {
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
BODIES: Mapping[tuple[str, str], object] = {
    ("POST", "/v1/endpoints/{endpoint_id}/recover"): {"since": "2026-01-01T00:00:00Z"},
    ("POST", "/v1/endpoints/{endpoint_id}/filter/test"): {"event": {"type": "order.created", "data": 1}},
    ("PATCH", "/v1/endpoints/{endpoint_id}"): {"description": "mine now", "url": "https://evil.example/in"},
}
_ODD: tuple[object, ...] = ({}, {"no_such_field": 1}, [])
_WHY = "curiosity"
_NAMING: tuple[object, ...] = tuple(
    body | {"reason": _WHY, "dry_run": dry_run}
    for dry_run in (True, False)
    for body in (
        {"selection": {"endpoint": ["{endpoint_id}"]}},
        {"selection": {"event": "{event_id}"}},
        {"missing": {"endpoint": "{endpoint_id}", "since": "2026-01-01T00:00:00Z"}},
    )
)
# Bodies that name ids, and the fields of the document's schemas that they go through.
NAMED_IN_BODIES: Mapping[tuple[str, str], tuple[object, ...]] = {
    ("POST", "/v1/replays"): _NAMING,
    ("POST", "/v1/endpoints/{endpoint_id}/filter/test"): ({"event_id": "{event_id}"},),
    ("POST", "/v1/ingest/messages/{message_id}/retry"): ({"tenant_id": "{tenant_id}", "reason": _WHY},),
}
COVERED_FIELDS = {
    "SelectionIn.endpoint",
    "SelectionIn.event",
    "MissingIn.endpoint",
    "MessageRetryIn.tenant_id",
}
_ID = re.compile(r"\b(" + "|".join(NOUNS) + r")_[0-9a-z]{26}\b")
_NAMES_AN_ID = re.compile(r"`(" + "|".join(NOUNS) + r")_…`")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|\+00:00)")
_REQUEST = re.compile(r"\b[0-9a-f]{32}\b")


@dataclass(frozen=True, slots=True)
class Try:
    """One request; ids stand in it as `{endpoint_id}`. `documented`: the document knows the method there."""

    method: str
    path: str
    documented: bool = True
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    well_formed: bool = True

    def filled(self, ids: Mapping[str, str]) -> Try:
        """The same with these ids."""
        return Try(
            self.method,
            _fill(self.path, ids),
            self.documented,
            tuple((name, _fill(value, ids)) for name, value in self.query),
            {name: _fill(value, ids) for name, value in self.headers.items()},
            json.loads(_fill(json.dumps(self.body), ids)),
            self.well_formed,
        )

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        """Try it; ids must be filled in."""
        sent = None if self.body is None else json.dumps(self.body)
        headers = {"Content-Type": "application/json", **self.headers}
        query = httpx.QueryParams(self.query)
        return await client.request(self.method, self.path, params=query, headers=headers, content=sent)


def tries(document: Mapping[str, Any]) -> Iterator[Try]:
    """Everything that the document offers, and every other method on its paths."""
    for path, operations in document["paths"].items():
        for method in METHODS:
            operation = operations.get(method.lower())
            if "_id}" in path:
                yield from _by_path(method, path, operation)
            if operation is not None:
                yield from _by_parameter(method, path, operation)
    for (method, path), bodies in NAMED_IN_BODIES.items():
        yield from (Try(method, path, body=body) for body in bodies)


def _by_path(method: str, path: str, operation: Mapping[str, Any] | None) -> Iterator[Try]:
    body = BODIES.get((method, path))
    yield Try(method, path, operation is not None, body=body)
    if operation is not None and "requestBody" in operation:
        yield from (Try(method, path, body=odd, well_formed=False) for odd in _ODD)


def _by_parameter(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[Try]:
    for parameter in operation.get("parameters", ()):
        named = _NAMES_AN_ID.search(parameter.get("description", ""))
        if named is None or parameter["in"] == "path":
            continue
        value = f"{{{NOUNS[named[1]]}}}"
        body = BODIES.get((method, path))
        if parameter["in"] == "header":
            yield Try(method, path, headers={parameter["name"]: value}, body=body, well_formed=False)
        else:
            yield Try(method, path, query=((parameter["name"], value),), well_formed=False)


def fields_with_ids(document: Mapping[str, Any]) -> set[str]:
    """The fields of requests' bodies that hold an id, as far as they say so."""
    asked = {name for name in document["components"]["schemas"] if name.endswith(("In", "Patch"))}
    return {
        f"{name}.{field_}"
        for name in asked
        for field_, schema in document["components"]["schemas"][name].get("properties", {}).items()
        if _NAMES_AN_ID.search(schema.get("description", ""))
    }


def seen(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], str]:
    """All that an answer tells but what is new in each: the request's id, ids, moments."""
    return (
        answer.status_code,
        [(name, _plain(value)) for name, value in answer.headers.multi_items()],
        _plain(answer.text),
    )


def _plain(text: str) -> str:
    return _REQUEST.sub("(request)", _MOMENT.sub("(moment)", _ID.sub(r"(\1)", text)))


def _fill(text: str, ids: Mapping[str, str]) -> str:
    return re.sub(r"\{([a-z]+_id)\}", lambda found: ids[found[1]], text)
