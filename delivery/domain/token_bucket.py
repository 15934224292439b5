"""A token bucket as a value: so many at once, and so many a second after that. Pure."""

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
    """`burst` at once after a rest, `per_second` from then on."""

    per_second: float
    burst: float

    @classmethod
    def from_requests_per_second(cls, per_second: int) -> BucketRate:
        """So many a second, of which a second's worth may come at once."""
        return cls(per_second, per_second)


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """How many are left, as of this moment. Below nought: more came than there were."""

    tokens: float
    updated_at: datetime

    @classmethod
    def create_full(cls, rate: BucketRate, *, now: datetime) -> TokenBucket:
        """One that nothing was taken from."""
        return cls(rate.burst, now)

    def refill(self, rate: BucketRate, *, now: datetime) -> TokenBucket:
        """The same one now. A clock that was set back adds nothing, and takes nothing away."""
        gained = max(0.0, (now - self.updated_at) / _SECOND) * rate.per_second
        return TokenBucket(min(rate.burst, self.tokens + gained), now)

    def take_one(self, *, min_tokens: float = 0) -> TokenBucket:
        """After one was taken; it never owes more than `least`."""
        return TokenBucket(max(min_tokens, self.tokens - 1), self.updated_at)

    def compute_wait(self, rate: BucketRate) -> timedelta:
        """How long until one may be taken; nothing: now."""
        return ZERO if self.tokens >= 1 else (1 - self.tokens) / rate.per_second * _SECOND

    def compute_time_to_full(self, rate: BucketRate) -> timedelta:
        """How long until it is as if nothing had been taken."""
        return max(0.0, rate.burst - self.tokens) / rate.per_second * _SECOND
