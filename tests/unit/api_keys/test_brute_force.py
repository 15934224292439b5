"""Clients that guess keys are throttled, and only they."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.domain.errors import TooManyTries
from delivery.services.api_keys import brute_force
from delivery.services.api_keys.brute_force import FAILURE_RATE, BruteForceGuard

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HERE, THERE = "203.0.113.7", "198.51.100.1"
MINE, YOURS = b"mine", b"yours"
BURST = int(FAILURE_RATE.burst)


def guessed(times: int, *, address: str | None = HERE) -> BruteForceGuard:
    kept = BruteForceGuard()
    for _ in range(times):
        kept.record_failure(address, now=NOW)
    return kept


def test_a_few_wrong_keys_are_not_throttled() -> None:
    guessed(BURST - 1).refuse_if_blocked(HERE, YOURS, now=NOW)


def test_too_many_wrong_keys_are_throttled() -> None:
    kept = guessed(BURST)
    with pytest.raises(TooManyTries) as refusal:
        kept.refuse_if_blocked(HERE, YOURS, now=NOW)
    kept.refuse_if_blocked(HERE, YOURS, now=NOW + refusal.value.retry_after)


def test_concurrent_wrong_keys_are_all_counted_with_bounded_debt() -> None:
    kept = guessed(1_000)
    with pytest.raises(TooManyTries) as refusal:
        kept.refuse_if_blocked(HERE, YOURS, now=NOW)
    assert refusal.value.retry_after == timedelta(seconds=(FAILURE_RATE.burst + 1) / FAILURE_RATE.per_second)


def test_other_addresses_are_not_throttled() -> None:
    guessed(BURST).refuse_if_blocked(THERE, YOURS, now=NOW)


def test_a_valid_key_used_from_a_network_is_not_throttled() -> None:
    kept = BruteForceGuard()
    kept.record_success(HERE, MINE)
    for _ in range(BURST):
        kept.record_failure(HERE, now=NOW)
    kept.refuse_if_blocked(HERE, MINE, now=NOW)
    with pytest.raises(TooManyTries):
        kept.refuse_if_blocked(HERE, YOURS, now=NOW)


def test_ipv6_network_and_unknown_address_each_count_as_one_client() -> None:
    with pytest.raises(TooManyTries):
        guessed(BURST, address="2001:db8:1:2::1").refuse_if_blocked("2001:db8:1:2:ffff::9", YOURS, now=NOW)
    guessed(BURST, address="2001:db8:1:2::1").refuse_if_blocked("2001:db8:1:3::1", YOURS, now=NOW)
    with pytest.raises(TooManyTries):
        guessed(BURST, address="::ffff:203.0.113.7").refuse_if_blocked(HERE, YOURS, now=NOW)
    with pytest.raises(TooManyTries):
        guessed(BURST, address=None).refuse_if_blocked(None, YOURS, now=NOW)


def test_both_memories_are_bounded() -> None:
    kept = BruteForceGuard()
    for number in range(brute_force.MAX_TRUSTED_CLIENTS + 10):
        kept.record_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", now=NOW)
        kept.record_success(HERE, str(number).encode())
    assert len(kept._buckets) == brute_force.MAX_NETWORKS  # noqa: SLF001  what is kept is the fact
    assert len(kept._trusted_clients) == brute_force.MAX_TRUSTED_CLIENTS  # noqa: SLF001  as above
