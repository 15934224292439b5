"""What a key may be like."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.errors import Invalid
from delivery.keys import KeyTerms, NewKey
from delivery.keys.terms import (
    checked_end,
    checked_overlap,
    checked_pace,
    checked_scopes,
    succeeding_end,
)
from delivery.scopes import ALL, OF_TENANTS, Scope, in_order
from tests.unit.cli.records import KEY

NOW = datetime(2026, 11, 26, tzinfo=UTC)
YEARS = timedelta(days=3650)
SECOND = timedelta(seconds=1)


def test_a_key_may_have_any_of_a_tenant_s_scopes_and_no_other() -> None:
    assert checked_scopes([Scope.READ, Scope.READ]) == {Scope.READ}
    assert in_order(checked_scopes(OF_TENANTS[::-1])) == list(OF_TENANTS)
    for wrong in ([], [Scope.OPERATE], list(ALL)):
        with pytest.raises(Invalid) as refusal:
            checked_scopes(wrong)
        assert refusal.value.field == "scopes"


def test_a_key_ends_at_a_moment_or_after_a_while_or_never() -> None:
    assert checked_end(NewKey("x"), now=NOW) is None
    assert checked_end(NewKey("x", lasts=YEARS), now=NOW) == NOW + YEARS
    assert checked_end(NewKey("x", expires_at=NOW + YEARS), now=NOW) == NOW + YEARS


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewKey("x", expires_at=NOW), "expires_at"),
        (NewKey("x", expires_at=NOW - YEARS), "expires_at"),
        (NewKey("x", expires_at=NOW + YEARS + SECOND), "expires_at"),
        (NewKey("x", expires_at=datetime.max.replace(tzinfo=UTC)), "expires_at"),
        (NewKey("x", lasts=SECOND), "expires_in_seconds"),
        (NewKey("x", lasts=-YEARS), "expires_in_seconds"),
        (NewKey("x", lasts=timedelta.max), "expires_in_seconds"),
        (NewKey("x", expires_at=NOW + YEARS, lasts=YEARS), "expires_in_seconds"),
    ],
)
def test_an_end_that_makes_no_sense_is_named(new: NewKey, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_end(new, now=NOW)
    assert refusal.value.field == field


@pytest.mark.parametrize("often", [0, -1, 1_000_001])
def test_a_limit_that_makes_no_sense_is_named(often: int) -> None:
    with pytest.raises(Invalid, match="requests_per_second"):
        checked_pace(often)
    assert checked_pace(None) is None


@pytest.mark.parametrize("hours", [-1, 721])
def test_an_overlap_that_makes_no_sense_is_named(hours: int) -> None:
    with pytest.raises(Invalid, match="overlap_hours"):
        checked_overlap(timedelta(hours=hours), KeyTerms())
    assert checked_overlap(None, KeyTerms(overlap=YEARS)) == YEARS


def test_a_successor_lasts_as_long_as_its_forerunner_was_made_for() -> None:
    assert succeeding_end(KEY, now=NOW) is None
    month = timedelta(days=30)
    assert succeeding_end(replace(KEY, expires_at=KEY.created_at + month), now=NOW) == NOW + month


def test_a_key_ends_when_it_is_revoked_or_expires_whichever_comes_first() -> None:
    ended = replace(KEY, revoked_at=NOW, expires_at=NOW - SECOND)
    assert KEY.ended_at(NOW) is None
    assert ended.ended_at(NOW) == NOW - SECOND
    assert replace(KEY, expires_at=NOW + SECOND).ended_at(NOW) is None
    assert replace(KEY, expires_at=NOW).ended_at(NOW) == NOW
