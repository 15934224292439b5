"""User pages: creation, changes, disabling, and the own password."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest

from delivery.domain.accounts import Role
from delivery.domain.ids import Prefix, format_id
from tests.support import ledger_builders as build
from tests.support.accounts import PASSWORD, WRONG_PASSWORD, create_user
from tests.support.console_sessions import open_browser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from delivery.domain.accounts import User as Account
    from delivery.ledger.db.session import Ledger
    from delivery.services.accounts.service import AccountService
    from tests.support.console_sessions import BrowserSession

NEW = "another horse battery"
HOSTILE = "</title>&<img src=x onerror=alert(1)>"
FORM = {"email": "mia@example.com", "name": "Mia", "role": "support", "password": NEW}


@pytest.fixture
async def boss(app: ASGIApp, account_service: AccountService) -> AsyncIterator[BrowserSession]:
    """The browser of an admin."""
    await create_user(account_service, "boss", Role.ADMIN)
    async with open_browser(app) as found:
        await found.sign_in("boss@example.com")
        yield found


@pytest.fixture
async def jane(account_service: AccountService) -> Account:
    return await create_user(account_service)


@pytest.fixture
async def her(app: ASGIApp, jane: Account) -> AsyncIterator[BrowserSession]:
    """Jane's browser."""
    async with open_browser(app) as found:
        await found.sign_in(jane.email)
        yield found


def path(account: Account, *below: str) -> str:
    return "/".join(["/people", format_id(Prefix.USER, account.id), *below])


def read_shown_password(page: str) -> str:
    """The password shown on a page."""
    found = re.search(r'<pre id="password">([^<]+)</pre>', page)
    assert found is not None, page
    return unescape(found[1])


# ---- making
async def test_account_is_created_with_the_entered_password(boss: BrowserSession, app: ASGIApp) -> None:
    made = await boss.post("/people", **FORM)
    assert made.status_code == 303
    assert "Mia can sign in now." in (await boss.client.get(made.headers["location"])).text
    async with open_browser(app) as person:
        assert (await person.sign_in("mia@example.com", NEW)).status_code == 303


async def test_generated_password_is_shown_once(boss: BrowserSession, app: ASGIApp) -> None:
    made = await boss.post("/people", **(FORM | {"password": ""}))
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    password = read_shown_password(made.text)
    assert len(password) == 24
    async with open_browser(app) as person:
        assert (await person.sign_in("mia@example.com", password)).status_code == 303


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"email": "mia"}, "email"),
        ({"name": " "}, "name"),
        ({"name": HOSTILE}, "name"),
        ({"role": "king"}, "role"),
        ({"password": "short"}, "password"),
        ({"password": "mia@example.com"}, "password"),
    ],
)
async def test_invalid_user_field_shows_an_error_and_keeps_the_other_input(
    boss: BrowserSession, wrong: dict[str, str], field: str
) -> None:
    page = await boss.post("/people", **(FORM | wrong))
    assert page.status_code == 422
    assert f'id="fault-{field}"' in page.text
    assert NEW not in page.text
    assert "<img" not in page.text.partition("<main")[2]
    kept = {"email": "mia@example.com", "name": "Mia"}
    assert all(f'value="{kept[name]}"' in page.text for name in kept.keys() - {field})


async def test_duplicate_email_shows_an_error(boss: BrowserSession, jane: Account) -> None:
    page = await boss.post("/people", **(FORM | {"email": jane.email}))
    assert page.status_code == 409
    assert "already has an account" in page.text


# ---- looking
async def test_every_user_is_listed_and_has_a_page(boss: BrowserSession, jane: Account) -> None:
    listed = await boss.get_text("/people")
    assert "jane@example.com" in listed
    assert "boss@example.com" in listed
    assert "jane@example.com" in await boss.get_text(path(jane))


async def test_names_are_escaped_on_every_page(
    boss: BrowserSession, account_service: AccountService, jane: Account
) -> None:
    await account_service.change(
        jane.id,
        {"name": "\"'&amp;{{ 7*7 }}"},
        actor=(await account_service.load_principal(token(boss))).actor,
    )
    for page in ("/people", path(jane), "/audit"):
        assert "&#34;&#39;&amp;amp;{{ 7*7 }}" in (await boss.get(page)).text


async def test_users_are_paginated(boss: BrowserSession, account_service: AccountService) -> None:
    for number in range(50):
        await create_user(account_service, f"p{number}")
    first = await boss.get_text("/people")
    assert "boss@example.com" not in first
    (behind,) = re.findall(r'href="([^"]+)" rel="next"', first)
    assert "boss@example.com" in (await boss.client.get(behind)).text


@pytest.mark.parametrize("id_", ["usr_x", "ten_01kasw8qbefy09m6sc7n75yr3h", "usr_01kasw8qbefy09m6sc7n75yr3h"])
async def test_unknown_user_page_is_not_found(boss: BrowserSession, id_: str) -> None:
    assert (await boss.get(f"/people/{id_}")).status_code == 404


# ---- changing
async def test_name_and_role_are_changed(
    boss: BrowserSession, account_service: AccountService, jane: Account
) -> None:
    sent = await boss.post(path(jane, "change"), name="Jane D", role="support", reason="promoted")
    assert sent.status_code == 303
    changed = await account_service.read(jane.id)
    assert (changed.name, changed.role) == ("Jane D", Role.SUPPORT)
    assert "promoted" in await boss.get_text("/audit")


