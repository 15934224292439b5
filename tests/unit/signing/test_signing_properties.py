"""Signed webhooks verify, and any other bytes raise only VerificationError."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import (
    Ed25519Secret,
    HmacSecret,
    Secret,
    VerificationError,
    Verified,
    generate_ed25519,
    generate_hmac,
    parse_public_key,
    sign,
    verify,
)

TIMESTAMP = 1614265330
NOW = datetime.fromtimestamp(TIMESTAMP, tz=UTC)
BODY = b'{"test": 2432232314}'
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
HMAC_TEXT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLIC_TEXT = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
HMAC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PAIR_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)
SHARED = generate_hmac(b"s" * 32)
PAIR = generate_ed25519(b"p" * 32)
MESSAGE_IDS = st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1
)
VALUES = st.text() | st.binary() | st.text(st.characters(codec="ascii"))
SIGNATURES = (
    VALUES
    | st.binary(max_size=70).map(lambda raw: b"v1a," + base64.b64encode(raw))
    | st.binary(max_size=40).map(lambda raw: b"v1," + base64.b64encode(raw))
    | st.binary().map(lambda raw: b"v1a," + raw)
)


def with_a_bit_flipped(whole: bytes, place: int) -> bytes:
    byte, bit = divmod(place, 8)
    return whole[:byte] + bytes([whole[byte] ^ 1 << bit]) + whole[byte + 1 :]


@given(
    message_id=MESSAGE_IDS,
    timestamp=st.integers(0, 99_999_999_999),
    body=st.binary(),
    shared=st.binary(min_size=24, max_size=64),
    seed=st.binary(min_size=32, max_size=32),
)
def test_signed_webhooks_verify(message_id: str, timestamp: int, body: bytes, shared: bytes, seed: bytes):
    pair = Ed25519Secret(seed)
    secrets: list[Secret] = [HmacSecret(shared), pair]
    moment = datetime.fromtimestamp(timestamp, tz=UTC)
    signed = sign(secrets, message_id=message_id, timestamp=timestamp, body=body)
    for key in (secrets[0].reveal(), pair.public.to_text(), secrets):
        assert verify(signed.to_dict(), body, key, now=moment) == Verified(message_id, moment)


@given(
    secret=st.sampled_from([SHARED, PAIR]),
    part=st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "body"]),
    body=st.binary(min_size=1),
    place=st.integers(0, 1 << 20),
)
def test_any_flipped_bit_is_detected(secret: Secret, part: str, body: bytes, place: int):
    signed = sign([secret], message_id="evt_01kawt", timestamp=TIMESTAMP, body=body).to_dict()
    sent = {name: value.encode() for name, value in signed.items()} | {"body": body}
    sent[part] = with_a_bit_flipped(sent[part], place % (8 * len(sent[part])))
    with pytest.raises(VerificationError):
        verify(sent, sent["body"], secret, now=NOW)


@pytest.mark.parametrize(("signature", "key"), [(HMAC_SIGNATURE, HMAC_TEXT), (PAIR_SIGNATURE, PUBLIC_TEXT)])
@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "webhook-signature", "body"])
def test_each_bit_of_the_published_vectors_counts(signature: str, key: str, part: str):
    signed = {
        "webhook-id": MESSAGE_ID.encode(),
        "webhook-timestamp": str(TIMESTAMP).encode(),
        "webhook-signature": signature.encode(),
        "body": BODY,
    }
    for place in range(8 * len(signed[part])):
        sent = signed | {part: with_a_bit_flipped(signed[part], place)}
        with pytest.raises(VerificationError):
            verify(sent, sent["body"], key, now=NOW)


@given(
    message_id=VALUES | MESSAGE_IDS,
    timestamp=VALUES | st.just(str(TIMESTAMP)),
    signature=SIGNATURES,
    others=st.dictionaries(st.text(), VALUES),
    body=st.binary(),
)
def test_arbitrary_requests_raise_only_verification_errors(
    message_id: str | bytes,
    timestamp: str | bytes,
    signature: str | bytes,
    others: dict[str, str | bytes],
    body: bytes,
):
    sent = others | {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    with pytest.raises(VerificationError):
        verify(sent, body, [SHARED, PAIR, parse_public_key(PUBLIC_TEXT)], now=NOW)


@given(
    st.dictionaries(st.sampled_from(["Webhook-Id", "webhook-id", "WEBHOOK-TIMESTAMP"]) | st.text(), VALUES)
)
def test_arbitrary_headers_raise_only_verification_errors(sent: dict[str, str | bytes]):
    with pytest.raises(VerificationError):
        verify(sent, BODY, [SHARED, PAIR], now=NOW)
