"""What may be a password, an address, a name; and what a form carries."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.errors import Invalid
from delivery.domain.tokens import (
    LINK_PREFIX,
    SESSION_PREFIX,
    derive_csrf_token,
    generate_token,
    is_csrf_token_valid,
    is_well_formed_token,
)
from delivery.services.accounts.email_addresses import check_display_name, check_email
from delivery.services.accounts.passwords import PasswordService, check_password
from tests.support.accounts import FAST_HASHER, PASSWORD, WRONG_PASSWORD

TOKEN = generate_token(SESSION_PREFIX, lambda count: b"x" * count)


@pytest.mark.parametrize(
    "password",
    ["", "eleven char", "x" * 201, " " * 12, "Jane.Doe@Example.com", "ÿ" * 12 + "\0", "\ud800" * 12],
)
def test_invalid_passwords_are_refused(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_password(password, email="jane.doe@example.com")
    assert refused.value.field == "password"


@pytest.mark.parametrize("password", ["twelve chars", "x" * 200, "пароль пароль"])
def test_any_other_text_of_twelve_to_two_hundred_characters_is_a_password(password: str) -> None:
    assert check_password(password, email="jane.doe@example.com") == password


@pytest.mark.parametrize("email", ["jane@example.com", "admin@localhost", "j+d@sub.example", "ü@ü.example"])
def test_email_addresses_are_stored_in_lower_case(email: str) -> None:
    assert check_email(f" {email.upper()} ") == email


@pytest.mark.parametrize(
    "email", ["", "jane", "@b", "a@", "a@b@c", "a b@c", "<a@b>", "a@b,c@d", "a\x1b@b", "a" * 254 + "@b"]
)  # fmt: skip
def test_invalid_email_addresses_are_refused(email: str) -> None:
    with pytest.raises(Invalid):
        check_email(email)


@pytest.mark.parametrize("name", ["", "  ", "Jane <root@example.com>", "a\nb", "a\u202eb", "x" * 101])
def test_a_name_cannot_imitate_another_user_in_the_audit(name: str) -> None:
    with pytest.raises(Invalid):
        check_display_name(name)


async def test_a_password_verifies_against_its_hash() -> None:
    passwords = PasswordService(FAST_HASHER)
    kept = await passwords.hash(PASSWORD)
    assert kept.startswith("$argon2id$")
    assert (await passwords.check(kept, PASSWORD)).is_correct
    assert not (await passwords.check(kept, WRONG_PASSWORD)).is_correct


async def test_unicode_forms_of_a_password_are_equal() -> None:
    passwords = PasswordService(FAST_HASHER)
    kept = await passwords.hash("cafe\u0301 cafe\u0301 cafe\u0301")
    assert (await passwords.check(kept, "caf\u00e9 caf\u00e9 caf\u00e9")).is_correct


async def test_an_outdated_hash_is_renewed_on_success() -> None:
    old = await PasswordService(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)).hash(PASSWORD)
    passwords = PasswordService(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    verdict = await passwords.check(old, PASSWORD)
    assert verdict.new_hash is not None
    assert await passwords.check(verdict.new_hash, PASSWORD) == type(verdict)(is_correct=True)


@pytest.mark.parametrize("kept", [None, "", "nonsense", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
async def test_without_a_hash_no_password_is_right(kept: str | None) -> None:
    assert not (await PasswordService(FAST_HASHER).check(kept, PASSWORD)).is_correct


@given(st.text())
def test_a_form_of_another_session_is_refused(given_text: str) -> None:
    assert not is_csrf_token_valid(TOKEN, given_text)


def test_a_form_of_this_session_is_taken_and_does_not_tell_its_token() -> None:
    assert is_csrf_token_valid(TOKEN, derive_csrf_token(TOKEN))
    assert TOKEN not in derive_csrf_token(TOKEN)


@given(st.text())
def test_malformed_tokens_are_recognized(text: str) -> None:
    assert not is_well_formed_token(text, SESSION_PREFIX)


def test_a_link_token_is_no_session_token() -> None:
    assert is_well_formed_token(TOKEN, SESSION_PREFIX)
    assert not is_well_formed_token(TOKEN, LINK_PREFIX)
