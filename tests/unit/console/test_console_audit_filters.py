"""From an address to entries of the audit, and from an entry to what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.audit import AuditSelection
from delivery.console.audited import Subject, deed, read_audit, subject
from delivery.console.visits import Form
from delivery.ledger.journal import Entry
from delivery.model import DeliveryId, EndpointId, Prefix, TenantId, new_id, show_id
from delivery.tracing import said_of

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
TENANT, ENDPOINT, DELIVERY = TenantId(new_id()), EndpointId(new_id()), DeliveryId(new_id())


def read(**fields: str):
    return read_audit(Form({name: [value] for name, value in fields.items()}), now=NOW)


def test_no_filter_means_all_that_people_did():
    assert read().wanted == AuditSelection()


def test_every_filter_can_stand_in_an_address():
    asked = read(
        actor="Ada",
        what="endpoint.*, key.revoked",
        endpoint=show_id(Prefix.ENDPOINT, ENDPOINT),
        delivery=show_id(Prefix.DELIVERY, DELIVERY),
        since="24h",
        until="2026-11-25T17:00",
        engine="1",
    )
    day, hour = timedelta(days=1), timedelta(hours=1)
    patterns = ("endpoint.*", "key.revoked")
    assert asked.wanted == AuditSelection(
        "Ada", patterns, ENDPOINT, DELIVERY, NOW - day, NOW - hour, engine=True
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
def test_what_cannot_be_read_is_a_fault(name: str, text: str):
    asked = read(**{name: text})
    assert asked.wanted is None
    assert set(asked.faults) == {name}
    assert asked.written == {name: text}


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (Entry(TENANT, "delivery.replayed", "a", NOW, None, ENDPOINT, DELIVERY), "/deliveries/"),
        (Entry(TENANT, "endpoint.paused", "a", NOW, None, ENDPOINT), "/endpoints/"),
        (Entry(TENANT, "replay.created", "a", NOW, details={"replay_id": "rpl_1"}), "/replays/rpl_1"),
        (Entry(TENANT, "event.content_erased", "a", NOW, details={"event_id": "evt_1"}), "/events/evt_1"),
        (Entry(TENANT, "key.created", "a", NOW, details={"key_id": "key_1"}), "/tenants/"),
    ],
)
def test_an_entry_leads_to_what_it_is_about(entry: Entry, path: str):
    about = subject(entry)
    assert isinstance(about, Subject)
    assert about.path.startswith(path)


def test_what_has_no_page_leads_nowhere():
    assert subject(Entry(TENANT, "person.created", "a", NOW)) is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (Entry(TENANT, "endpoint.paused", "Ada", NOW, "they asked"), "The endpoint was paused."),
        (
            Entry(TENANT, "endpoint.changed", "Ada", NOW, details={"fields": ["url"]}),
            "The endpoint was changed: url.",
        ),
        (
            Entry(TENANT, "key.created", "Ada", NOW, details={"name": "made by Ada"}),
            "The key made by Ada was made.",
        ),
        (Entry(TENANT, "endpoint.breaker_closed", "engine", NOW), None),
    ],
)
def test_a_deed_says_neither_who_nor_why(entry: Entry, said: str | None):
    assert deed(entry) == (said or said_of(entry))
