"""What a key may be like, and what its terms come to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.checks import check_text, field
from delivery.errors import Invalid
from delivery.scopes import OF_TENANTS, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from delivery.model import ApiKey

LONGEST_NAME: Final = 200
MOST_REQUESTS: Final = 1_000_000
SHORTEST_LIFE: Final = timedelta(minutes=1)
LONGEST_LIFE: Final = timedelta(days=3650)
LONGEST_OVERLAP: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to make. It expires at a moment, or after a while, or (neither is given) never."""

    name: str
    scopes: Iterable[Scope] = OF_TENANTS
    expires_at: datetime | None = None
    lasts: timedelta | None = None
    requests_per_second: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class MadeKey:
    """A key that was just made: the only time that its text is told. `before` is the one that it replaces."""

    kept: ApiKey
    text: str
    before: ApiKey | None = None


@dataclass(frozen=True, slots=True, repr=False)
class KeyTerms:
    """The operator's: its own key, how long a rotated one goes on, how often a key may ask (0: no limit)."""

    operator_key: str | None = None
    overlap: timedelta = timedelta(hours=24)
    requests_per_second: int = 0


def checked_name(text: str) -> str:
    """What a key is called; raises Invalid."""
    with field("name"):
        return check_text(text, least=1, most=LONGEST_NAME)


def checked_scopes(given: Iterable[Scope]) -> frozenset[Scope]:
    """What a tenant's key may do; raises Invalid."""
    scopes = frozenset(given)
    if not scopes:
        raise Invalid("scopes", f"must be some of {', '.join(OF_TENANTS)}")
    if not scopes <= frozenset(OF_TENANTS):
        raise Invalid("scopes", f"{Scope.OPERATE} is for the operator's own key alone")
    return scopes


def checked_end(new: NewKey, *, now: datetime) -> datetime | None:
    """When it expires; raises Invalid, which names `expires_at` or `expires_in_seconds`."""
    if new.expires_at is not None and new.lasts is not None:
        raise Invalid("expires_in_seconds", "and expires_at exclude each other")
    if new.expires_at is not None:
        if not SHORTEST_LIFE <= new.expires_at - now <= LONGEST_LIFE:
            raise Invalid("expires_at", "must be from a minute to ten years from now")
        return new.expires_at
    if new.lasts is None:
        return None
    if not SHORTEST_LIFE <= new.lasts <= LONGEST_LIFE:
        raise Invalid("expires_in_seconds", "must be from a minute to ten years")
    return now + new.lasts


def checked_pace(requests_per_second: int | None) -> int | None:
    """How often it may ask; raises Invalid."""
    if requests_per_second is not None and not 1 <= requests_per_second <= MOST_REQUESTS:
        raise Invalid("requests_per_second", f"must be from 1 to {MOST_REQUESTS:,}")
    return requests_per_second


def checked_overlap(overlap: timedelta | None, terms: KeyTerms) -> timedelta:
    """How long a rotated key goes on beside the new one; raises Invalid."""
    if overlap is None:
        return terms.overlap
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise Invalid("overlap_hours", f"must be from 0 to {LONGEST_OVERLAP.days * 24} hours")
    return overlap


def succeeding_end(key: ApiKey, *, now: datetime) -> datetime | None:
    """When a key expires that takes the place of this one: it lasts as long as that one was made for."""
    return None if key.expires_at is None else now + (key.expires_at - key.created_at)
