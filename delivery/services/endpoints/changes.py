"""What a change has made different, as the journal keeps it: names, and never a secret value. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delivery.services.endpoints.limits import serialize_limits

if TYPE_CHECKING:
    from delivery.domain.endpoint import Endpoint


def list_changed_fields(before: Endpoint, after: Endpoint) -> list[str]:
    """The names, as the doors have them, of what is different, in the order of the alphabet."""
    was, is_ = _collect_settings(before), _collect_settings(after)
    return sorted(name for name in was if was[name] != is_[name])


def describe_change(before: Endpoint, after: Endpoint) -> dict[str, Any]:
    """What the journal tells of a change. What decides what was sent is told whole."""
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
