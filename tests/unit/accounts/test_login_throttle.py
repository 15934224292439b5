"""The delay after failed sign-ins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.services.accounts.login_throttle import (
    RESET_AFTER,
    RULES,
    ThrottleKind,
    build_subjects,
    compute_wait,
    count_current_failures,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOTHING = timedelta(0)

kinds = st.sampled_from(ThrottleKind)
counts = st.integers(0, 2_000_000)
passed = st.timedeltas(timedelta(minutes=-5), timedelta(days=2))


@pytest.mark.parametrize(
    ("kind", "failures", "seconds"),
    [
        (ThrottleKind.ACCOUNT_AT_ADDRESS, 4, 0),
        (ThrottleKind.ACCOUNT_AT_ADDRESS, 5, 1),
        (ThrottleKind.ACCOUNT_AT_ADDRESS, 6, 2),
        (ThrottleKind.ACCOUNT_AT_ADDRESS, 14, 512),
        (ThrottleKind.ACCOUNT_AT_ADDRESS, 15, 900),
        (ThrottleKind.ADDRESS, 29, 0),
        (ThrottleKind.ADDRESS, 30, 1),
        (ThrottleKind.ADDRESS, 1_000, 900),
        (ThrottleKind.ACCOUNT, 99, 0),
        (ThrottleKind.ACCOUNT, 100, 1),
        (ThrottleKind.ACCOUNT, 100_000, 30),
    ],
)
def test_the_wait_doubles_from_a_second_to_its_longest(
    kind: ThrottleKind, failures: int, seconds: int
) -> None:
    assert compute_wait(kind, failures, NOW, now=NOW) == timedelta(seconds=seconds)


def test_elapsed_time_counts_towards_the_wait() -> None:
    last_at = NOW - timedelta(seconds=3)
    assert compute_wait(ThrottleKind.ACCOUNT_AT_ADDRESS, 7, last_at, now=NOW) == timedelta(seconds=1)


@given(kinds, counts, passed)
def test_wait_never_exceeds_the_maximum(kind: ThrottleKind, failures: int, ago: timedelta) -> None:
    assert NOTHING <= compute_wait(kind, failures, NOW - ago, now=NOW) <= RULES[kind].max_wait


@given(kinds, counts, passed)
def test_one_failure_more_never_shortens_the_wait(kind: ThrottleKind, failures: int, ago: timedelta) -> None:
    last_at = NOW - ago
    assert compute_wait(kind, failures, last_at, now=NOW) <= compute_wait(
        kind, failures + 1, last_at, now=NOW
    )


@given(kinds, counts, passed, st.timedeltas(NOTHING, timedelta(hours=2)))
def test_no_wait_remains_after_the_announced_wait(
    kind: ThrottleKind, failures: int, ago: timedelta, more: timedelta
) -> None:
    last_at = NOW - ago
    later = NOW + compute_wait(kind, failures, last_at, now=NOW)
    # A clock that lies ahead makes one more wait of it, no longer than the rule's.
    assert ago < NOTHING or compute_wait(kind, failures, last_at, now=later + more) == NOTHING


@given(counts)
def test_failures_reset_after_an_hour(failures: int) -> None:
    assert count_current_failures(failures, NOW - RESET_AFTER, now=NOW) == 0


def keys(email: str, address: str | None) -> dict[ThrottleKind, bytes]:
    return {one.kind: one.key for one in build_subjects(email, address)}


def test_account_failures_are_counted_per_address() -> None:
    here, there = keys("a@b", "203.0.113.7"), keys("a@b", "203.0.113.8")
    assert here[ThrottleKind.ACCOUNT] == there[ThrottleKind.ACCOUNT]
    assert here[ThrottleKind.ACCOUNT_AT_ADDRESS] != there[ThrottleKind.ACCOUNT_AT_ADDRESS]
    assert here[ThrottleKind.ADDRESS] != there[ThrottleKind.ADDRESS]


def test_accounts_at_one_address_share_its_count() -> None:
    one, other = keys("a@b", "203.0.113.7"), keys("c@d", "203.0.113.7")
    assert one[ThrottleKind.ADDRESS] == other[ThrottleKind.ADDRESS]
    assert one[ThrottleKind.ACCOUNT_AT_ADDRESS] != other[ThrottleKind.ACCOUNT_AT_ADDRESS]


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_addresses_of_one_customer_count_together(address: str, same: str) -> None:
    assert keys("a@b", address) == keys("a@b", same)


def test_an_unknown_address_counts_for_nobody_else() -> None:
    assert ThrottleKind.ADDRESS not in keys("a@b", None)


def test_account_and_address_rule_is_checked_first() -> None:
    assert build_subjects("a@b", "203.0.113.7")[0].kind is ThrottleKind.ACCOUNT_AT_ADDRESS
