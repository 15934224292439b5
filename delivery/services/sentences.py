"""Sentences about reasons, holds and journal entries: for the timeline, audit, CLI and console. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, assert_never

from delivery.domain.accounts import ENGINE_ACTOR
from delivery.domain.durations import format_utc
from retries.health import Hold
from retries.policy import Reason, explain_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from delivery.domain.delivery import Delivery
    from delivery.ledger.records.journal import JournalEntry

_ENGINE_REASONS: Final = {
    "endpoint_deleted": "Its endpoint was deleted.",
    "expired": "It was not delivered within the maximum age of a delivery.",
    "payload_erased": "The content of its event was erased, so there is nothing to send.",
    "payload_gone": "The content of its event is no longer stored, so there is nothing to send.",
}
# Why the engine disables an endpoint.
_DISABLE_REASONS: Final = {
    "gone": "it answered 410 Gone",
    "failing": "it failed for too long without a success",
}
_MAX_PATTERNS: Final = 10


def describe_reason(reason: str) -> str:
    """Write a stored reason as a sentence: most are codes, some are a user's own words."""
    if reason in _ENGINE_REASONS:
        return _ENGINE_REASONS[reason]
    try:
        return explain_reason(Reason(reason))
    except ValueError:
        return format_sentence(reason)


def format_sentence(text: str) -> str:
    """Write words as a sentence, with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def describe_hold(hold: Hold) -> str:
    """Say why a delivery is held, as the clause after `because`."""
    match hold:
        case Hold.PAUSED:
            return "its endpoint is paused"
        case Hold.DISABLED:
            return "its endpoint is disabled"
        case Hold.BREAKER_OPEN:
            return "its endpoint's circuit breaker is open"
        case Hold.RETRY_AFTER:
            return "its endpoint asked to wait"
        case Hold.RATE_LIMIT:
            return "its endpoint's rate limit is reached"
        case Hold.IN_FLIGHT_LIMIT:
            return "its endpoint's in-flight limit is reached"
        case _:
            assert_never(hold)


def format_state_reason(reason: str | None) -> str:
    """Write why an endpoint is paused or disabled as a suffix: our own code, or a user's words."""
    if not reason:
        return ""
    return f": {_DISABLE_REASONS.get(reason, reason)}"


def format_patterns(patterns: Sequence[str]) -> str:
    """Write a filter's patterns: `order.*, user.left`; only the first of many."""
    named = ", ".join(patterns[:_MAX_PATTERNS])
    more = len(patterns) - _MAX_PATTERNS
    return (f"{named} and {more} more" if more > 0 else named) or "nothing"


def format_alternatives(names: Sequence[str]) -> str:
    """Write `eu`, `eu or us`, `eu, us or asia`; only the first of many names."""
    named, more = list(names[:_MAX_PATTERNS]), len(names) - _MAX_PATTERNS
    if more > 0:
        return f"{', '.join(named)} or {more} more"
    return " or ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else "".join(named)


def describe_condition_failure(delivery: Delivery) -> str:
    """Write the suffix for a delivery whose endpoint's condition could not be evaluated; else empty."""
    if delivery.condition_failed is None:
        return ""
    why_not = delivery.condition_failed.rstrip(".")
    return f"; its condition could not be evaluated ({why_not}), so the event is sent anyway"


