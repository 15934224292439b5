"""What may be a password, an address, a name; and what a form carries."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import Invalid
from delivery.people import Passwords, csrf, csrf_matches
from delivery.people.addresses import check_email, check_name
from delivery.people.passwords import check_password
from delivery.people.tokens import LINK, SESSION, is_token, new_token
from tests.support.people import CHEAP, RIGHT, WRONG

TOKEN = new_token(SESSION, lambda count: b"x" * count)


@pytest.mark.parametrize(
    "password",
    ["", "eleven char", "x" * 201, " " * 12, "Jane.Doe@Example.com", "ÿ" * 12 + "\0", "\ud800" * 12],
)
def test_a_password_that_cannot_be_one_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_password(password, email="jane.doe@example.com")
    assert refused.value.field == "password"


@pytest.mark.parametrize("password", ["twelve chars", "x" * 200, "пароль пароль"])
def test_any_other_text_of_twelve_to_two_hundred_characters_is_a_password(password: str) -> None:
    assert check_password(password, email="jane.doe@example.com") == password


@pytest.mark.parametrize("email", ["jane@example.com", "admin@localhost", "j+d@sub.example", "ü@ü.example"])
def test_an_address_is_kept_in_lower_case(email: str) -> None:
    assert check_email(f" {email.upper()} ") == email


@pytest.mark.parametrize(
    "email", ["", "jane", "@b", "a@", "a@b@c", "a b@c", "<a@b>", "a@b,c@d", "a\x1b@b", "a" * 254 + "@b"]
)  # fmt: skip
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(Invalid):
        check_email(email)


@pytest.mark.parametrize("name", ["", "  ", "Jane <root@example.com>", "a\nb", "a\u202eb", "x" * 101])
def test_a_name_cannot_look_like_somebody_else_in_the_audit(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


async def test_of_a_password_a_hash_is_kept_that_knows_it() -> None:
    passwords = Passwords(CHEAP)
    kept = await passwords.hash(RIGHT)
    assert kept.startswith("$argon2id$")
    assert (await passwords.check(kept, RIGHT)).right
    assert not (await passwords.check(kept, WRONG)).right


async def test_one_password_is_right_in_either_of_its_forms() -> None:
    passwords = Passwords(CHEAP)
    kept = await passwords.hash("cafe\u0301 cafe\u0301 cafe\u0301")
    assert (await passwords.check(kept, "caf\u00e9 caf\u00e9 caf\u00e9")).right


async def test_a_hash_of_older_terms_is_renewed_when_its_password_comes() -> None:
    old = await Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)).hash(RIGHT)
    passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    verdict = await passwords.check(old, RIGHT)
    assert verdict.renewed is not None
    assert await passwords.check(verdict.renewed, RIGHT) == type(verdict)(right=True)


@pytest.mark.parametrize("kept", [None, "", "nonsense", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
async def test_without_a_hash_no_password_is_right(kept: str | None) -> None:
    assert not (await Passwords(CHEAP).check(kept, RIGHT)).right


@given(st.text())
def test_a_form_of_another_session_is_refused(given_text: str) -> None:
    assert not csrf_matches(TOKEN, given_text)


def test_a_form_of_this_session_is_taken_and_does_not_tell_its_token() -> None:
    assert csrf_matches(TOKEN, csrf(TOKEN))
    assert TOKEN not in csrf(TOKEN)


@given(st.text())
def test_text_that_is_no_token_is_not_looked_for(text: str) -> None:
    assert not is_token(text, SESSION)


def test_a_link_is_no_session() -> None:
    assert is_token(TOKEN, SESSION)
    assert not is_token(TOKEN, LINK)
