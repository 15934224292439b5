"""Only recent, unmodified webhooks signed with the key verify; anything else raises VerificationError."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from signing import (
    HmacSecret,
    MalformedSecret,
    PublicKey,
    Secret,
    VerificationError,
    VerificationFailure,
    Verified,
    generate_ed25519,
    generate_hmac,
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
GENUINE = Verified(MESSAGE_ID, NOW)

SHARED = generate_hmac(b"s" * 32)
PAIR = generate_ed25519(b"p" * 32)
STRANGER = generate_hmac(b"x" * 32)


def headers(
    message_id: str | bytes = MESSAGE_ID,
    timestamp: str | bytes = str(TIMESTAMP),
    signature: str | bytes = HMAC_SIGNATURE,
) -> dict[str, str | bytes]:
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def flaw_of(
    given_headers: Mapping[str, str | bytes],
    *,
    body: bytes = BODY,
    secrets: str | Secret | PublicKey = HMAC_TEXT,
    now: datetime = NOW,
) -> VerificationFailure:
    with pytest.raises(VerificationError) as caught:
        verify(given_headers, body, secrets, now=now)
    return caught.value.reason


# ------------------------------------------------------------------ the genuine one
def test_the_published_v1_vector_is_verified():
    assert verify(headers(), BODY, HMAC_TEXT, now=NOW) == GENUINE


def test_the_published_v1a_vector_is_verified():
    assert verify(headers(signature=PAIR_SIGNATURE), BODY, PUBLIC_TEXT, now=NOW) == GENUINE


def test_header_names_are_found_in_any_case():
    shouted = {name.upper(): value for name, value in headers().items()}
    assert verify(shouted, BODY, HMAC_TEXT, now=NOW) == GENUINE


def test_header_values_may_be_bytes():
    raw = headers(MESSAGE_ID.encode(), str(TIMESTAMP).encode(), HMAC_SIGNATURE.encode())
    assert verify(raw, BODY, HMAC_TEXT, now=NOW) == GENUINE


def test_other_headers_do_not_matter():
    assert (
        verify(headers() | {"content-type": "text/plain", "x": b"\xff"}, BODY, HMAC_TEXT, now=NOW) == GENUINE
    )


def test_one_matching_signature_among_several_is_enough():
    several = f"v1,AAAA v2,BBBB v1a, garbage {HMAC_SIGNATURE} {PAIR_SIGNATURE}"
    assert verify(headers(signature=several), BODY, HMAC_TEXT, now=NOW) == GENUINE
    assert verify(headers(signature=several), BODY, PUBLIC_TEXT, now=NOW) == GENUINE


def test_one_matching_key_among_several_is_enough():
    assert verify(headers(), BODY, [STRANGER, PUBLIC_TEXT, HMAC_TEXT], now=NOW) == GENUINE


def test_keys_may_come_one_by_one():
    keys: list[str | Secret] = [STRANGER, HMAC_TEXT]
    assert verify(headers(), BODY, iter(keys), now=NOW) == GENUINE


@pytest.mark.parametrize("key", [PAIR, PAIR.public, PAIR.public.to_text(), PAIR.reveal()])
def test_a_pair_verifies_by_either_half(key: str | Secret | PublicKey):
    signed = sign([PAIR], message_id="m", timestamp=NOW, body=BODY)
    assert verify(signed.to_dict(), BODY, key, now=NOW) == Verified("m", NOW)


# ------------------------------------------------------------------ time
@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_five_minutes_either_way_are_tolerated(seconds: int):
    assert verify(headers(), BODY, HMAC_TEXT, now=NOW + timedelta(seconds=seconds)) == GENUINE


def test_more_than_five_minutes_ago_is_too_old():
    assert flaw_of(headers(), now=NOW + timedelta(seconds=300, milliseconds=1)) is VerificationFailure.TOO_OLD


def test_more_than_five_minutes_ahead_is_too_new():
    assert flaw_of(headers(), now=NOW - timedelta(seconds=300, milliseconds=1)) is VerificationFailure.TOO_NEW


def test_the_receiver_may_tolerate_more():
    late = NOW + timedelta(hours=1)
    assert verify(headers(), BODY, HMAC_TEXT, now=late, tolerance=timedelta(hours=1)) == GENUINE


def test_now_is_the_same_in_every_time_zone():
    assert (
        verify(headers(), BODY, HMAC_TEXT, now=datetime.fromisoformat("2021-02-25T17:02:10+02:00")) == GENUINE
    )


@pytest.mark.parametrize(
    "timestamp",
    [
        "x",
        "-1614265330",
        "+1614265330",
        " 1614265330",
        "1614265330 ",
        "1614265330.0",
        "1_614_265_330",
        "9" * 5000,
        "\uff11\uff12\uff13",
        "1614265330\n",
        "0x60",
        "1e9",
        b"\xff",
    ],
)
def test_a_timestamp_that_is_not_a_whole_number_is_malformed(timestamp: str | bytes):
    assert flaw_of(headers(timestamp=timestamp)) is VerificationFailure.MALFORMED_HEADER


def test_a_timestamp_is_verified_as_written():
    assert flaw_of(headers(timestamp="01614265330")) is VerificationFailure.NO_MATCHING_SIGNATURE


# ------------------------------------------------------------------ what is not to be trusted
@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_reported(name: str):
    assert (
        flaw_of({key: value for key, value in headers().items() if key != name})
        is VerificationFailure.MISSING_HEADER
    )


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_header_is_missing(name: str, empty: str | bytes):
    assert flaw_of(headers() | {name: empty}) is VerificationFailure.MISSING_HEADER


@pytest.mark.parametrize("message_id", ["a.b", "a b", "é", b"\xff", "\udc80", "a\n", "\x00"])
def test_an_ambiguous_message_id_is_malformed(message_id: str | bytes):
    assert flaw_of(headers(message_id)) is VerificationFailure.MALFORMED_HEADER


def test_no_part_of_a_signed_webhook_can_pass_for_another():
    genuine = sign([SHARED], message_id="m", timestamp=TIMESTAMP, body=b"1614265330.{}")
    forged = headers("m.1614265330", "1614265330", genuine.signature)
    assert flaw_of(forged, body=b"{}", secrets=SHARED) is VerificationFailure.MALFORMED_HEADER


@pytest.mark.parametrize(
    "signature",
    [
        "v1",
        "v1,",
        "v1a,",
        ",",
        " ",
        "v1," + "A" * 43 + "=",
        HMAC_SIGNATURE.replace("v1,", "v2,"),
        HMAC_SIGNATURE.replace("v1,", "v1a,"),
        HMAC_SIGNATURE.replace("v1,", "V1,"),
        HMAC_SIGNATURE.removeprefix("v1,"),
        HMAC_SIGNATURE.rstrip("="),
        HMAC_SIGNATURE + "=",
        HMAC_SIGNATURE + "\n",
        HMAC_SIGNATURE + ",v1",
        PAIR_SIGNATURE,
        "v1a,%%%",
        "v1,\x00",
    ],
)
def test_a_signature_that_does_not_match_is_not_trusted(signature: str):
    assert flaw_of(headers(signature=signature)) is VerificationFailure.NO_MATCHING_SIGNATURE


@pytest.mark.parametrize(
    "signature",
    [
        PAIR_SIGNATURE.replace("v1a,", "v1,"),
        PAIR_SIGNATURE.removeprefix("v1a,"),
        "v1a," + PAIR_SIGNATURE,
        PAIR_SIGNATURE[:-2],
        PAIR_SIGNATURE + "=",
        PAIR_SIGNATURE.replace("Ag==", "Ah=="),
        "v1a," + base64.b64encode(bytes(64)).decode(),
        "v1a," + base64.b64encode(bytes(63)).decode(),
        HMAC_SIGNATURE,
    ],
)
def test_a_v1a_signature_that_does_not_match_is_not_trusted(signature: str):
    assert (
        flaw_of(headers(signature=signature), secrets=PUBLIC_TEXT)
        is VerificationFailure.NO_MATCHING_SIGNATURE
    )


def test_a_public_key_used_as_a_shared_secret_forges_nothing():
    """The key is public, so a signature that anyone can make with it must not pass for the pair's."""
    forged = sign([HmacSecret(PAIR.public.raw)], message_id="m", timestamp=NOW, body=BODY)
    assert flaw_of(forged.to_dict(), secrets=PAIR.public) is VerificationFailure.NO_MATCHING_SIGNATURE


