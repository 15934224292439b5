"""Each key has a limit of its own, and hears where it stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from delivery.domain.ids import KeyId, new_id
from delivery.services.api_keys import rate_limit
from delivery.services.api_keys.rate_limit import RateLimiter, RateLimitState
from tests.unit.cli.records import KEY

NOW = datetime(2026, 11, 26, tzinfo=UTC)
NOTHING = timedelta(0)


def test_without_a_limit_nothing_is_counted() -> None:
    assert RateLimiter(0).count_request(KEY, now=NOW) is None


def test_requests_above_the_limit_get_the_wait() -> None:
    kept = RateLimiter(2)
    standings = [kept.count_request(KEY, now=NOW) for _ in range(3)]
    assert standings == [
        RateLimitState(2, 1, timedelta(seconds=0.5), NOTHING),
        RateLimitState(2, 0, timedelta(seconds=1), NOTHING),
        RateLimitState(2, 0, timedelta(seconds=1), timedelta(seconds=0.5)),
    ]
    later = kept.count_request(KEY, now=NOW + timedelta(seconds=0.5))
    assert later is not None
    assert later.retry_after == NOTHING


def test_refused_requests_do_not_count() -> None:
    kept = RateLimiter(1)
    for _ in range(100):
        kept.count_request(KEY, now=NOW)
    later = kept.count_request(KEY, now=NOW + timedelta(seconds=1))
    assert later is not None
    assert later.retry_after == NOTHING


def test_the_key_s_own_limit_overrides_the_default() -> None:
    own = replace(KEY, requests_per_second=7)
    for others in (0, 1, 100):
        standing = RateLimiter(others).count_request(own, now=NOW)
        assert standing is not None
        assert (standing.limit, standing.remaining) == (7, 6)


def test_keys_have_separate_buckets() -> None:
    kept, other = RateLimiter(1), replace(KEY, id=KeyId(new_id()))
    kept.count_request(KEY, now=NOW)
    standing = kept.count_request(other, now=NOW)
    assert standing is not None
    assert standing.retry_after == NOTHING


def test_memory_is_bounded() -> None:
    kept = RateLimiter(1)
    for _ in range(rate_limit.MAX_KEYS + 100):
        kept.count_request(replace(KEY, id=KeyId(new_id())), now=NOW)
    assert len(kept._buckets) == rate_limit.MAX_KEYS  # noqa: SLF001  what is kept is the fact


def test_rate_limit_headers_have_both_forms() -> None:
    told = dict(RateLimitState(100, 40, timedelta(seconds=0.6), NOTHING).build_headers())
    assert told == {
        b"ratelimit-limit": b"100",
        b"ratelimit-remaining": b"40",
        b"ratelimit-reset": b"1",
        b"ratelimit-policy": b'"key";q=100;w=1',
        b"ratelimit": b'"key";r=40;t=1',
    }
