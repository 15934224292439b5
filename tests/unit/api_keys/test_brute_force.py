"""Whoever guesses has to wait, and nobody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delivery.errors import TooManyTries
from delivery.keys import guesses
from delivery.keys.guesses import PACE, Guesses

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HERE, THERE = "203.0.113.7", "198.51.100.1"
MINE, YOURS = b"mine", b"yours"
BURST = int(PACE.burst)


def guessed(times: int, *, address: str | None = HERE) -> Guesses:
    kept = Guesses()
    for _ in range(times):
        kept.wrong(address, now=NOW)
    return kept


def test_a_few_wrong_keys_are_nothing() -> None:
    guessed(BURST - 1).look(HERE, YOURS, now=NOW)


def test_after_too_many_the_next_one_waits_and_hears_how_long() -> None:
    kept = guessed(BURST)
    with pytest.raises(TooManyTries) as refusal:
        kept.look(HERE, YOURS, now=NOW)
    kept.look(HERE, YOURS, now=NOW + refusal.value.retry_after)


def test_a_thousand_at_the_same_moment_are_a_thousand_and_the_debt_is_bounded() -> None:
    kept = guessed(1_000)
    with pytest.raises(TooManyTries) as refusal:
        kept.look(HERE, YOURS, now=NOW)
    assert refusal.value.retry_after == timedelta(seconds=(PACE.burst + 1) / PACE.per_second)


def test_other_addresses_are_not_concerned() -> None:
    guessed(BURST).look(THERE, YOURS, now=NOW)


def test_whoever_used_a_right_key_there_goes_on_using_it() -> None:
    kept = Guesses()
    kept.right(HERE, MINE)
    for _ in range(BURST):
        kept.wrong(HERE, now=NOW)
    kept.look(HERE, MINE, now=NOW)
    with pytest.raises(TooManyTries):
        kept.look(HERE, YOURS, now=NOW)


def test_one_network_of_version_six_is_one_and_an_unknown_address_is_one_too() -> None:
    with pytest.raises(TooManyTries):
        guessed(BURST, address="2001:db8:1:2::1").look("2001:db8:1:2:ffff::9", YOURS, now=NOW)
    guessed(BURST, address="2001:db8:1:2::1").look("2001:db8:1:3::1", YOURS, now=NOW)
    with pytest.raises(TooManyTries):
        guessed(BURST, address="::ffff:203.0.113.7").look(HERE, YOURS, now=NOW)
    with pytest.raises(TooManyTries):
        guessed(BURST, address=None).look(None, YOURS, now=NOW)


def test_both_memories_are_bounded() -> None:
    kept = Guesses()
    for number in range(guesses.MOST_USERS + 10):
        kept.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", now=NOW)
        kept.right(HERE, str(number).encode())
    assert len(kept._buckets) == guesses.MOST_NETWORKS  # noqa: SLF001  what is kept is the fact
    assert len(kept._users) == guesses.MOST_USERS  # noqa: SLF001  as above
