"""The journal's details of a change of an endpoint: names of fields, never secret values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delivery.services.endpoints.limits import serialize_limits

if TYPE_CHECKING:
    from delivery.domain.endpoint import Endpoint


def list_changed_fields(before: Endpoint, after: Endpoint) -> list[str]:
    """The API's names of the fields that differ, sorted."""
    old, new = _collect_settings(before), _collect_settings(after)
    return sorted(name for name in old if old[name] != new[name])


def describe_change(before: Endpoint, after: Endpoint) -> dict[str, Any]:
    """The journal's details of a change; fields that decide what is sent have both values."""
    details: dict[str, Any] = {"fields": list_changed_fields(before, after)}
    if before.filter != after.filter:
        details["filter"] = {"was": list(before.filter), "is": list(after.filter)}
    if before.channels != after.channels:
        details["channels"] = {"was": list(before.channels), "is": list(after.channels)}
    if before.condition != after.condition:
        details["condition"] = {"was": before.condition, "is": after.condition}
    for name in ("auth", "client_certificate", "format", "payload"):
        if name in details["fields"]:
            details[name] = {"was": getattr(before, name), "is": getattr(after, name)}
    return details


def _collect_settings(endpoint: Endpoint) -> dict[str, object]:
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": endpoint.filter,
        "channels": endpoint.channels,
        "condition": endpoint.condition,
        "headers": (endpoint.header_names, endpoint.sealed_headers),
        "auth": (endpoint.auth, endpoint.sealed_auth),
        "client_certificate": (endpoint.client_certificate, endpoint.sealed_identity),
        "format": endpoint.format,
        "payload": endpoint.payload,
        "schedule": endpoint.schedule,
        "timeout_seconds": endpoint.timeout,
        **serialize_limits(endpoint.limits),
    }
