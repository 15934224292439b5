"""Authentication on the command line: read from files and standard input, never from the arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from delivery.cli.options.auth import (
    AuthValue,
    CertificateValue,
    choose_auth,
    read_auth,
    read_basic,
    read_bearer,
    read_certificate,
)
from delivery.cli.runtime import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


OWN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
ISSUER = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----"
KEY = "-----BEGIN EC PRIVATE KEY-----\nCCCC\n-----END EC PRIVATE KEY-----"


def test_a_password_comes_from_a_file(tmp_path: Path):
    place = tmp_path / "password"
    place.write_text("pass: word\n")
    assert read_basic(f"ada:@{place}").value == {"kind": "basic", "user": "ada", "password": "pass: word"}


def test_a_token_comes_from_a_file(tmp_path: Path):
    place = tmp_path / "token"
    place.write_text("abc\r\n")
    assert read_bearer(f"@{place}").value == {"kind": "bearer", "token": "abc"}


def test_the_apis_own_json_comes_from_a_file(tmp_path: Path):
    place = tmp_path / "auth.json"
    place.write_text('{"kind": "oauth2", "client_id": "ada"}')
    assert read_auth(f"@{place}").value == {"kind": "oauth2", "client_id": "ada"}


def test_certificates_and_key_come_from_one_file_in_any_order(tmp_path: Path):
    place = tmp_path / "waybill.pem"
    place.write_text(f"{KEY}\nsubject=CN=waybill\n{OWN}\n{ISSUER}\n")
    assert read_certificate(f"@{place}").value == {"certificate": f"{OWN}\n{ISSUER}", "private_key": KEY}
    assert read_certificate("none") == CertificateValue(None)


@pytest.mark.parametrize("content", ["", OWN, f"{OWN}\n{KEY}\n{KEY}", "nonsense"])
def test_a_file_without_one_private_key_is_refused_and_not_repeated(tmp_path: Path, content: str):
    place = tmp_path / "waybill.pem"
    place.write_text(content)
    with pytest.raises(typer.BadParameter, match="one private key"):
        read_certificate(f"@{place}")


def test_none_takes_it_away():
    assert read_auth("none") == AuthValue(None)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_basic, "ada:s3cret"),
        (read_basic, "ada"),
        (read_basic, "ada:@/nowhere"),
        (read_bearer, "s3cret"),
        (read_auth, '{"kind": "bearer", "token": "s3cret"}'),
        (read_auth, "@/dev/null"),
    ],
)
def test_a_secret_in_the_arguments_is_refused_and_not_repeated(read: Callable[[str], AuthValue], text: str):
    with pytest.raises(typer.BadParameter) as refused:
        read(text)
    assert "s3cret" not in str(refused.value)


def test_two_at_once_are_refused():
    with pytest.raises(UsageError):
        choose_auth(None, AuthValue({}), AuthValue({}))
