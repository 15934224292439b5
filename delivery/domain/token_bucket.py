"""A token bucket as a value: a burst at once, then a steady rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

ZERO: Final = timedelta(0)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class BucketRate:
    """A full bucket holds `burst` tokens and gains `per_second`."""

    per_second: float
    burst: float

    @classmethod
    def from_requests_per_second(cls, per_second: int) -> BucketRate:
        """This many a second, of which one second's worth may come at once."""
        return cls(per_second, per_second)


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """The tokens left at a moment; below zero, more were taken than there were."""

    tokens: float
    updated_at: datetime

    @classmethod
    def create_full(cls, rate: BucketRate, *, now: datetime) -> TokenBucket:
        """A full bucket."""
        return cls(rate.burst, now)

    def refill(self, rate: BucketRate, *, now: datetime) -> TokenBucket:
        """The bucket at a later moment. A clock that was set back adds and removes nothing."""
        gained = max(0.0, (now - self.updated_at) / _SECOND) * rate.per_second
        return TokenBucket(min(rate.burst, self.tokens + gained), now)

    def take_one(self, *, min_tokens: float = 0) -> TokenBucket:
        """The bucket after a token was taken, with `min_tokens` left at least."""
        return TokenBucket(max(min_tokens, self.tokens - 1), self.updated_at)

    def compute_wait(self, rate: BucketRate) -> timedelta:
        """How long until a token may be taken; zero: now."""
        return ZERO if self.tokens >= 1 else (1 - self.tokens) / rate.per_second * _SECOND

    def compute_time_to_full(self, rate: BucketRate) -> timedelta:
        """How long until the bucket is full."""
        return max(0.0, rate.burst - self.tokens) / rate.per_second * _SECOND
