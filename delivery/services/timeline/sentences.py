"""What a trace says to people about reasons, holds and what happened to an endpoint. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, assert_never

from delivery.ledger.journal import ENGINE
from delivery.moments import exact
from delivery.tracing.steps import What
from retries.health import Hold
from retries.policy import Reason, explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from delivery.ledger.journal import Entry
    from delivery.model import Delivery

_OF_OURS: Final = {
    "endpoint_deleted": "Its endpoint was deleted, so it has nowhere to go.",
    "expired": "It was owed for longer than a delivery may be, and is given up.",
    "payload_erased": "The content of its event was erased, so there is nothing to send.",
    "payload_gone": "The content of its event was no longer kept, so there was nothing to send.",
}
# Why the engine disables an endpoint.
_DISABLED: Final = {
    "gone": "it answered 410 Gone and wants no more",
    "failing": "it had only failed for too long",
}
_MOST_PATTERNS: Final = 10


def why(reason: str) -> str:
    """A reason of the ledger as a sentence: most are codes, some were written by a person's request."""
    if reason in _OF_OURS:
        return _OF_OURS[reason]
    try:
        return explain(Reason(reason))
    except ValueError:
        return sentence(reason)


def sentence(words: str) -> str:
    """Words as a sentence: a capital before them, a full stop behind."""
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def held_by(hold: Hold) -> str:
    """Why a delivery is held, as what follows `because`."""
    match hold:
        case Hold.PAUSED:
            return "its endpoint is paused"
        case Hold.DISABLED:
            return "its endpoint is disabled"
        case Hold.BREAKER_OPEN:
            return "its endpoint's circuit breaker is open"
        case Hold.RETRY_AFTER:
            return "its endpoint asked to be left alone"
        case Hold.RATE_LIMIT:
            return "its endpoint's rate limit is reached"
        case Hold.IN_FLIGHT_LIMIT:
            return "its endpoint has as many in flight as it may have"
        case _:
            assert_never(hold)


def state_reason(reason: str | None) -> str:
    """Why an endpoint is paused or disabled, as what follows that fact: our code, or a person's words."""
    if not reason:
        return ""
    return f": {_DISABLED.get(reason, reason)}"


def asks_for(patterns: Sequence[str]) -> str:
    """What a filter asks for: `order.*, user.left`; of many patterns the first."""
    named = ", ".join(patterns[:_MOST_PATTERNS])
    more = len(patterns) - _MOST_PATTERNS
    return (f"{named} and {more} more" if more > 0 else named) or "nothing"


def any_of(names: Sequence[str]) -> str:
    """Write `eu`, `eu or us`, `eu, us or asia`; of many names the first."""
    named, more = list(names[:_MOST_PATTERNS]), len(names) - _MOST_PATTERNS
    if more > 0:
        return f"{', '.join(named)} or {more} more"
    return " or ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else "".join(named)


def not_answered(delivery: Delivery) -> str:
    """What to add to why a delivery was made, where its endpoint's condition could not be answered."""
    if delivery.condition_failed is None:
        return ""
    why_not = delivery.condition_failed.rstrip(".")
    return f"; its condition could not be answered ({why_not}), so that it is sent all the same"


