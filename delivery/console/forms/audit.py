"""The filters of the audit page: from a URL's query to the entries it selects. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.domain.filter_fields import InvalidFilter
from delivery.services.audit import AUDIT_FILTER_FIELDS, parse_audit_filter

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.console.web.context import Form
    from delivery.ledger.records.audit import AuditFilter

AUDIT_FILTER_NAMES: Final = (*AUDIT_FILTER_FIELDS, "since", "until")
# The most common searches.
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


@dataclass(frozen=True, slots=True)
class AuditFilterForm:
    """The filters as entered. `selection` is None if one is invalid; `errors` has the reason by field."""

    values: dict[str, str]
    selection: AuditFilter | None
    errors: dict[str, str]


def parse_audit_filters(form: Form, *, now: datetime) -> AuditFilterForm:
    """Parse the filters of a URL; an invalid value is recorded as an error and never raises."""
    values = {name: text for name in AUDIT_FILTER_NAMES if (text := form.get_text(name))}
    patterns = [part.strip() for part in values.get("what", "").split(",") if part.strip()]
    try:
        selection = parse_audit_filter({**values, "what": patterns}, now=now)
    except InvalidFilter as error:
        return AuditFilterForm(values, None, dict(error.errors))
    return AuditFilterForm(values, selection, {})
