"""Secrets at rest: they open in their place and under a key at hand, and nowhere else."""

from __future__ import annotations

import base64
import hashlib
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.errors import SecretUnreadable
from delivery.domain.secret_box import (
    SecretBox,
    SecretKeys,
    build_headers_context,
    build_secret_context,
    generate_key,
)

TENANT, OTHER_TENANT = UUID(int=1), UUID(int=2)
ENDPOINT, OTHER_ENDPOINT = UUID(int=3), UUID(int=4)
HERE = build_secret_context(TENANT, ENDPOINT)
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
BOX = SecretBox.from_keys(SecretKeys.parse(OLD))


@given(st.binary(max_size=200))
def test_what_is_sealed_opens_as_what_it_was(plain: bytes) -> None:
    sealed = BOX.seal(plain, context=HERE)
    assert BOX.open(sealed, context=HERE) == plain


def test_sealing_twice_gives_two_ciphertexts_and_neither_shows_the_secret() -> None:
    one, other = (BOX.seal(b"whsec_secret", context=HERE) for _ in range(2))
    assert one != other
    assert b"secret" not in one


@pytest.mark.parametrize(
    "elsewhere",
    [
        build_secret_context(OTHER_TENANT, ENDPOINT),
        build_secret_context(TENANT, OTHER_ENDPOINT),
        build_secret_context(ENDPOINT, TENANT),
        build_headers_context(TENANT, ENDPOINT),
        b"",
    ],
)
def test_a_ciphertext_that_was_moved_does_not_open(elsewhere: bytes) -> None:
    with pytest.raises(SecretUnreadable):
        BOX.open(BOX.seal(b"plain", context=HERE), context=elsewhere)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_changed_byte_prevents_decryption(position: int, change: int) -> None:
    sealed = bytearray(BOX.seal(b"a secret of some length", context=HERE))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(SecretUnreadable):
        BOX.open(bytes(sealed), context=HERE)


@given(st.binary(max_size=64), st.booleans())
def test_arbitrary_bytes_raise_only_the_documented_error(nonsense: bytes, marked: bool) -> None:  # noqa: FBT001  hypothesis gives it
    mark = BOX.seal(b"", context=HERE)[:4] if marked else b""
    with pytest.raises(SecretUnreadable):
        BOX.open(mark + nonsense, context=HERE)


def test_what_an_older_key_sealed_opens_while_that_key_is_at_hand() -> None:
    sealed = BOX.seal(b"plain", context=HERE)
    assert SecretBox.from_keys(SecretKeys.parse(f"{NEW}, {OLD}")).open(sealed, context=HERE) == b"plain"
    with pytest.raises(SecretUnreadable) as refused:
        SecretBox.from_keys(SecretKeys.parse(NEW)).open(sealed, context=HERE)
    assert refused.value.key_fingerprint == sealed[:4].hex()


def test_the_newest_key_seals() -> None:
    sealed = SecretBox.from_keys(SecretKeys.parse(f"{NEW},{OLD}")).seal(b"plain", context=HERE)
    assert SecretBox.from_keys(SecretKeys.parse(NEW)).open(sealed, context=HERE) == b"plain"


@pytest.mark.parametrize(
    ("keys", "position"),
    [
        ("", 1),
        ("nonsense", 1),
        (base64.b64encode(bytes(31)).decode(), 1),
        (base64.b64encode(bytes(33)).decode(), 1),
        (f"{OLD},", 2),
        (f"{OLD},***", 2),
        (f"{OLD};{NEW}", 1),
        ("é" * 44, 1),
    ],
)
def test_a_key_that_is_none_is_named_by_its_place_and_never_quoted(keys: str, position: int) -> None:
    with pytest.raises(ValueError, match=f"key {position} ") as refused:
        SecretKeys.parse(keys)
    assert OLD not in str(refused.value)


def test_a_generated_key_is_taken_and_no_two_are_the_same() -> None:
    one, other = generate_key(), generate_key()
    assert one != other
    SecretBox.from_keys(SecretKeys.parse(f"{one},{other}"))


def test_a_box_does_not_show_its_keys() -> None:
    assert OLD not in repr(BOX)
    assert repr(bytes([1]) * 32) not in repr(BOX)


def test_a_value_tells_which_key_it_needs_and_the_ids_tell_nothing_of_the_keys() -> None:
    box = SecretBox.from_keys(SecretKeys.parse(f"{NEW},{OLD}"))
    newest, older = box.key_ids
    assert box.read_key_id(box.seal(b"plain", context=HERE)) == newest
    assert box.read_key_id(BOX.seal(b"plain", context=HERE)) == older
    assert box.read_key_id(b"\0\0\0\0rest") == "00000000"
    assert not [one for one in box.key_ids if one in {OLD, NEW} or len(one) != 8]


@given(st.binary(max_size=200))
def test_resealing_wraps_the_data_key_anew_and_leaves_what_is_under_it(plain: bytes) -> None:
    both = SecretBox.from_keys(SecretKeys.parse(f"{NEW},{OLD}"))
    before = BOX.seal(plain, context=HERE)
    after = both.rewrap(before, context=HERE)
    assert after is not None
    assert SecretBox.from_keys(SecretKeys.parse(NEW)).open(after, context=HERE) == plain
    assert len(after) == len(before)
    assert after[64:] == before[64:]
    assert after[:64] != before[:64]
    assert both.rewrap(after, context=HERE) is None


def test_what_cannot_be_opened_is_not_resealed() -> None:
    both = SecretBox.from_keys(SecretKeys.parse(f"{NEW},{OLD}"))
    sealed = BOX.seal(b"plain", context=HERE)
    spoilt = sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:]
    for value, place in (
        (spoilt, HERE),
        (sealed, b"elsewhere"),
        (b"\0" * 100, HERE),
        (b"", HERE),
        (sealed[:30], HERE),
    ):
        with pytest.raises(SecretUnreadable):
            both.rewrap(value, context=place)


def sealed_before_data_keys(key: str, plain: bytes, context: bytes) -> bytes:
    """As releases did that knew none."""
    raw, nonce = base64.b64decode(key), b"n" * 12
    mark = hashlib.sha256(b"waybill key mark" + raw).digest()[:4]
    return mark + nonce + AESGCM(raw).encrypt(nonce, plain, context)


def test_a_value_from_before_data_keys_opens_and_gets_one_when_it_is_resealed() -> None:
    value = sealed_before_data_keys(OLD, b"plain", HERE)
    both = SecretBox.from_keys(SecretKeys.parse(f"{NEW},{OLD}"))
    assert BOX.open(value, context=HERE) == both.open(value, context=HERE) == b"plain"
    assert both.read_key_id(value) == both.key_ids[1]
    assert SecretBox.from_keys(SecretKeys.parse(OLD)).rewrap(value, context=HERE) is not None
    after = both.rewrap(value, context=HERE)
    assert after is not None
    assert SecretBox.from_keys(SecretKeys.parse(NEW)).open(after, context=HERE) == b"plain"
    with pytest.raises(SecretUnreadable):
        both.open(value, context=b"elsewhere")
