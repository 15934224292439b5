"""Audit filters from a URL, and the subject of an entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.console.forms.audit import parse_audit_filters
from delivery.console.views.audit import AuditSubject, describe_action, find_subject
from delivery.console.web.context import Form
from delivery.domain.ids import DeliveryId, EndpointId, Prefix, TenantId, format_id, new_id
from delivery.ledger.records.audit import AuditFilter
from delivery.ledger.records.journal import JournalEntry
from delivery.services.sentences import describe_entry

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
TENANT, ENDPOINT, DELIVERY = TenantId(new_id()), EndpointId(new_id()), DeliveryId(new_id())


def read(**fields: str):
    return parse_audit_filters(Form({name: [value] for name, value in fields.items()}), now=NOW)


def test_no_filter_selects_all_user_actions():
    assert read().selection == AuditFilter()


def test_every_audit_filter_is_parsed_from_the_url():
    asked = read(
        actor="Ada",
        what="endpoint.*, key.revoked",
        endpoint=format_id(Prefix.ENDPOINT, ENDPOINT),
        delivery=format_id(Prefix.DELIVERY, DELIVERY),
        since="24h",
        until="2026-11-25T17:00",
        engine="1",
    )
    day, hour = timedelta(days=1), timedelta(hours=1)
    patterns = ("endpoint.*", "key.revoked")
    assert asked.selection == AuditFilter(
        "Ada", patterns, ENDPOINT, DELIVERY, NOW - day, NOW - hour, include_engine=True
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("actor", "\0"),
        ("what", "endpoint*"),
        ("what", ",".join(["a.b"] * 21)),
        ("endpoint", "dlv_01kawt0000000000000000000a"),
        ("since", "yesterday"),
    ],
)
def test_invalid_value_is_an_error(name: str, text: str):
    asked = read(**{name: text})
    assert asked.selection is None
    assert set(asked.errors) == {name}
    assert asked.values == {name: text}


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (JournalEntry(TENANT, "delivery.replayed", "a", NOW, None, ENDPOINT, DELIVERY), "/deliveries/"),
        (JournalEntry(TENANT, "endpoint.paused", "a", NOW, None, ENDPOINT), "/endpoints/"),
        (JournalEntry(TENANT, "replay.created", "a", NOW, details={"replay_id": "rpl_1"}), "/replays/rpl_1"),
        (
            JournalEntry(TENANT, "event.content_erased", "a", NOW, details={"event_id": "evt_1"}),
            "/events/evt_1",
        ),
        (JournalEntry(TENANT, "key.created", "a", NOW, details={"key_id": "key_1"}), "/tenants/"),
    ],
)
def test_entry_links_to_its_subject(entry: JournalEntry, path: str):
    about = find_subject(entry)
    assert isinstance(about, AuditSubject)
    assert about.path.startswith(path)


def test_entry_without_a_page_has_no_subject():
    assert find_subject(JournalEntry(TENANT, "person.created", "a", NOW)) is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (JournalEntry(TENANT, "endpoint.paused", "Ada", NOW, "they asked"), "The endpoint was paused."),
        (
            JournalEntry(TENANT, "endpoint.changed", "Ada", NOW, details={"fields": ["url"]}),
            "The endpoint was changed: url.",
        ),
        (
            JournalEntry(TENANT, "key.created", "Ada", NOW, details={"name": "made by Ada"}),
            "The key made by Ada was created.",
        ),
        (JournalEntry(TENANT, "endpoint.breaker_closed", "engine", NOW), None),
    ],
)
def test_action_text_omits_actor_and_reason(entry: JournalEntry, said: str | None):
    assert describe_action(entry) == (said or describe_entry(entry))