async def test_invalid_change_shows_an_error_and_changes_nothing(
    boss: BrowserSession, account_service: AccountService, jane: Account
) -> None:
    page = await boss.post(path(jane, "change"), name=" ", role="admin")
    assert page.status_code == 422
    assert 'id="fault-name"' in page.text
    page = await boss.post(path(jane, "change"), name="x", role="admin", reason="x" * 501)
    assert 'id="fault-reason"' in page.text
    assert await account_service.read(jane.id) == jane


async def test_disabled_user_is_signed_out_until_enabled(
    boss: BrowserSession, her: BrowserSession, jane: Account
) -> None:
    assert (await boss.post(path(jane, "disable"), reason="left")).status_code == 303
    assert not await her.is_signed_in()
    assert (await her.sign_in(jane.email)).status_code == 401
    assert (await boss.post(path(jane, "enable"))).status_code == 303
    assert (await her.sign_in(jane.email)).status_code == 303


@pytest.mark.parametrize("below", ["disable", "change"])
async def test_last_admin_cannot_be_disabled_and_sees_why(
    boss: BrowserSession, account_service: AccountService, below: str
) -> None:
    me = await account_service.find("boss@example.com")
    page = await boss.post(path(me, below), name="Boss", role="viewer")
    assert page.status_code == 409
    assert "the last admin" in page.text
    assert await boss.is_signed_in()


async def test_new_password_is_shown_once_and_ends_sessions(
    boss: BrowserSession, her: BrowserSession, jane: Account
) -> None:
    page = await boss.post(path(jane, "password"), password="")
    assert not await her.is_signed_in()
    assert (await her.sign_in(jane.email, read_shown_password(page.text))).status_code == 303


async def test_admin_stays_signed_in_after_setting_their_password(
    boss: BrowserSession, account_service: AccountService
) -> None:
    me = await account_service.find("boss@example.com")
    assert (await boss.post(path(me, "password"), password=NEW)).status_code == 303
    assert await boss.is_signed_in()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT])
async def test_only_admins_see_or_change_users(
    app: ASGIApp, account_service: AccountService, ledger: Ledger, role: Role
) -> None:
    mia = await create_user(account_service, "mia", role)
    async with open_browser(app) as person:
        await person.sign_in(mia.email)
        assert "/console/people" not in (await person.get("/account")).text
        for page in ("/people", "/people/new", path(mia)):
            assert (await person.get(page)).status_code == 403
        for form in ("/people", *(path(mia, one) for one in ("change", "disable", "enable", "password"))):
            assert (await person.post(form, **FORM)).status_code == 403
    found = await build.fetch_row(ledger, "select count(*) as n, min(role) as role from people")
    assert tuple(found) == (1, role)


async def test_form_of_another_session_is_rejected(
    boss: BrowserSession, her: BrowserSession, jane: Account
) -> None:
    page = (await her.get("/account")).text
    (foreign,) = set(re.findall(r'name="csrf" value="([^"]+)"', page))
    refused = await boss.client.post(f"/console{path(jane, 'disable')}", data={"csrf": foreign})
    assert refused.status_code == 403
    assert await her.is_signed_in()


# ---- one's own
async def test_account_page_shows_role_and_abilities(her: BrowserSession) -> None:
    page = await her.get_text("/account")
    for said in ("Jane", "jane@example.com", "viewer", "look"):
        assert said in page


async def test_own_password_change_requires_the_current_one(
    app: ASGIApp, her: BrowserSession, jane: Account
) -> None:
    async with open_browser(app) as elsewhere:
        await elsewhere.sign_in(jane.email)
        sent = await her.post("/account/password", current=PASSWORD, password=NEW, repeated=NEW)
        assert (sent.status_code, sent.headers["location"]) == (303, "/console/account")
        assert "Password changed." in await her.get_text("/account")
        assert not await elsewhere.is_signed_in()
        assert (await elsewhere.sign_in(jane.email, NEW)).status_code == 303


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"current": WRONG_PASSWORD}, "current"),
        ({"password": "short", "repeated": "short"}, "password"),
        ({"repeated": WRONG_PASSWORD}, "repeated"),
    ],
)
async def test_invalid_password_change_keeps_the_password(
    her: BrowserSession, jane: Account, given: dict[str, str], field: str
) -> None:
    page = await her.post(
        "/account/password", **({"current": PASSWORD, "password": NEW, "repeated": NEW} | given)
    )
    assert page.status_code == 422
    assert f'id="fault-{field}"' in page.text
    assert NEW not in page.text
    assert (await her.sign_in(jane.email)).status_code == 303


async def test_password_change_guesses_are_throttled(her: BrowserSession) -> None:
    guess = {"current": WRONG_PASSWORD, "password": NEW, "repeated": NEW}
    for _ in range(5):
        await her.post("/account/password", **guess)
    waiting = await her.post("/account/password", **(guess | {"current": PASSWORD}))
    assert waiting.status_code == 429
    assert waiting.headers["retry-after"] == "1"


async def test_account_without_a_password_has_no_password_form(
    app: ASGIApp, account_service: AccountService, boss: BrowserSession
) -> None:
    actor = (await account_service.load_principal(token(boss))).actor
    mia = await account_service.create("mia@example.com", "Mia", Role.VIEWER, None, actor=actor)
    opened, _ = await account_service.open_session(mia.id, address=None)
    async with open_browser(app) as person:
        person.client.cookies.set("waybill_session", opened)
        assert "has no password" in await person.get_text("/account")


def token(person: BrowserSession) -> str:
    return person.client.cookies["waybill_session"]
