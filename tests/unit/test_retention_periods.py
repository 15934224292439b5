"""How long things are kept, over values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.config import parse_settings
from delivery.domain.errors import Invalid, Misconfigured
from delivery.domain.ids import TenantId, new_id
from delivery.domain.retention import (
    TENANT_CONFIGURABLE,
    DayPartition,
    PartitionState,
    RetainedData,
    RetentionPeriods,
    TenantPrune,
    apply_period_changes,
    build_plan,
    compute_oldest_kept_day,
)
from delivery.ledger.db.tables import PARTITIONED_TABLES

NOW = datetime(2030, 3, 1, 12, tzinfo=UTC)
TENANT = TenantId(new_id())
DAYS = st.integers(1, 60)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds
OWN = st.dictionaries(st.sampled_from([content.value for content in TENANT_CONFIGURABLE]), DAYS)
OF = {
    "events": RetainedData.EVENTS,
    "attempts": RetainedData.ATTEMPTS,
    "journal": RetainedData.JOURNAL,
    **dict.fromkeys(("deliveries", "failures", "endpoint_sequence"), RetainedData.DELIVERIES),
}


@st.composite
def terms_of(draw: st.DrawFn) -> RetentionPeriods:
    events, deliveries = draw(DAYS), draw(DAYS)
    return RetentionPeriods(
        payload=draw(st.integers(1, events)),
        attempts=draw(st.integers(1, deliveries)),
        deliveries=deliveries,
        events=events,
        journal=draw(DAYS),
    )


def days_before(now: datetime) -> st.SearchStrategy[DayPartition]:
    return st.builds(
        DayPartition,
        st.sampled_from(PARTITIONED_TABLES),
        st.integers(-5, 80).map(lambda ago: now.date() - timedelta(days=ago)),
    )


@given(st.data(), terms_of(), NOWS)
def test_a_day_goes_when_all_of_it_is_past_its_term_and_never_before(
    data: st.DataObject, terms: RetentionPeriods, now: datetime
) -> None:
    there = data.draw(st.sets(days_before(now), max_size=10))
    dropped = [one for group in build_plan(terms, now, map(PartitionState, there), {}).drops for one in group]
    assert len(dropped) == len(set(dropped))
    for one in there:
        end = datetime.combine(one.day + timedelta(days=1), time(), tzinfo=UTC)
        assert (one in dropped) == (end <= now - timedelta(days=terms.get_days(OF[one.table])))


@given(st.data(), terms_of(), NOWS)
def test_partitions_are_dropped_oldest_first_deliveries_before_indexes(
    data: st.DataObject, terms: RetentionPeriods, now: datetime
) -> None:
    there = data.draw(st.sets(days_before(now), max_size=10))
    drops = build_plan(terms, now, map(PartitionState, there), {}).drops
    assert [group[0].day for group in drops] == sorted(group[0].day for group in drops)
    for group in drops:
        assert len({one.day for one in group}) == 1
        assert all(one.table != "deliveries" for one in group[1:])


@given(data=st.data(), terms=terms_of(), now=NOWS, bare=st.booleans())
def test_payloads_go_from_days_that_are_kept_and_only_once(
    data: st.DataObject, terms: RetentionPeriods, now: datetime, *, bare: bool
) -> None:
    there = data.draw(st.sets(days_before(now), max_size=10))
    found = build_plan(terms, now, [PartitionState(one, bare) for one in there], {})
    dropped = {one for group in found.drops for one in group}
    assert not dropped & set(found.payload_days)
    past = {
        one
        for one in there
        if one.table == "events" and one.day < compute_oldest_kept_day(terms.payload, now)
    }
    assert set(found.payload_days) == (set() if bare else past - dropped)


@given(terms_of(), OWN)
def test_tenant_retention_never_exceeds_the_operators_or_outlives_parents(
    terms: RetentionPeriods, own: dict[str, int]
) -> None:
    days = terms.apply_tenant_periods(own)
    assert all(days[content] <= terms.get_days(content) for content in TENANT_CONFIGURABLE)
    assert all(days[RetainedData(name)] <= most for name, most in own.items())
    assert days[RetainedData.PAYLOAD] <= days[RetainedData.EVENTS]
    assert days[RetainedData.ATTEMPTS] <= days[RetainedData.DELIVERIES]


@given(terms_of(), NOWS)
def test_tenants_without_terms_of_their_own_cost_nothing(terms: RetentionPeriods, now: datetime) -> None:
    assert build_plan(terms, now, [], {TENANT: {}}).tenant_prunes == ()
    longer = {content.value: terms.get_days(content) + 1 for content in TENANT_CONFIGURABLE}
    assert build_plan(terms, now, [], {TENANT: longer}).tenant_prunes == ()


def test_what_a_tenant_has_less_kept_of_is_named_with_what_is_part_of_it() -> None:
    terms = RetentionPeriods(payload=30, attempts=30, deliveries=30, events=30, journal=30)
    assert build_plan(terms, NOW, [], {TENANT: {"deliveries": 7}}).tenant_prunes == (
        TenantPrune(TENANT, RetainedData.ATTEMPTS, date(2030, 2, 22)),
        TenantPrune(TENANT, RetainedData.DELIVERIES, date(2030, 2, 22)),
    )


def test_payloads_go_with_their_events_unless_they_go_earlier() -> None:
    terms = RetentionPeriods(payload=30, attempts=30, deliveries=30, events=30, journal=30)
    events = TenantPrune(TENANT, RetainedData.EVENTS, date(2030, 2, 22))
    assert build_plan(terms, NOW, [], {TENANT: {"events": 7}}).tenant_prunes == (events,)
    assert build_plan(terms, NOW, [], {TENANT: {"events": 7, "payload": 2}}).tenant_prunes == (
        TenantPrune(TENANT, RetainedData.PAYLOAD, date(2030, 2, 27)),
        events,
    )


def test_days_are_counted_in_utc_wherever_the_clock_is() -> None:
    tokyo = datetime(2030, 3, 2, 8, tzinfo=timezone(timedelta(hours=9)))
    assert compute_oldest_kept_day(1, tokyo) == date(2030, 2, 28)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"payload": 31}, "retention.payload"),
        ({"events": 0}, "retention.events"),
        ({"journal": 1}, "journal"),
    ],
)
def test_terms_that_a_tenant_cannot_have_are_refused_by_name(own: dict[str, int], field: str) -> None:
    terms = RetentionPeriods(payload=30, attempts=30, deliveries=30, events=30, journal=30)
    with pytest.raises(Invalid, match=field):
        apply_period_changes({}, own, terms)
    assert apply_period_changes({"payload": 30, "events": 2}, {"events": 1}, terms) == {
        "payload": 30,
        "events": 1,
    }
    assert apply_period_changes({"payload": 30, "events": 2}, {"events": None}, terms) == {"payload": 30}
    assert apply_period_changes({"payload": 30}, None, terms) == {}


@pytest.mark.parametrize(("whole", "part"), [("events", "payload"), ("deliveries", "attempts")])
def test_parent_retention_shorter_than_child_is_rejected(whole: str, part: str) -> None:
    with pytest.raises(Misconfigured, match=f"RETENTION_{part.upper()}_DAYS"):
        parse_settings({f"retention_{whole}_days": 5, f"retention_{part}_days": 6})
    kept = parse_settings({f"retention_{whole}_days": 5, f"retention_{part}_days": 5}).retention_periods
    assert (kept.get_days(RetainedData(whole)), kept.get_days(RetainedData(part))) == (5, 5)
