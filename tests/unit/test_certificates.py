"""Client certificates: read, written in one form, shown without the key; nonsense is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from delivery.destinations.http.client_certificate import (
    MAX_PEM_CHARS,
    BadCertificate,
    decode_identity,
    describe_identity,
    encode_identity,
    parse_identity,
)
from tests.support.receivers import CertificateAuthority

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
AUTHORITY = CertificateAuthority()
CHAIN, KEY = AUTHORITY.make_client_certificate("waybill", until=NOW + timedelta(days=90))


def pem(key: rsa.RSAPrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


SHORT_RSA = pem(rsa.generate_private_key(65_537, 1_024))  # noqa: S505  what is refused
SOME_DSA = pem(dsa.generate_private_key(1_024))  # noqa: S505  what is refused


def test_a_certificate_is_shown_without_its_key():
    shown = describe_identity(parse_identity(CHAIN, KEY, now=NOW))
    assert shown["not_after"] == "2027-02-24T12:00:00.000Z"
    assert "CN=waybill" in shown["subject"]
    assert len(shown["sha256"]) == 64
    assert shown.keys() == {"subject", "issuer", "serial_number", "sha256", "not_before", "not_after"}


def test_text_around_a_certificate_is_ignored():
    around = f"subject=/CN=waybill\n{CHAIN}\n\n"
    assert parse_identity(around, f"\n{KEY}\n", now=NOW) == parse_identity(CHAIN, KEY, now=NOW)


def test_it_is_written_and_read_back_and_its_key_is_not_in_its_repr():
    identity = parse_identity(CHAIN, KEY, now=NOW)
    assert decode_identity(encode_identity(identity)) == identity
    assert "BEGIN" not in repr(identity)


@pytest.mark.parametrize(
    ("certificate", "private_key", "field"),
    [
        ("", KEY, "certificate"),
        ("nonsense", KEY, "certificate"),
        (KEY, KEY, "certificate"),
        ("x" * (MAX_PEM_CHARS + 1), KEY, "certificate"),
        ("ü", KEY, "certificate"),
        (CHAIN * 11, KEY, "certificate"),
        (CHAIN.replace("M", "N", 3), KEY, "certificate"),
        (CHAIN, "", "private_key"),
        (CHAIN, CHAIN, "private_key"),
        (CHAIN, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private_key"),
        (CHAIN, AUTHORITY.make_client_certificate("another")[1], "private_key"),
        (CHAIN, SHORT_RSA, "private_key"),
        (CHAIN, SOME_DSA, "private_key"),
        (CHAIN, pem(ed25519.Ed25519PrivateKey.generate()), "private_key"),
    ],
)
def test_nonsense_is_refused_with_its_field(certificate: str, private_key: str, field: str):
    with pytest.raises(BadCertificate) as refused:
        parse_identity(certificate, private_key, now=NOW)
    assert refused.value.field == field
    assert "BEGIN" not in refused.value.why


def test_an_encrypted_key_is_refused_for_being_encrypted():
    key = ed25519.Ed25519PrivateKey.generate()
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(BadCertificate, match="encrypted"):
        parse_identity(CHAIN, sealed.decode(), now=NOW)


def test_a_certificate_that_has_ended_is_refused():
    with pytest.raises(BadCertificate, match="ended at 2027-02-24"):
        parse_identity(CHAIN, KEY, now=NOW + timedelta(days=90))


@given(certificate=st.text(max_size=300), private_key=st.text(max_size=300))
def test_any_text_is_read_or_refused(certificate: str, private_key: str):
    with pytest.raises(BadCertificate):
        parse_identity(certificate, private_key, now=NOW)


@given(position=st.integers(30, len(CHAIN) - 40), letter=st.sampled_from("AZaz09+/=-\n "))
def test_a_damaged_certificate_is_read_or_refused(position: int, letter: str):
    damaged = CHAIN[:position] + letter + CHAIN[position + 1 :]
    try:
        read = parse_identity(damaged, KEY, now=NOW)
    except BadCertificate:
        return
    assert describe_identity(read).keys() == describe_identity(parse_identity(CHAIN, KEY, now=NOW)).keys()
