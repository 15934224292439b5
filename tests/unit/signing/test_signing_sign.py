"""Signatures and headers match the published vectors."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import Secret, generate_ed25519, generate_hmac, parse_secret, sign

MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'

# The vector of the Standard Webhooks reference libraries.
HMAC = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
HMAC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

# The vector of Svix's server (svix/svix-webhooks, server/svix-server/src/worker.rs,
# `test_asymmetric_key_signing`); its signature is also the example of the Standard Webhooks specification.
PAIR = parse_secret(
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
PAIR_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)


def test_v1_gives_the_published_signature():
    signed = sign([HMAC], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)
    assert signed.signature == HMAC_SIGNATURE


def test_v1a_gives_the_published_signature():
    signed = sign([PAIR], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)
    assert signed.signature == PAIR_SIGNATURE


def test_each_live_secret_signs_separated_by_spaces():
    signed = sign([PAIR, HMAC], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)
    assert signed.signature == f"{PAIR_SIGNATURE} {HMAC_SIGNATURE}"


def test_signing_key_ids_are_in_the_same_order():
    signed = sign([PAIR, HMAC], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)
    assert signed.key_ids == (PAIR.key_id, HMAC.key_id)


def test_the_three_headers_have_standard_names():
    assert sign([HMAC], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY).to_dict() == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": HMAC_SIGNATURE,
    }


def test_timestamps_are_signed_in_whole_seconds():
    moment = datetime.fromtimestamp(TIMESTAMP, tz=UTC) + timedelta(milliseconds=999)
    assert sign([HMAC], message_id=MESSAGE_ID, timestamp=moment, body=BODY).signature == HMAC_SIGNATURE


def test_time_zones_do_not_change_the_signature():
    moment = datetime.fromtimestamp(TIMESTAMP, tz=timezone(timedelta(hours=5, minutes=30)))
    assert sign([HMAC], message_id=MESSAGE_ID, timestamp=moment, body=BODY).signature == HMAC_SIGNATURE


def test_a_naive_timestamp_is_refused():
    naive = datetime(2026, 11, 22)  # noqa: DTZ001  the mistake that is to be caught
    with pytest.raises(ValueError, match="time zone"):
        sign([HMAC], message_id=MESSAGE_ID, timestamp=naive, body=BODY)


@pytest.mark.parametrize("timestamp", [-1, datetime(1969, 12, 31, tzinfo=UTC)])
def test_a_timestamp_before_1970_is_refused(timestamp: int | datetime):
    with pytest.raises(ValueError, match="since 1970"):
        sign([HMAC], message_id=MESSAGE_ID, timestamp=timestamp, body=BODY)


def test_a_webhook_that_nobody_signs_is_a_mistake():
    with pytest.raises(ValueError, match="one secret at least"):
        sign([], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)


@pytest.mark.parametrize(
    "message_id", ["", "a.b", ".", "a b", "a\r\nx: y", "a\n", "\x00", "\x7f", "é", "\udc80"]
)
def test_a_message_id_that_could_be_misread_is_a_mistake(message_id: str):
    with pytest.raises(ValueError, match="full stop"):
        sign([HMAC], message_id=message_id, timestamp=TIMESTAMP, body=BODY)


@given(st.binary())
def test_a_body_of_any_bytes_is_signed(body: bytes):
    signed = sign([HMAC, PAIR], message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=body)
    assert len(signed.signature.split(" ")) == 2


@given(st.binary(), st.binary())
def test_different_bodies_have_different_signatures(item: bytes, other: bytes):
    first, second = (
        sign([HMAC], message_id="m", timestamp=TIMESTAMP, body=body).signature for body in (item, other)
    )
    assert (first == second) == (item == other)


@given(st.binary(min_size=32, max_size=32))
def test_signed_headers_never_show_the_keys(random_bytes: bytes):
    shared = generate_hmac(random_bytes)
    secrets: list[Secret] = [shared, generate_ed25519(random_bytes)]
    signed = sign(secrets, message_id=MESSAGE_ID, timestamp=TIMESTAMP, body=BODY)
    assert shared.reveal()[6:] not in repr(signed)
    assert random_bytes.hex() not in repr(signed)
