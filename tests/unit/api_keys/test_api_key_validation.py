"""Valid and invalid API keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.domain.errors import Invalid
from delivery.domain.scopes import ALL_SCOPES, TENANT_SCOPES, Scope, sort_scopes
from delivery.domain.validation import check_overlap
from delivery.services.api_keys.validation import (
    NewApiKey,
    compute_successor_expiry,
    validate_expiry,
    validate_requests_per_second,
    validate_scopes,
)
from tests.unit.cli.records import KEY

NOW = datetime(2026, 11, 26, tzinfo=UTC)
YEARS = timedelta(days=3650)
SECOND = timedelta(seconds=1)


def test_a_key_may_have_any_of_a_tenant_s_scopes_and_no_other() -> None:
    assert validate_scopes([Scope.READ, Scope.READ]) == {Scope.READ}
    assert sort_scopes(validate_scopes(TENANT_SCOPES[::-1])) == list(TENANT_SCOPES)
    for wrong in ([], [Scope.OPERATE], list(ALL_SCOPES)):
        with pytest.raises(Invalid) as refusal:
            validate_scopes(wrong)
        assert refusal.value.field == "scopes"


def test_expiry_is_a_time_a_lifetime_or_never() -> None:
    assert validate_expiry(NewApiKey("x"), now=NOW) is None
    assert validate_expiry(NewApiKey("x", lifetime=YEARS), now=NOW) == NOW + YEARS
    assert validate_expiry(NewApiKey("x", expires_at=NOW + YEARS), now=NOW) == NOW + YEARS


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewApiKey("x", expires_at=NOW), "expires_at"),
        (NewApiKey("x", expires_at=NOW - YEARS), "expires_at"),
        (NewApiKey("x", expires_at=NOW + YEARS + SECOND), "expires_at"),
        (NewApiKey("x", expires_at=datetime.max.replace(tzinfo=UTC)), "expires_at"),
        (NewApiKey("x", lifetime=SECOND), "expires_in_seconds"),
        (NewApiKey("x", lifetime=-YEARS), "expires_in_seconds"),
        (NewApiKey("x", lifetime=timedelta.max), "expires_in_seconds"),
        (NewApiKey("x", expires_at=NOW + YEARS, lifetime=YEARS), "expires_in_seconds"),
    ],
)
def test_an_invalid_expiry_names_its_field(new: NewApiKey, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        validate_expiry(new, now=NOW)
    assert refusal.value.field == field


@pytest.mark.parametrize("often", [0, -1, 1_000_001])
def test_an_invalid_rate_limit_names_its_field(often: int) -> None:
    with pytest.raises(Invalid, match="requests_per_second"):
        validate_requests_per_second(often)
    assert validate_requests_per_second(None) is None


@pytest.mark.parametrize("hours", [-1, 721])
def test_an_invalid_overlap_names_its_field(hours: int) -> None:
    with pytest.raises(Invalid, match="overlap_hours"):
        check_overlap(timedelta(hours=hours), default=YEARS)
    assert check_overlap(None, default=YEARS) == YEARS


def test_a_successor_has_the_lifetime_of_its_predecessor() -> None:
    assert compute_successor_expiry(KEY, now=NOW) is None
    month = timedelta(days=30)
    assert compute_successor_expiry(replace(KEY, expires_at=KEY.created_at + month), now=NOW) == NOW + month


def test_a_key_ends_when_it_is_revoked_or_expires_whichever_comes_first() -> None:
    ended = replace(KEY, revoked_at=NOW, expires_at=NOW - SECOND)
    assert KEY.ended_at(NOW) is None
    assert ended.ended_at(NOW) == NOW - SECOND
    assert replace(KEY, expires_at=NOW + SECOND).ended_at(NOW) is None
    assert replace(KEY, expires_at=NOW).ended_at(NOW) == NOW
