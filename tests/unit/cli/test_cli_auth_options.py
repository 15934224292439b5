"""Authentication on the command line: read from files and standard input, never from the arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from delivery.cli.auth_options import Auth, NamedAuth, read_auth, read_basic, read_bearer
from delivery.cli.door import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_password_comes_from_a_file(tmp_path: Path):
    place = tmp_path / "password"
    place.write_text("pass: word\n")
    assert read_basic(f"ada:@{place}").asked == {"kind": "basic", "user": "ada", "password": "pass: word"}


def test_a_token_comes_from_a_file(tmp_path: Path):
    place = tmp_path / "token"
    place.write_text("abc\r\n")
    assert read_bearer(f"@{place}").asked == {"kind": "bearer", "token": "abc"}


def test_the_apis_own_json_comes_from_a_file(tmp_path: Path):
    place = tmp_path / "auth.json"
    place.write_text('{"kind": "oauth2", "client_id": "ada"}')
    assert read_auth(f"@{place}").asked == {"kind": "oauth2", "client_id": "ada"}


def test_none_takes_it_away():
    assert read_auth("none") == Auth(None)


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
def test_a_secret_in_the_arguments_is_refused_and_not_repeated(read: Callable[[str], Auth], text: str):
    with pytest.raises(typer.BadParameter) as refused:
        read(text)
    assert "s3cret" not in str(refused.value)


def test_two_at_once_are_refused():
    with pytest.raises(WrongUsage):
        _ = NamedAuth(basic=Auth({}), bearer=Auth({})).asked
