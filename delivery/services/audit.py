"""The audit: every change and replay by a user or an API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from delivery.domain.event_patterns import check_pattern
from delivery.domain.filter_fields import FilterField, make_id_parser, parse_filter_fields
from delivery.domain.ids import Prefix
from delivery.domain.validation import check_text
from delivery.ledger.records import audit
from delivery.ledger.records.audit import AuditFilter, AuditRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.ids import TenantId
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Ledger

__all__ = ["AuditFilter", "AuditRecord", "AuditService", "parse_audit_filter"]

MAX_ACTOR_LENGTH: Final = 400
MAX_PATTERNS: Final = 20


def _parse_actor(text: str) -> str:
    return check_text(text, min_length=1, max_length=MAX_ACTOR_LENGTH)


AUDIT_FILTER_FIELDS: Final[Mapping[str, FilterField]] = {
    "actor": FilterField("actor", _parse_actor),
    "what": FilterField("actions", check_pattern, MAX_PATTERNS),
    "endpoint": FilterField("endpoint_id", make_id_parser(Prefix.ENDPOINT)),
    "delivery": FilterField("delivery_id", make_id_parser(Prefix.DELIVERY)),
    "engine": FilterField("include_engine", bool),
}


def parse_audit_filter(
    raw: Mapping[str, Any], *, now: datetime | None = None, limited: bool = True
) -> AuditFilter:
    """Build a filter from raw values under the names in AUDIT_FILTER_FIELDS, `since` and `until`.

    `parse_filter_fields` says which values are accepted. Raises InvalidFilter with every error.
    """
    return AuditFilter(**parse_filter_fields(raw, AUDIT_FILTER_FIELDS, now=now, limited=limited))


class AuditService:
    """Reads who did what, when, from where and why. Entries are never changed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def list_entries(
        self, tenant_id: TenantId | None, audit_filter: AuditFilter, page_request: PageRequest
    ) -> Page[AuditRecord]:
        """List a tenant's entries, newest first; `tenant_id` None: all tenants', for the operator."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await audit.read_page(tx, tenant_id, audit_filter, page_request)
