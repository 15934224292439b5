"""How long somebody has to wait after sign-ins that failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.people.throttle import FORGOTTEN, RULES, Kind, failures_now, subjects_of, wait

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOTHING = timedelta(0)

kinds = st.sampled_from(Kind)
counts = st.integers(0, 2_000_000)
passed = st.timedeltas(timedelta(minutes=-5), timedelta(days=2))


@pytest.mark.parametrize(
    ("kind", "failures", "seconds"),
    [
        (Kind.ACCOUNT_AT_ADDRESS, 4, 0),
        (Kind.ACCOUNT_AT_ADDRESS, 5, 1),
        (Kind.ACCOUNT_AT_ADDRESS, 6, 2),
        (Kind.ACCOUNT_AT_ADDRESS, 14, 512),
        (Kind.ACCOUNT_AT_ADDRESS, 15, 900),
        (Kind.ADDRESS, 29, 0),
        (Kind.ADDRESS, 30, 1),
        (Kind.ADDRESS, 1_000, 900),
        (Kind.ACCOUNT, 99, 0),
        (Kind.ACCOUNT, 100, 1),
        (Kind.ACCOUNT, 100_000, 30),
    ],
)
def test_the_wait_doubles_from_a_second_to_its_longest(kind: Kind, failures: int, seconds: int) -> None:
    assert wait(kind, failures, NOW, now=NOW) == timedelta(seconds=seconds)


def test_time_that_has_passed_is_waited_already() -> None:
    last_at = NOW - timedelta(seconds=3)
    assert wait(Kind.ACCOUNT_AT_ADDRESS, 7, last_at, now=NOW) == timedelta(seconds=1)


@given(kinds, counts, passed)
def test_nobody_waits_longer_than_the_longest(kind: Kind, failures: int, ago: timedelta) -> None:
    assert NOTHING <= wait(kind, failures, NOW - ago, now=NOW) <= RULES[kind].longest


@given(kinds, counts, passed)
def test_one_failure_more_never_shortens_the_wait(kind: Kind, failures: int, ago: timedelta) -> None:
    last_at = NOW - ago
    assert wait(kind, failures, last_at, now=NOW) <= wait(kind, failures + 1, last_at, now=NOW)


@given(kinds, counts, passed, st.timedeltas(NOTHING, timedelta(hours=2)))
def test_to_wait_as_long_as_was_said_is_enough(
    kind: Kind, failures: int, ago: timedelta, more: timedelta
) -> None:
    last_at = NOW - ago
    later = NOW + wait(kind, failures, last_at, now=NOW)
    # A clock that lies ahead makes one more wait of it, no longer than the rule's.
    assert ago < NOTHING or wait(kind, failures, last_at, now=later + more) == NOTHING


@given(counts)
def test_after_an_hour_of_quiet_it_all_begins_again(failures: int) -> None:
    assert failures_now(failures, NOW - FORGOTTEN, now=NOW) == 0


def keys(email: str, address: str | None) -> dict[Kind, bytes]:
    return {one.kind: one.key for one in subjects_of(email, address)}


def test_an_account_counts_at_each_address_by_itself() -> None:
    here, there = keys("a@b", "203.0.113.7"), keys("a@b", "203.0.113.8")
    assert here[Kind.ACCOUNT] == there[Kind.ACCOUNT]
    assert here[Kind.ACCOUNT_AT_ADDRESS] != there[Kind.ACCOUNT_AT_ADDRESS]
    assert here[Kind.ADDRESS] != there[Kind.ADDRESS]


def test_two_accounts_at_one_address_share_what_counts_for_it() -> None:
    one, other = keys("a@b", "203.0.113.7"), keys("c@d", "203.0.113.7")
    assert one[Kind.ADDRESS] == other[Kind.ADDRESS]
    assert one[Kind.ACCOUNT_AT_ADDRESS] != other[Kind.ACCOUNT_AT_ADDRESS]


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_addresses_that_are_one_customers_count_as_one(address: str, same: str) -> None:
    assert keys("a@b", address) == keys("a@b", same)


def test_an_unknown_address_counts_for_nobody_else() -> None:
    assert Kind.ADDRESS not in keys("a@b", None)


def test_the_account_at_its_address_comes_first() -> None:
    assert subjects_of("a@b", "203.0.113.7")[0].kind is Kind.ACCOUNT_AT_ADDRESS
