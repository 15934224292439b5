"""What a key may be like, and what its terms come to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Invalid
from delivery.domain.scopes import TENANT_SCOPES, Scope
from delivery.domain.validation import check_text, validating_field

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from delivery.domain.api_key import ApiKey

MAX_NAME_LENGTH: Final = 200
MAX_REQUESTS_PER_SECOND: Final = 1_000_000
MIN_LIFETIME: Final = timedelta(minutes=1)
MAX_LIFETIME: Final = timedelta(days=3650)
MAX_OVERLAP: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to make. It expires at a moment, or after a while, or (neither is given) never."""

    name: str
    scopes: Iterable[Scope] = TENANT_SCOPES
    expires_at: datetime | None = None
    lifetime: timedelta | None = None
    requests_per_second: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CreatedApiKey:
    """A key that was just made: the only time that its text is told. `before` is the one that it replaces."""

    key: ApiKey
    text: str
    replaced: ApiKey | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ApiKeyConfig:
    """The operator's: its own key, how long a rotated one goes on, how often a key may ask (0: no limit)."""

    operator_key: str | None = None
    overlap: timedelta = timedelta(hours=24)
    requests_per_second: int = 0


def validate_name(text: str) -> str:
    """What a key is called; raises Invalid."""
    with validating_field("name"):
        return check_text(text, min_length=1, max_length=MAX_NAME_LENGTH)


def validate_scopes(requested: Iterable[Scope]) -> frozenset[Scope]:
    """What a tenant's key may do; raises Invalid."""
    scopes = frozenset(requested)
    if not scopes:
        raise Invalid("scopes", f"must be some of {', '.join(TENANT_SCOPES)}")
    if not scopes <= frozenset(TENANT_SCOPES):
        raise Invalid("scopes", f"{Scope.OPERATE} is for the operator's own key alone")
    return scopes


def validate_expiry(new: NewApiKey, *, now: datetime) -> datetime | None:
    """When it expires; raises Invalid, which names `expires_at` or `expires_in_seconds`."""
    if new.expires_at is not None and new.lifetime is not None:
        raise Invalid("expires_in_seconds", "and expires_at exclude each other")
    if new.expires_at is not None:
        if not MIN_LIFETIME <= new.expires_at - now <= MAX_LIFETIME:
            raise Invalid("expires_at", "must be from a minute to ten years from now")
        return new.expires_at
    if new.lifetime is None:
        return None
    if not MIN_LIFETIME <= new.lifetime <= MAX_LIFETIME:
        raise Invalid("expires_in_seconds", "must be from a minute to ten years")
    return now + new.lifetime


def validate_requests_per_second(requests_per_second: int | None) -> int | None:
    """How often it may ask; raises Invalid."""
    if requests_per_second is not None and not 1 <= requests_per_second <= MAX_REQUESTS_PER_SECOND:
        raise Invalid("requests_per_second", f"must be from 1 to {MAX_REQUESTS_PER_SECOND:,}")
    return requests_per_second


def validate_overlap(overlap: timedelta | None, config: ApiKeyConfig) -> timedelta:
    """How long a rotated key goes on beside the new one; raises Invalid."""
    if overlap is None:
        return config.overlap
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap_hours", f"must be from 0 to {MAX_OVERLAP.days * 24} hours")
    return overlap


def compute_successor_expiry(key: ApiKey, *, now: datetime) -> datetime | None:
    """When a key expires that takes the place of this one: it lasts as long as that one was made for."""
    return None if key.expires_at is None else now + (key.expires_at - key.created_at)