def test_another_key_does_not_match():
    assert flaw_of(headers(), secrets=STRANGER) is VerificationFailure.NO_MATCHING_SIGNATURE


def test_a_signature_that_is_not_ascii_is_malformed():
    assert flaw_of(headers(signature="v1,é")) is VerificationFailure.MALFORMED_HEADER


def test_a_header_with_too_many_signatures_is_malformed():
    assert (
        flaw_of(headers(signature=" ".join([HMAC_SIGNATURE] * 1000))) is VerificationFailure.MALFORMED_HEADER
    )


@pytest.mark.parametrize("flaw", VerificationFailure)
def test_every_failure_reads_as_a_sentence(flaw: VerificationFailure):
    assert str(VerificationError(flaw)).endswith(".")


# ------------------------------------------------------------------ the receiver's own mistakes
@pytest.mark.parametrize("secrets", ["", "whsec_short", "whpk_" + "A" * 40, [HMAC_TEXT, "whsk_"], []])
def test_a_malformed_key_is_the_receivers_own_mistake(secrets: str | list[str]):
    with pytest.raises(MalformedSecret):
        verify(headers(), BODY, secrets, now=NOW)


def test_a_now_without_a_time_zone_is_the_receivers_own_mistake():
    naive = datetime(2021, 2, 25)  # noqa: DTZ001  the mistake that is to be caught
    with pytest.raises(ValueError, match="time zone"):
        verify(headers(), BODY, HMAC_TEXT, now=naive)
