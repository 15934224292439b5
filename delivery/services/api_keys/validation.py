"""The settings of an API key and the checks on them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Invalid
from delivery.domain.scopes import TENANT_SCOPES, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from delivery.domain.api_key import ApiKey

MAX_REQUESTS_PER_SECOND: Final = 1_000_000
MIN_LIFETIME: Final = timedelta(minutes=1)
MAX_LIFETIME: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to create. It expires at `expires_at` or after `lifetime`; with neither it never does."""

    name: str
    scopes: Iterable[Scope] = TENANT_SCOPES
    expires_at: datetime | None = None
    lifetime: timedelta | None = None
    requests_per_second: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CreatedApiKey:
    """A new key with its text, which is returned only here. `replaced` is the key that was rotated."""

    key: ApiKey
    text: str
    replaced: ApiKey | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ApiKeyConfig:
    """The operator's settings: its own key, the overlap after a rotation, the default limit (0: none)."""

    operator_key: str | None = None
    overlap: timedelta = timedelta(hours=24)
    requests_per_second: int = 0


def validate_scopes(requested: Iterable[Scope]) -> frozenset[Scope]:
    """Check the scopes of a tenant's key; raises Invalid."""
    scopes = frozenset(requested)
    if not scopes:
        raise Invalid("scopes", f"must be some of {', '.join(TENANT_SCOPES)}")
    if not scopes <= frozenset(TENANT_SCOPES):
        raise Invalid("scopes", f"{Scope.OPERATE} is reserved for the operator's key")
    return scopes


def validate_expiry(new: NewApiKey, *, now: datetime) -> datetime | None:
    """When the key expires; raises Invalid for `expires_at` or `expires_in_seconds`."""
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
    """Check the key's own rate limit; raises Invalid."""
    if requests_per_second is not None and not 1 <= requests_per_second <= MAX_REQUESTS_PER_SECOND:
        raise Invalid("requests_per_second", f"must be from 1 to {MAX_REQUESTS_PER_SECOND:,}")
    return requests_per_second


def compute_successor_expiry(key: ApiKey, *, now: datetime) -> datetime | None:
    """When the successor of a rotated key expires: it gets the same lifetime."""
    return None if key.expires_at is None else now + (key.expires_at - key.created_at)
