"""How long things are kept, over values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from delivery.config import Settings
from delivery.errors import Invalid
from delivery.ledger.tables import PARTITIONED
from delivery.model import TenantId, new_id
from delivery.retention import (
    TENANTS_OWN,
    Content,
    Day,
    Partition,
    Terms,
    Thin,
    changed_own,
    first_kept,
    plan,
)

NOW = datetime(2030, 3, 1, 12, tzinfo=UTC)
TENANT = TenantId(new_id())
DAYS = st.integers(1, 60)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds
OWN = st.dictionaries(st.sampled_from([content.value for content in TENANTS_OWN]), DAYS)
OF = {
    "events": Content.EVENTS,
    "attempts": Content.ATTEMPTS,
    "journal": Content.JOURNAL,
    **dict.fromkeys(("deliveries", "failures", "endpoint_sequence"), Content.DELIVERIES),
}


@st.composite
def terms_of(draw: st.DrawFn) -> Terms:
    events, deliveries = draw(DAYS), draw(DAYS)
    return Terms(
        payload=draw(st.integers(1, events)),
        attempts=draw(st.integers(1, deliveries)),
        deliveries=deliveries,
        events=events,
        journal=draw(DAYS),
    )


def days_before(now: datetime) -> st.SearchStrategy[Day]:
    return st.builds(
        Day,
        st.sampled_from(PARTITIONED),
        st.integers(-5, 80).map(lambda ago: now.date() - timedelta(days=ago)),
    )


@given(st.data(), terms_of(), NOWS)
def test_a_day_goes_when_all_of_it_is_past_its_term_and_never_before(
    data: st.DataObject, terms: Terms, now: datetime
) -> None:
    there = data.draw(st.sets(days_before(now), max_size=10))
    dropped = [one for group in plan(terms, now, map(Partition, there), {}).drops for one in group]
    assert len(dropped) == len(set(dropped))
    for one in there:
        end = datetime.combine(one.day + timedelta(days=1), time(), tzinfo=UTC)
        assert (one in dropped) == (end <= now - timedelta(days=terms.days(OF[one.table])))


@given(st.data(), terms_of(), NOWS)
def test_days_go_oldest_first_and_deliveries_before_what_finds_them(
    data: st.DataObject, terms: Terms, now: datetime
) -> None:
    there = data.draw(st.sets(days_before(now), max_size=10))
    drops = plan(terms, now, map(Partition, there), {}).drops
    assert [group[0].day for group in drops] == sorted(group[0].day for group in drops)
    for group in drops:
        assert len({one.day for one in group}) == 1
        assert all(one.table != "deliveries" for one in group[1:])


@given(data=st.data(), terms=terms_of(), now=NOWS, bare=st.booleans())
def test_payloads_go_from_days_that_are_kept_and_only_once(
    data: st.DataObject, terms: Terms, now: datetime, *, bare: bool
) -> None:
    there = data.draw(st.sets(days_before(now), max_size=10))
    found = plan(terms, now, [Partition(one, bare) for one in there], {})
    dropped = {one for group in found.drops for one in group}
    assert not dropped & set(found.bodies)
    past = {one for one in there if one.table == "events" and one.day < first_kept(terms.payload, now)}
    assert set(found.bodies) == (set() if bare else past - dropped)


@given(terms_of(), OWN)
def test_a_tenant_has_never_more_kept_than_the_operator_says_nor_parts_without_their_whole(
    terms: Terms, own: dict[str, int]
) -> None:
    days = terms.shortened(own)
    assert all(days[content] <= terms.days(content) for content in TENANTS_OWN)
    assert all(days[Content(name)] <= most for name, most in own.items())
    assert days[Content.PAYLOAD] <= days[Content.EVENTS]
    assert days[Content.ATTEMPTS] <= days[Content.DELIVERIES]


@given(terms_of(), NOWS)
def test_tenants_without_terms_of_their_own_cost_nothing(terms: Terms, now: datetime) -> None:
    assert plan(terms, now, [], {TENANT: {}}).thin == ()
    longer = {content.value: terms.days(content) + 1 for content in TENANTS_OWN}
    assert plan(terms, now, [], {TENANT: longer}).thin == ()


def test_what_a_tenant_has_less_kept_of_is_named_with_what_is_part_of_it() -> None:
    terms = Terms(payload=30, attempts=30, deliveries=30, events=30, journal=30)
    assert plan(terms, NOW, [], {TENANT: {"deliveries": 7}}).thin == (
        Thin(TENANT, Content.ATTEMPTS, date(2030, 2, 22)),
        Thin(TENANT, Content.DELIVERIES, date(2030, 2, 22)),
    )


def test_payloads_go_with_their_events_unless_they_go_earlier() -> None:
    terms = Terms(payload=30, attempts=30, deliveries=30, events=30, journal=30)
    events = Thin(TENANT, Content.EVENTS, date(2030, 2, 22))
    assert plan(terms, NOW, [], {TENANT: {"events": 7}}).thin == (events,)
    assert plan(terms, NOW, [], {TENANT: {"events": 7, "payload": 2}}).thin == (
        Thin(TENANT, Content.PAYLOAD, date(2030, 2, 27)),
        events,
    )


def test_days_are_counted_in_utc_wherever_the_clock_is() -> None:
    tokyo = datetime(2030, 3, 2, 8, tzinfo=timezone(timedelta(hours=9)))
    assert first_kept(1, tokyo) == date(2030, 2, 28)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"payload": 31}, "retention.payload"),
        ({"events": 0}, "retention.events"),
        ({"journal": 1}, "journal"),
    ],
)
def test_terms_that_a_tenant_cannot_have_are_refused_by_name(own: dict[str, int], field: str) -> None:
    terms = Terms(payload=30, attempts=30, deliveries=30, events=30, journal=30)
    with pytest.raises(Invalid, match=field):
        changed_own({}, own, terms)
    assert changed_own({"payload": 30, "events": 2}, {"events": 1}, terms) == {"payload": 30, "events": 1}
    assert changed_own({"payload": 30, "events": 2}, {"events": None}, terms) == {"payload": 30}
    assert changed_own({"payload": 30}, None, terms) == {}


@pytest.mark.parametrize(("whole", "part"), [("events", "payload"), ("deliveries", "attempts")])
def test_a_whole_that_is_kept_shorter_than_its_part_is_no_setting(whole: str, part: str) -> None:
    with pytest.raises(ValidationError, match=f"RETENTION_{part.upper()}_DAYS"):
        Settings.model_validate({f"retention_{whole}_days": 5, f"retention_{part}_days": 6})
    kept = Settings.model_validate({f"retention_{whole}_days": 5, f"retention_{part}_days": 5}).retention
    assert (kept.days(Content(whole)), kept.days(Content(part))) == (5, 5)
