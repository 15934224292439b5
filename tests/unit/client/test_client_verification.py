"""`Verifier` and `verify` against webhooks signed by the engine."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from signing import Ed25519Secret, HmacSecret, sign
from waybill_client import MalformedSecret, VerificationError, VerificationFailure, Verifier, verify

OLD, NEW = HmacSecret(b"o" * 32), HmacSecret(b"n" * 32)
PAIR = Ed25519Secret(b"p" * 32)
BODY = b'{"type":"order.created","data":1}'


def headers(*secrets: HmacSecret | Ed25519Secret, at: datetime | None = None) -> dict[str, str]:
    return sign(secrets or (NEW,), message_id="evt_1", timestamp=at or datetime.now(UTC), body=BODY).to_dict()


@pytest.mark.parametrize("key", [NEW.reveal(), PAIR.public.to_text()])
def test_a_signed_webhook_verifies(key: str):
    verified = verify(headers(NEW, PAIR), BODY, key)
    assert verified.message_id == "evt_1"
    assert datetime.now(UTC) - verified.timestamp < timedelta(minutes=1)


def test_either_secret_verifies_during_a_rotation():
    verifier = Verifier(OLD.reveal(), NEW.reveal())
    for secret in (OLD, NEW):
        assert verifier.verify(headers(secret), BODY).message_id == "evt_1"


def test_another_body_or_secret_does_not_verify():
    for key, body in ((NEW.reveal(), BODY + b" "), (OLD.reveal(), BODY)):
        with pytest.raises(VerificationError) as failed:
            verify(headers(), body, key)
        assert failed.value.reason is VerificationFailure.NO_MATCHING_SIGNATURE


def test_an_old_webhook_verifies_only_within_the_tolerance():
    old = headers(at=datetime.now(UTC) - timedelta(minutes=10))
    with pytest.raises(VerificationError) as failed:
        verify(old, BODY, NEW.reveal())
    assert failed.value.reason is VerificationFailure.TOO_OLD
    lenient = Verifier(NEW.reveal(), tolerance=timedelta(hours=1))
    assert lenient.verify(old, BODY).message_id == "evt_1"


@pytest.mark.parametrize("secrets", [(), ("whsec_short",), ("whpk_short",)])
def test_a_verifier_refuses_invalid_secrets(secrets: tuple[str, ...]):
    with pytest.raises(MalformedSecret):
        Verifier(*secrets)


def test_only_ed25519_needs_the_cryptography_package():
    program = (
        "import sys; sys.modules['cryptography'] = None; from waybill_client import Verifier; Verifier({!r})"
    )

    def run(key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program.format(key)], capture_output=True, text=True, check=False
        )

    assert run(NEW.reveal()).returncode == 0
    assert "pip install cryptography" in run(PAIR.public.to_text()).stderr.splitlines()[-1]
