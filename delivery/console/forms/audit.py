"""The filters of the audit page: from a URL's query to the entries it selects. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.durations import parse_time
from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import DeliveryId, EndpointId, Prefix, parse_id
from delivery.domain.validation import check_text, validating_field
from delivery.ledger.records.audit import AuditFilter

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.console.web.context import Form

AUDIT_FILTER_NAMES: Final = ("actor", "what", "endpoint", "delivery", "since", "until", "engine")
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
_MAX_ACTOR_LENGTH: Final = 400
_MAX_PATTERNS: Final = 20


@dataclass(frozen=True, slots=True)
class AuditFilterForm:
    """The filters as entered. `selection` is None if one is invalid; `errors` has the reason by field."""

    values: dict[str, str]
    selection: AuditFilter | None
    errors: dict[str, str]


def parse_audit_filters(form: Form, *, now: datetime) -> AuditFilterForm:
    """Parse the filters of a URL; an invalid value is recorded as an error and never raises."""
    values = {name: text for name in AUDIT_FILTER_NAMES if (text := form.get_text(name))}
    parsed: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, text in values.items():
        try:
            parsed[name] = _parse_value(name, text, now)
        except Invalid as error:
            errors[name] = error.why
        except MalformedId as error:
            errors[name] = str(error)
    if errors:
        return AuditFilterForm(values, None, errors)
    selection = AuditFilter(
        actor=parsed.get("actor"),
        actions=parsed.get("what", ()),
        endpoint_id=parsed.get("endpoint"),
        delivery_id=parsed.get("delivery"),
        since=parsed.get("since"),
        until=parsed.get("until"),
        include_engine="engine" in values,
    )
    return AuditFilterForm(values, selection, {})


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
