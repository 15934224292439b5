"""Requests per second of an API key. In memory, per process: n processes allow n times as many."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.single_flight import BoundedDict
from delivery.domain.token_bucket import ZERO, BucketRate, TokenBucket

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.api_key import ApiKey
    from delivery.domain.ids import KeyId

# A key that was dropped starts again with a full bucket: too generous rather than too strict.
MAX_KEYS: Final = 10_000
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """Limit per second, remaining requests, and the time until the bucket is full.

    `retry_after` is how long until the next request is allowed; zero: this one was.
    """

    limit: int
    remaining: int
    reset_after: timedelta
    retry_after: timedelta

    def build_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The response headers, in the form that clients read and in the form of the coming standard.

        `RateLimit-Limit`, `-Remaining` and `-Reset` are those of draft-ietf-httpapi-ratelimit-headers up to
        version 06; `RateLimit-Policy` and `RateLimit` are those of version 08 and later, with a policy "key".
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
    """A token bucket for each key that has a limit."""

    def __init__(self, requests_per_second: int) -> None:
        """`requests_per_second` applies to keys without a limit of their own; 0: no limit."""
        self._default_limit = requests_per_second
        self._buckets: BoundedDict[KeyId, TokenBucket] = BoundedDict(MAX_KEYS)

    def count_request(self, key: ApiKey, *, now: datetime) -> RateLimitState | None:
        """Count a request of this key; None: the key has no limit."""
        limit = key.requests_per_second or self._default_limit
        if not limit:
            return None
        rate = BucketRate.from_requests_per_second(limit)
        bucket = self._buckets.get(key.id) or TokenBucket.create_full(rate, now=now)
        bucket = bucket.refill(rate, now=now)
        wait = bucket.compute_wait(rate)
        if wait == ZERO:
            bucket = bucket.take_one()
        self._buckets[key.id] = bucket
        return RateLimitState(limit, int(bucket.tokens), bucket.compute_time_to_full(rate), wait)
