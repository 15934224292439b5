"""While a rotation overlaps, the old secret and the new one are both live."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import (
    KeyRing,
    RingEntry,
    Secret,
    VerificationError,
    generate_ed25519,
    generate_hmac,
    sign,
    verify,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD = generate_hmac(b"o" * 32)
NEW = generate_hmac(b"n" * 32)
NEWER = generate_ed25519(b"N" * 32)
ROTATED = KeyRing.from_secret(OLD).rotate_to(NEW, now=NOW, overlap=DAY)


def accepted_with(secret: Secret, *, at: datetime) -> bool:
    """Whether a receiver who holds this secret accepts what the rotated ring signs at this moment."""
    signed = sign(ROTATED.get_live_secrets(at), message_id="evt_1", timestamp=at, body=b"{}")
    try:
        verify(signed.to_dict(), b"{}", secret, now=at)
    except VerificationError:
        return False
    return True


def test_a_single_secret_never_expires():
    assert KeyRing.from_secret(OLD).get_live_secrets(NOW + 10_000 * DAY) == (OLD,)


def test_an_empty_ring_has_no_live_secret():
    assert KeyRing(()).get_live_secrets(NOW) == ()


def test_the_newest_secret_comes_first():
    assert ROTATED.get_live_secrets(NOW) == (NEW, OLD)


def test_during_the_overlap_both_secrets_verify():
    assert accepted_with(OLD, at=NOW)
    assert accepted_with(NEW, at=NOW)


def test_until_the_overlaps_last_moment_both_secrets_verify():
    last = NOW + DAY - timedelta(microseconds=1)
    assert accepted_with(OLD, at=last)
    assert accepted_with(NEW, at=last)


def test_after_the_overlap_only_the_new_secret_verifies():
    assert not accepted_with(OLD, at=NOW + DAY)
    assert accepted_with(NEW, at=NOW + DAY)


def test_a_rotation_without_overlap_ends_the_old_secret_at_once():
    assert KeyRing.from_secret(OLD).rotate_to(NEW, now=NOW, overlap=timedelta(0)).get_live_secrets(NOW) == (
        NEW,
    )


def test_a_second_rotation_does_not_lengthen_the_first():
    twice = ROTATED.rotate_to(NEWER, now=NOW, overlap=7 * DAY)
    assert twice.get_live_secrets(NOW) == (NEWER, NEW, OLD)
    assert twice.get_live_secrets(NOW + 2 * DAY) == (NEWER, NEW)


def test_a_second_rotation_may_shorten_the_first():
    twice = ROTATED.rotate_to(NEWER, now=NOW, overlap=timedelta(hours=1))
    assert twice.get_live_secrets(NOW + timedelta(hours=1)) == (NEWER,)


def test_a_rotation_drops_expired_secrets():
    later = ROTATED.rotate_to(NEWER, now=NOW + 2 * DAY, overlap=DAY)
    assert later.entries == (RingEntry(NEWER), RingEntry(NEW, NOW + 3 * DAY))


def test_a_rotation_may_change_the_scheme():
    signed = sign(
        ROTATED.rotate_to(NEWER, now=NOW, overlap=DAY).get_live_secrets(NOW),
        message_id="m",
        timestamp=NOW,
        body=b"",
    )
    versions = [signature.partition(",")[0] for signature in signed.signature.split(" ")]
    assert versions == ["v1a", "v1", "v1"]


def test_a_ring_never_shows_its_keys():
    assert "o" * 32 not in repr(ROTATED)


@given(hours=st.integers(-100, 100), overlap=st.integers(0, 100))
def test_the_newest_secret_is_always_live(hours: int, overlap: int):
    ring = KeyRing.from_secret(OLD).rotate_to(NEW, now=NOW, overlap=timedelta(hours=overlap))
    live = ring.get_live_secrets(NOW + timedelta(hours=hours))
    assert live[0] == NEW
    assert (OLD in live) == (hours < overlap)


@pytest.mark.parametrize("secret", [OLD, NEW, NEWER])
def test_a_ring_may_hold_either_kind_of_secret(secret: Secret):
    assert KeyRing.from_secret(secret).get_live_secrets(NOW) == (secret,)