def counted(count: int, noun: str) -> str:
    """Write `1 endpoint`, `2 endpoints`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def of_entry(entry: Entry) -> str:
    """Say what the journal has of an endpoint, or of anything else that somebody did."""
    told = entry.details
    what = What.of(entry.what)
    other = _OF_OTHERS.get(entry.what, "{other}, by {by}")
    template = (_AGAIN if told.get("again") else _ENTRIES).get(what, other)
    return sentence(
        template.format(
            by=who(entry.actor),
            because=state_reason(entry.reason),
            fields=_fields(told),
            probe=_moment_in(told, "probe_at", "; the next probe may go out at "),
            until=_moment_in(told, "until", " until "),
            since=_moment_in(told, "failing_since", " since "),
            disabled=_moment_in(told, "disabled_at", ", and will be disabled at "),
            name=told.get("name") or told.get("key_id") or told.get("replay_id") or told.get("message") or "",
            other=entry.what.replace(".", ": ").replace("_", " "),
        )
    )


_ENTRIES: Final = {
    What.PAUSED: "The endpoint was paused by {by}{because}",
    What.RESUMED: "The endpoint was resumed by {by}",
    What.DISABLED: "The endpoint was disabled by {by}{because}",
    What.ENABLED: "The endpoint was enabled by {by}",
    What.CHANGED: "The endpoint was changed by {by}{fields}",
    What.SECRET_ROTATED: "The endpoint was given a new secret by {by}",
    What.DELETED: "The endpoint was deleted by {by}",
    What.BREAKER_OPENED: "The endpoint failed too often, so its circuit breaker opened{probe}",
    What.BREAKER_STAYED_OPEN: "The probe failed, so the endpoint's circuit breaker stays open{probe}",
    What.BREAKER_CLOSED: "The probe went well, so the endpoint's circuit breaker closed",
    What.WAITING: "The endpoint asked to be left alone{until}",
    What.DISABLE_WARNING: "The endpoint has only failed{since}{disabled}",
}
# What traces do not tell of, and the audit does.
_OF_OTHERS: Final = {
    "endpoint.created": "The endpoint was made by {by}",
    "tenant.created": "The tenant {name} was made by {by}",
    "tenant.changed": "The tenant was changed by {by}",
    "tenant.retention_changed": "How long the tenant's history is kept was changed by {by}",
    "key.created": "The key {name} was made by {by}",
    "key.revoked": "The key {name} was revoked by {by}",
    "key.rotated": "The key {name} was rotated by {by}, and goes on{until}",
    "secrets.resealed": "Secrets at rest were sealed again under the newest key by {by}",
    "replay.created": "The replay {name} was asked for by {by}{because}",
    "replay.paused": "The replay {name} was paused by {by}{because}",
    "replay.resumed": "The replay {name} was resumed by {by}{because}",
    "replay.cancelled": "The replay {name} was cancelled by {by}{because}",
    "replay.finished": "The replay {name} has finished",
    "delivery.replayed": "The delivery was replayed by {by}{because}",
    "delivery.retried": "The delivery was asked for again by {by}",
    "event.content_erased": "The content of the event was erased by {by}{because}",
    "person.created": "{name} was given an account by {by}",
    "person.changed": "The account of {name} was changed by {by}{fields}{because}",
    "person.disabled": "The account of {name} was disabled by {by}{because}",
    "person.enabled": "The account of {name} was enabled again by {by}{because}",
    "person.password_set": "{name} was given a new password by {by}{because}",
    "person.signed_in": "{by} signed in",
    "portal_link.created": "A portal link that works{until} was made by {by}",
    "portal_link.opened": "The portal was opened by {by}",
    "message.retried": "The message {name} was sent in again by {by}{because}",
    "message.discarded": "The message {name} was thrown away by {by}{because}",
    "event_type.created": "The event type {name} was put into the catalogue by {by}{because}",
    "event_type.changed": "The event type {name} was changed in the catalogue by {by}{because}",
    "event_type.archived": "The event type {name} was taken out of the catalogue by {by}{because}",
    "attempt.content_erased": "The response of the attempt was erased by {by}{because}",
}
# Nothing changed but the reason.
_AGAIN: Final = {
    What.PAUSED: "The endpoint stays paused, as {by} says{because}",
    What.DISABLED: "The endpoint stays disabled, as {by} says{because}",
}


def who(actor: str) -> str:
    """Who did it: the engine by its name, others as they are known."""
    return "Waybill" if actor == ENGINE else actor


def moment_of(told: Mapping[str, object], name: str) -> datetime | None:
    """A moment that the journal keeps among an entry's details."""
    match told.get(name):
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


def _moment_in(told: Mapping[str, object], name: str, before: str) -> str:
    moment = moment_of(told, name)
    return "" if moment is None else f"{before}{exact(moment)}"


def _fields(told: Mapping[str, object]) -> str:
    match told.get("fields"):
        case [*fields] if fields:
            return f": {', '.join(map(str, fields))}"
        case _:
            return ""
