"""The specification's own Python library agrees with us, as receiver and as sender.

It reads the clock itself, so these tests sign at the present moment; and it takes text, not bytes.
"""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from signing import HmacSecret, KeyRing, VerificationError, generate_ed25519, generate_hmac, sign, verify

SECRETS = st.binary(min_size=24, max_size=64).map(HmacSecret)
BODIES = st.text(st.characters(codec="utf-8"))
MESSAGE_IDS = st.from_regex(r"\A[a-z]{2,5}_[0-9a-z]{1,26}\Z")
OLD = generate_hmac(b"o" * 32)
NEW = generate_hmac(b"n" * 32)


def present() -> datetime:
    return datetime.now(tz=UTC)


@given(secret=SECRETS, message_id=MESSAGE_IDS, body=BODIES)
def test_the_library_accepts_what_we_sign(secret: HmacSecret, message_id: str, body: str):
    signed = sign([secret], message_id=message_id, timestamp=present(), body=body.encode())
    Webhook(secret.reveal()).verify(body.encode(), signed.to_dict(), json_parse=False)


@given(secret=SECRETS, message_id=MESSAGE_IDS, body=BODIES)
def test_we_accept_what_the_library_signs(secret: HmacSecret, message_id: str, body: str):
    now = present()
    sent = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret.reveal()).sign(message_id, now, body),
    }
    assert verify(sent, body.encode(), secret.reveal(), now=now).message_id == message_id


def test_the_library_accepts_both_secrets_of_a_rotation():
    now = present()
    ring = KeyRing.from_secret(OLD).rotate_to(NEW, now=now, overlap=timedelta(days=1))
    sent = sign(ring.get_live_secrets(now), message_id="evt_1", timestamp=now, body=b"{}").to_dict()
    for secret in (OLD, NEW):
        assert Webhook(secret.reveal()).verify(b"{}", sent) == {}


def test_the_library_finds_its_signature_beside_one_of_the_other_scheme():
    sent = sign([generate_ed25519(bytes(32)), NEW], message_id="evt_1", timestamp=present(), body=b"{}")
    assert Webhook(NEW.reveal()).verify(b"{}", sent.to_dict()) == {}


def test_the_library_and_we_refuse_the_same_forgery():
    now = present()
    sent = sign([OLD], message_id="evt_1", timestamp=now, body=b"{}").to_dict()
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW.reveal()).verify(b"{}", sent)
    with pytest.raises(VerificationError):
        verify(sent, b"{}", NEW, now=now)