def format_count(count: int, noun: str) -> str:
    """Write `1 endpoint`, `2 endpoints`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_entry(entry: JournalEntry) -> str:
    """Describe a journal entry as a sentence."""
    details = entry.details
    template = _ENTRY_TEMPLATES.get(entry.action, "{other}, by {by}")
    if details.get("again"):
        template = _REPEATED_TEMPLATES.get(entry.action, template)
    return format_sentence(
        template.format(
            by=format_actor(entry.actor),
            because=format_state_reason(entry.reason),
            fields=_format_fields(details),
            probe=_format_moment(details, "probe_at", "; the next probe may be sent at "),
            until=_format_moment(details, "until", " until "),
            since=_format_moment(details, "failing_since", " since "),
            disabled=_format_moment(details, "disabled_at", ", and will be disabled at "),
            name=details.get("name")
            or details.get("key_id")
            or details.get("replay_id")
            or details.get("message")
            or "",
            other=entry.action.replace(".", ": ").replace("_", " "),
        )
    )


_ENTRY_TEMPLATES: Final = {
    "endpoint.paused": "The endpoint was paused by {by}{because}",
    "endpoint.resumed": "The endpoint was resumed by {by}",
    "endpoint.disabled": "The endpoint was disabled by {by}{because}",
    "endpoint.enabled": "The endpoint was enabled by {by}",
    "endpoint.changed": "The endpoint was changed by {by}{fields}",
    "endpoint.secret_rotated": "The endpoint's secret was rotated by {by}",
    "endpoint.deleted": "The endpoint was deleted by {by}",
    "endpoint.breaker_opened": "The endpoint failed too often, so its circuit breaker opened{probe}",
    "endpoint.breaker_stayed_open": "The probe failed, so the endpoint's circuit breaker stays open{probe}",
    "endpoint.breaker_closed": "The probe succeeded, so the endpoint's circuit breaker closed",
    "endpoint.waiting": "The endpoint asked to wait{until}",
    "endpoint.disable_warning": "The endpoint has only failed{since}{disabled}",
    # The following are in the audit only, not in a timeline.
    "endpoint.created": "The endpoint was created by {by}",
    "tenant.created": "The tenant {name} was created by {by}",
    "tenant.changed": "The tenant was changed by {by}",
    "tenant.retention_changed": "The tenant's retention was changed by {by}",
    "key.created": "The key {name} was created by {by}",
    "key.revoked": "The key {name} was revoked by {by}",
    "key.rotated": "The key {name} was rotated by {by} and stays valid{until}",
    "secrets.resealed": "Stored secrets were re-encrypted with the newest key by {by}",
    "replay.created": "The replay {name} was requested by {by}{because}",
    "replay.paused": "The replay {name} was paused by {by}{because}",
    "replay.resumed": "The replay {name} was resumed by {by}{because}",
    "replay.cancelled": "The replay {name} was cancelled by {by}{because}",
    "replay.finished": "The replay {name} has finished",
    "delivery.replayed": "The delivery was replayed by {by}{because}",
    "delivery.retried": "The delivery was retried by {by}",
    "event.content_erased": "The content of the event was erased by {by}{because}",
    "person.created": "An account for {name} was created by {by}",
    "person.changed": "The account of {name} was changed by {by}{fields}{because}",
    "person.disabled": "The account of {name} was disabled by {by}{because}",
    "person.enabled": "The account of {name} was enabled again by {by}{because}",
    "person.password_set": "A new password for {name} was set by {by}{because}",
    "person.signed_in": "{by} signed in",
    "portal_link.created": "A portal link valid{until} was created by {by}",
    "portal_link.opened": "The portal was opened by {by}",
    "message.retried": "The message {name} was retried by {by}{because}",
    "message.discarded": "The message {name} was discarded by {by}{because}",
    "event_type.created": "The event type {name} was added to the catalogue by {by}{because}",
    "event_type.changed": "The event type {name} was changed in the catalogue by {by}{because}",
    "event_type.archived": "The event type {name} was removed from the catalogue by {by}{because}",
    "attempt.content_erased": "The response of the attempt was erased by {by}{because}",
}
# The state stayed; only the reason changed.
_REPEATED_TEMPLATES: Final = {
    "endpoint.paused": "The endpoint stays paused; {by} gave a new reason{because}",
    "endpoint.disabled": "The endpoint stays disabled; {by} gave a new reason{because}",
}


def format_actor(actor: str) -> str:
    """Write the actor: `Waybill` for the engine, else the actor's name."""
    return "Waybill" if actor == ENGINE_ACTOR else actor


def parse_moment(details: Mapping[str, object], name: str) -> datetime | None:
    """Parse a time among an entry's details; None if it is missing or not aware."""
    match details.get(name):
        case datetime() as moment:
            return moment
        case str() as text:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                return None
            return None if moment.tzinfo is None else moment
        case _:
            return None


def _format_moment(details: Mapping[str, object], name: str, prefix: str) -> str:
    moment = parse_moment(details, name)
    return "" if moment is None else f"{prefix}{format_utc(moment)}"


def _format_fields(details: Mapping[str, object]) -> str:
    match details.get("fields"):
        case [*fields] if fields:
            return f": {', '.join(map(str, fields))}"
        case _:
            return ""
