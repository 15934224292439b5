"""From an address to the entries of the audit that it means, and from an entry to what it is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.durations import parse_time
from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import DeliveryId, EndpointId, Prefix, format_id, parse_id
from delivery.domain.validation import check_text, validating_field
from delivery.ledger.records.audit import AuditFilter
from delivery.services.sentences import describe_entry, format_actor

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.console.web.context import Form
    from delivery.ledger.records.journal import JournalEntry

AUDIT_FILTER_NAMES: Final = ("actor", "what", "endpoint", "delivery", "since", "until", "engine")
# What people look for most.
COMMON_ACTIONS: Final = (
    "delivery.replayed",
    "endpoint.*",
    "endpoint.changed",
    "endpoint.paused",
    "endpoint.disabled",
    "event.content_erased",
    "key.*",
    "person.*",
    "replay.*",
    "tenant.*",
)
_MAX_ACTOR_LENGTH: Final = 400
_MAX_PATTERNS: Final = 20
# The things that have a page of their own.
_SUBJECT_PATHS: Final = {
    "replay_id": ("/replays", "replay"),
    "event_id": ("/events", "event"),
    "attempt_id": ("/attempts", "attempt"),
}


@dataclass(frozen=True, slots=True)
class AuditFilterForm:
    """The filters of an address as they were written. `wanted` None: `faults` say why, by field."""

    values: dict[str, str]
    selection: AuditFilter | None
    errors: dict[str, str]


@dataclass(frozen=True, slots=True)
class AuditSubject:
    """What something was done to, and where its page is."""

    noun: str
    public_id: str
    path: str


def parse_audit_filters(form: Form, *, now: datetime) -> AuditFilterForm:
    """Read the filters of an address; what cannot be read becomes a fault, never an error."""
    written = {name: text for name in AUDIT_FILTER_NAMES if (text := form.get_text(name))}
    read: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, text in written.items():
        try:
            read[name] = _parse_value(name, text, now)
        except Invalid as error:
            faults[name] = error.why
        except MalformedId as error:
            faults[name] = str(error)
    if faults:
        return AuditFilterForm(written, None, faults)
    wanted = AuditFilter(
        actor=read.get("actor"),
        actions=read.get("what", ()),
        endpoint_id=read.get("endpoint"),
        delivery_id=read.get("delivery"),
        since=read.get("since"),
        until=read.get("until"),
        include_engine="engine" in written,
    )
    return AuditFilterForm(written, wanted, {})


def _parse_value(name: str, text: str, now: datetime) -> Any:
    with validating_field(name):
        match name:
            case "actor":
                return check_text(text, min_length=1, max_length=_MAX_ACTOR_LENGTH)
            case "what":
                return _parse_patterns(text)
            case "endpoint":
                return EndpointId(parse_id(Prefix.ENDPOINT, text))
            case "delivery":
                return DeliveryId(parse_id(Prefix.DELIVERY, text))
            case "since" | "until":
                return parse_time(text, now=now, naive_is_utc=True)
            case _:
                return text


def _parse_patterns(text: str) -> tuple[str, ...]:
    patterns = [part.strip() for part in text.split(",") if part.strip()]
    if len(patterns) > _MAX_PATTERNS:
        raise ValueError(f"may be {_MAX_PATTERNS} patterns, not {len(patterns)}")
    return tuple(check_pattern(pattern) for pattern in patterns)


def describe_action(entry: JournalEntry) -> str:
    """What was done, as a sentence; who did it and why stand beside it."""
    before, by, behind = describe_entry(replace(entry, reason=None)).rpartition(
        f" by {format_actor(entry.actor)}"
    )
    return before + behind if by else behind


def find_subject(entry: JournalEntry) -> AuditSubject | None:
    """What it was done to; None: to nothing that has a page."""
    if entry.delivery_id is not None:
        shown = format_id(Prefix.DELIVERY, entry.delivery_id)
        return AuditSubject("delivery", shown, f"/deliveries/{shown}")
    if entry.endpoint_id is not None:
        shown = format_id(Prefix.ENDPOINT, entry.endpoint_id)
        return AuditSubject("endpoint", shown, f"/endpoints/{shown}")
    for name, (path, noun) in _SUBJECT_PATHS.items():
        shown = str(entry.details.get(name) or "")
        if shown:
            return AuditSubject(noun, shown, f"{path}/{shown}")
    if entry.action.startswith(("tenant.", "key.")):
        shown = format_id(Prefix.TENANT, entry.tenant_id)
        return AuditSubject("tenant", shown, f"/tenants/{shown}")
    return None
