"""Audit entries as the page shows them: what was done, and to what. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from delivery.domain.ids import Prefix, format_id
from delivery.services.sentences import describe_entry, format_actor

if TYPE_CHECKING:
    from delivery.ledger.records.journal import JournalEntry

# Path and noun of each subject that an entry names among its details.
_SUBJECT_PATHS: Final = {
    "replay_id": ("/replays", "replay"),
    "event_id": ("/events", "event"),
    "attempt_id": ("/attempts", "attempt"),
}


@dataclass(frozen=True, slots=True)
class AuditSubject:
    """The object of an audit entry, and the path of its page."""

    noun: str
    public_id: str
    path: str


def describe_action(entry: JournalEntry) -> str:
    """Describe the action as a sentence without actor and reason, which have their own columns."""
    before, by, behind = describe_entry(replace(entry, reason=None)).rpartition(
        f" by {format_actor(entry.actor)}"
    )
    return before + behind if by else behind


def find_subject(entry: JournalEntry) -> AuditSubject | None:
    """Find the object of an entry; None if it has no page."""
    if entry.delivery_id is not None:
        public_id = format_id(Prefix.DELIVERY, entry.delivery_id)
        return AuditSubject("delivery", public_id, f"/deliveries/{public_id}")
    if entry.endpoint_id is not None:
        public_id = format_id(Prefix.ENDPOINT, entry.endpoint_id)
        return AuditSubject("endpoint", public_id, f"/endpoints/{public_id}")
    for name, (path, noun) in _SUBJECT_PATHS.items():
        public_id = str(entry.details.get(name) or "")
        if public_id:
            return AuditSubject(noun, public_id, f"{path}/{public_id}")
    if entry.action.startswith(("tenant.", "key.")):
        public_id = format_id(Prefix.TENANT, entry.tenant_id)
        return AuditSubject("tenant", public_id, f"/tenants/{public_id}")
    return None
