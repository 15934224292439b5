"""From an address to the entries of the audit that it means, and from an entry to what it is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from delivery.audit import AuditSelection
from delivery.checks import check_text, field
from delivery.console.filters import moment_of
from delivery.errors import Invalid, MalformedId
from delivery.filters import check_pattern
from delivery.model import DeliveryId, EndpointId, Prefix, parse_id, show_id
from delivery.tracing import said_of
from delivery.tracing.sentences import who

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.console.visits import Form
    from delivery.ledger.journal import Entry

NAMES: Final = ("actor", "what", "endpoint", "delivery", "since", "until", "engine")
# What people look for most.
COMMON: Final = (
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
_LONGEST_ACTOR: Final = 400
_MOST_PATTERNS: Final = 20
# The things that have a page of their own.
_PLACES: Final = {
    "replay_id": ("/replays", "replay"),
    "event_id": ("/events", "event"),
    "attempt_id": ("/attempts", "attempt"),
}


@dataclass(frozen=True, slots=True)
class AskedAudit:
    """The filters of an address as they were written. `wanted` None: `faults` say why, by field."""

    written: dict[str, str]
    wanted: AuditSelection | None
    faults: dict[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What something was done to, and where its page is."""

    noun: str
    shown: str
    path: str


def read_audit(form: Form, *, now: datetime) -> AskedAudit:
    """Read the filters of an address; what cannot be read becomes a fault, never an error."""
    written = {name: text for name in NAMES if (text := form.text(name))}
    read: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, text in written.items():
        try:
            read[name] = _read(name, text, now)
        except Invalid as error:
            faults[name] = error.why
        except MalformedId as error:
            faults[name] = str(error)
    if faults:
        return AskedAudit(written, None, faults)
    wanted = AuditSelection(
        actor=read.get("actor"),
        what=read.get("what", ()),
        endpoint_id=read.get("endpoint"),
        delivery_id=read.get("delivery"),
        since=read.get("since"),
        until=read.get("until"),
        engine="engine" in written,
    )
    return AskedAudit(written, wanted, {})


def _read(name: str, text: str, now: datetime) -> Any:
    with field(name):
        match name:
            case "actor":
                return check_text(text, least=1, most=_LONGEST_ACTOR)
            case "what":
                return _patterns(text)
            case "endpoint":
                return EndpointId(parse_id(Prefix.ENDPOINT, text))
            case "delivery":
                return DeliveryId(parse_id(Prefix.DELIVERY, text))
            case "since" | "until":
                return moment_of(text, now=now)
            case _:
                return text


def _patterns(text: str) -> tuple[str, ...]:
    patterns = [part.strip() for part in text.split(",") if part.strip()]
    if len(patterns) > _MOST_PATTERNS:
        raise ValueError(f"may be {_MOST_PATTERNS} patterns, not {len(patterns)}")
    return tuple(check_pattern(pattern) for pattern in patterns)


def deed(entry: Entry) -> str:
    """What was done, as a sentence; who did it and why stand beside it."""
    before, by, behind = said_of(replace(entry, reason=None)).rpartition(f" by {who(entry.actor)}")
    return before + behind if by else behind


def subject(entry: Entry) -> Subject | None:
    """What it was done to; None: to nothing that has a page."""
    if entry.delivery_id is not None:
        shown = show_id(Prefix.DELIVERY, entry.delivery_id)
        return Subject("delivery", shown, f"/deliveries/{shown}")
    if entry.endpoint_id is not None:
        shown = show_id(Prefix.ENDPOINT, entry.endpoint_id)
        return Subject("endpoint", shown, f"/endpoints/{shown}")
    for name, (path, noun) in _PLACES.items():
        shown = str(entry.details.get(name) or "")
        if shown:
            return Subject(noun, shown, f"{path}/{shown}")
    if entry.what.startswith(("tenant.", "key.")):
        shown = show_id(Prefix.TENANT, entry.tenant_id)
        return Subject("tenant", shown, f"/tenants/{shown}")
    return None
