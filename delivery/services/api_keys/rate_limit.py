"""How often a key may ask. In memory, in each process by itself: n processes let through n times as much."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.token_bucket import ZERO, BucketRate, TokenBucket

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.api_key import ApiKey
    from delivery.domain.ids import KeyId

# Whoever has been forgotten begins anew with a full bucket: too kind rather than too strict.
MAX_KEYS: Final = 10_000
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """Where a key stands with its limit: so many a second, so many left now, whole again in so long.

    `wait` is how long until the next request is taken; nothing: this one was.
    """

    limit: int
    remaining: int
    reset_after: timedelta
    retry_after: timedelta

    def build_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """As header fields.

        In two forms, since clients read the one and the standard will be the other: `RateLimit-Limit`,
        `-Remaining` and `-Reset` are those of draft-ietf-httpapi-ratelimit-headers up to version 06;
        `RateLimit-Policy` and `RateLimit` are those of version 08 and later, with the policy named "key".
        """
        limit, remaining = b"%d" % self.limit, b"%d" % self.remaining
        reset = b"%d" % -(-self.reset_after // _SECOND)
        return (
            (b"ratelimit-limit", limit),
            (b"ratelimit-remaining", remaining),
            (b"ratelimit-reset", reset),
            (b"ratelimit-policy", b'"key";q=' + limit + b";w=1"),
            (b"ratelimit", b'"key";r=' + remaining + b";t=" + reset),
        )


class RateLimiter:
    """A bucket for each key that has a limit."""

    def __init__(self, requests_per_second: int) -> None:
        """Take how many each key may ask that has no limit of its own; 0: as many as it likes."""
        self._default_limit = requests_per_second
        self._buckets: dict[KeyId, TokenBucket] = {}

    def count_request(self, key: ApiKey, *, now: datetime) -> RateLimitState | None:
        """Count a request of this key; None: it has no limit."""
        limit = key.requests_per_second or self._default_limit
        if not limit:
            return None
        pace = BucketRate.from_requests_per_second(limit)
        bucket = self._buckets.get(key.id)
        bucket = TokenBucket.create_full(pace, now=now) if bucket is None else bucket.refill(pace, now=now)
        wait = bucket.compute_wait(pace)
        if wait == ZERO:
            bucket = bucket.take_one()
        if key.id not in self._buckets and len(self._buckets) >= MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key.id] = bucket
        return RateLimitState(limit, int(bucket.tokens), bucket.compute_time_to_full(pace), wait)
