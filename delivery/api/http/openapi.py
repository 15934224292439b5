"""The OpenAPI document: FastAPI's, with every refusal documented as the problem that it is."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from delivery.api.http.problems import MEDIA_TYPE

_PROBLEM_EXAMPLE = {
    "type": "/problems/invalid",
    "title": "The request is not valid",
    "status": 422,
    "detail": "url: The URL must begin with https://.",
    "instance": "/requests/019ab3c45d6e7f809a1b2c3d4e5f6071",
    "request_id": "019ab3c45d6e7f809a1b2c3d4e5f6071",
    "errors": [{"field": "url", "why": "The URL must begin with https://."}],
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 says it.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {
            "type": "string",
            "description": "Also in X-Request-Id; name it when you ask for help.",
        },
        "errors": {
            "type": "array",
            "description": "The fields at fault.",
            "items": {
                "type": "object",
                "required": ["field", "why"],
                "properties": {"field": {"type": "string"}, "why": {"type": "string"}},
            },
        },
    },
    "examples": [_PROBLEM_EXAMPLE],
}
_REQUEST_ID = {
    "description": "The request's id; name it when you ask for help.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
# To a key with a limit.
_RATE_LIMIT_HEADERS = {
    "RateLimit-Limit": {
        "description": "Requests in a second that the key may make.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Remaining": {
        "description": "How many it may make at once now.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "Seconds until it may make as many as ever.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_RETRY_AFTER = {
    "description": "Seconds to wait, with 429 and 503.",
    "schema": {"type": "integer", "minimum": 0},
}
_PROBLEM_RESPONSE = {
    "description": "A problem (RFC 9457).",
    "headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_HEADERS = {"X-Request-Id": _REQUEST_ID, "Retry-After": _RETRY_AFTER, **_RATE_LIMIT_HEADERS}
DESCRIPTION = """\
Events in, signed webhooks out, and a ledger that says what became of each.

Every request carries a key: `Authorization: Bearer …`. Each operation names under `security` the scopes that
a key needs for it; the operator's key has all. Every refusal is a problem (RFC 9457) that names the
fields at fault. Lists are newest first; pass `next` as `cursor` to go on.
"""


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """Write the OpenAPI document of this application, once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = schema["components"]["schemas"]
        schemas["Problem"] = _PROBLEM_SCHEMA
        schema["components"]["headers"] = _HEADERS
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = dict(_PROBLEM_RESPONSE)
                names = ["X-Request-Id", *(_RATE_LIMIT_HEADERS if "security" in operation else ())]
                for response in operation["responses"].values():
                    told = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
                    response["headers"] = {**response.get("headers", {}), **told}
        app.openapi_schema = schema
    return app.openapi_schema
