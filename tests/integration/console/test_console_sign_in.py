"""Sign-in and sign-out with real sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from delivery.console.app import create_console
from delivery.console.pages import ROUTES
from delivery.domain.accounts import Role
from delivery.domain.ids import Prefix, format_id
from tests.support import ledger_builders as build
from tests.support.accounts import ADA, PASSWORD, WRONG_PASSWORD, create_user
from tests.support.console_sessions import open_browser
from tests.support.services import replace_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from delivery.bootstrap import Services
    from delivery.domain.accounts import User as Account
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.services.accounts.service import AccountService
    from tests.support.accounts import ManualClock
    from tests.support.console_sessions import BrowserSession

# Paths that need no sign-in.
OPEN = {"/console/sign-in", "/console/portal/{token}"}
UNKNOWN = "01kasw8qbefy09m6sc7n75yr3h"


@pytest.fixture
async def jane(account_service: AccountService) -> Account:
    return await create_user(account_service, role=Role.SUPPORT)


@pytest.fixture
async def person(app: ASGIApp, jane: Account) -> AsyncIterator[BrowserSession]:  # noqa: ARG001  has her account
    """Jane's browser, before she has signed in."""
    async with open_browser(app) as found:
        yield found


async def test_sign_in_returns_to_the_requested_page(person: BrowserSession) -> None:
    asked = await person.get("/deliveries", status="failed")
    assert asked.status_code == 303
    there = quote("/console/deliveries?status=failed", safe="")
    assert asked.headers["location"] == f"/console/sign-in?next={there}"
    page = await person.client.get(asked.headers["location"])
    assert 'value="/console/deliveries?status=failed"' in page.text
    entered = await person.sign_in(next="/console/deliveries?status=failed")
    assert (entered.status_code, entered.headers["location"]) == (303, "/console/deliveries?status=failed")
    assert "Jane" in await person.get_text("/deliveries")


async def test_session_cookie_is_limited_to_the_console(person: BrowserSession) -> None:
    cookie = (await person.sign_in()).headers["set-cookie"]
    assert cookie.startswith("waybill_session=wbs_")
    for attribute in ("HttpOnly", "SameSite=lax", "Path=/console", "expires="):
        assert attribute in cookie
    assert "Secure" not in cookie


@pytest.mark.usefixtures("jane")
async def test_https_cookie_is_bound_to_the_host(app: ASGIApp) -> None:
    async with open_browser(app, "https://waybill") as person:
        cookie = (await person.sign_in()).headers["set-cookie"]
        assert cookie.startswith("__Host-waybill_session=wbs_")
        assert "Secure" in cookie
        assert "Path=/;" in cookie
        assert await person.is_signed_in()


@pytest.mark.parametrize(
    ("email", "password"),
    [("jane@example.com", WRONG_PASSWORD), ("nobody@example.com", PASSWORD), ("", ""), ("\x00<b>", "\x7f")],
)
async def test_failed_sign_in_message_never_says_what_was_wrong(
    person: BrowserSession, email: str, password: str
) -> None:
    refused = await person.sign_in(email, password)
    assert refused.status_code == 401
    assert "Wrong e-mail address or password" in refused.text
    assert "<b>" not in refused.text.partition("<form")[2]
    assert not await person.is_signed_in()


async def test_password_is_not_sent_back(person: BrowserSession) -> None:
    refused = await person.sign_in("jane@example.com", WRONG_PASSWORD)
    assert 'value="jane@example.com"' in refused.text
    assert WRONG_PASSWORD not in refused.text


async def test_repeated_wrong_passwords_are_throttled(person: BrowserSession, clock: ManualClock) -> None:
    for _ in range(5):
        await person.sign_in(password=WRONG_PASSWORD)
    told = await person.sign_in()
    assert told.status_code == 429
    assert "Try again in 1 s" in told.text
    clock.advance(seconds=1)
    assert (await person.sign_in()).status_code == 303


@pytest.mark.usefixtures("jane")
async def test_login_attempts_are_counted_per_address(app: ASGIApp) -> None:
    async with open_browser(app, address="198.51.100.9") as guest:
        for _ in range(6):
            await guest.sign_in(password=WRONG_PASSWORD)
    async with open_browser(app, address="203.0.113.7") as person:
        assert (await person.sign_in()).status_code == 303


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/console//evil.example",
        "/consolefoo",
        "/console/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
    ],
)
async def test_sign_in_never_redirects_outside_the_console(person: BrowserSession, there: str) -> None:
    assert (await person.sign_in(next=there)).headers["location"] == "/console"


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "https://waybill.example"},
        {"Origin": "https://waybill.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_forms_work_behind_a_proxy_with_another_host(
    services: Services, account_service: AccountService, jane: Account, header: dict[str, str]
) -> None:
    settings = replace(services.settings, public_url="https://waybill.example")
    app = create_console(replace_services(services, accounts=account_service, settings=settings))
    async with open_browser(app, "http://10.0.0.7:8080") as found:
        form = {"email": jane.email, "password": PASSWORD}
        answer = await found.client.post("/console/sign-in", data=form, headers=header)
        assert answer.status_code == 303


@pytest.mark.parametrize(
    "header", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_sign_in_form_from_another_site_is_rejected(
    person: BrowserSession, header: dict[str, str]
) -> None:
    given = {"email": "jane@example.com", "password": PASSWORD}
    refused = await person.client.post("/console/sign-in", data=given, headers=header)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


async def test_sign_out_ends_the_stored_session(person: BrowserSession) -> None:
    await person.sign_in()
    token = person.client.cookies["waybill_session"]
    out = await person.post("/sign-out")
    assert (out.status_code, out.headers["location"]) == (303, "/console/sign-in")
    assert not await person.is_signed_in()
    old = {"Cookie": f"waybill_session={token}"}
    assert (await person.client.get("/console/deliveries", headers=old)).status_code == 303


@pytest.mark.parametrize("csrf", ["", "0" * 64, "ü"])
async def test_form_without_csrf_token_is_rejected(person: BrowserSession, csrf: str) -> None:
    await person.sign_in()
    refused = await person.client.post("/console/sign-out", data={"csrf": csrf})
    assert refused.status_code == 403
    assert await person.is_signed_in()


async def test_role_change_applies_to_open_sessions(
    person: BrowserSession, account_service: AccountService, jane: Account
) -> None:
    await person.sign_in()
    assert (await person.get("/people")).status_code == 403
    await account_service.change(jane.id, {"role": Role.ADMIN}, actor=ADA)
    assert (await person.get("/people")).status_code == 200


async def test_disabling_a_user_ends_open_sessions(
    person: BrowserSession, account_service: AccountService, jane: Account
) -> None:
    await person.sign_in()
    await account_service.change(jane.id, {"disabled": True}, actor=ADA)
    assert not await person.is_signed_in()


async def test_partial_request_without_session_redirects_the_whole_page(person: BrowserSession) -> None:
    answer = await person.client.get("/console/deliveries", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/console/sign-in")


async def test_all_pages_except_sign_in_need_a_session(person: BrowserSession) -> None:
    tried = 0
    for route in ROUTES:
        path = getattr(route, "path", "")
        methods: set[str] = getattr(route, "methods", set())
        for method in methods - {"HEAD"}:
            if path in OPEN:
                continue
            asked = path.replace("{id}", UNKNOWN).replace("{key}", UNKNOWN)
            answer = await person.client.request(method, asked, data={} if method == "POST" else None)
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/console/sign-in"), (method, path)
            tried += 1
    assert tried > 20


# ---- partners
async def link(people: AccountService, tenant: TenantId, role: Role = Role.VIEWER) -> str:
    made = await people.create_link(tenant, key_id=None, role=role, label="Joe", actor=ADA)
    return made.build_url("")


@pytest.fixture
async def joe(
    app: ASGIApp, account_service: AccountService, tenant: TenantId
) -> AsyncIterator[BrowserSession]:
    """The browser of a partner who opened a portal link with the role support."""
    async with open_browser(app) as found:
        opened = await found.client.post(await link(account_service, tenant, Role.SUPPORT))
        assert (opened.status_code, opened.headers["location"]) == (303, "/console")
        yield found


async def test_get_request_for_a_portal_link_opens_no_session(
    app: ASGIApp, account_service: AccountService, tenant: TenantId
) -> None:
    address = await link(account_service, tenant)
    async with open_browser(app) as scanner:
        looked = await scanner.client.get(address)
        assert (looked.status_code, "set-cookie" in looked.headers) == (200, False)
        foreign = await scanner.client.post(address, headers={"origin": "https://evil.example"})
        assert (foreign.status_code, "set-cookie" in foreign.headers) == (403, False)


async def test_portal_link_opens_only_its_tenant(
    joe: BrowserSession, ledger: Ledger, tenant: TenantId
) -> None:
    other = await build.create_tenant(ledger)
    assert "Joe" in await joe.get_text(f"/tenants/{format_id(Prefix.TENANT, tenant)}")
    assert (await joe.get(f"/tenants/{format_id(Prefix.TENANT, other)}")).status_code == 404


async def test_partner_has_no_account_and_sees_no_users(joe: BrowserSession) -> None:
    page = await joe.get_text("/deliveries")
    assert "/console/people" not in page
    assert "My account" not in page
    for path in ("/people", "/people/new", "/account"):
        assert (await joe.get(path)).status_code == 403


async def test_partner_cannot_narrow_to_another_tenant(
    joe: BrowserSession, ledger: Ledger, tenant: TenantId
) -> None:
    other = await build.create_tenant(ledger)
    await build.create_endpoint(ledger, other)
    await build.accept_event(ledger, other, "secret.of.others")
    page = await joe.get_text("/deliveries", tenant=format_id(Prefix.TENANT, other))
    assert "secret.of.others" not in page
    assert format_id(Prefix.TENANT, tenant) not in await joe.get_text("/audit", what="person.*")


async def test_expired_link_shows_a_page(
    app: ASGIApp, account_service: AccountService, clock: ManualClock, tenant: TenantId
) -> None:
    address = await link(account_service, tenant)
    clock.advance(hours=1)
    async with open_browser(app) as guest:
        for path in (address, "/console/portal/wbl_x", "/console/portal/%00"):
            ended = await guest.client.post(path)
            assert ended.status_code == 401
            assert "This link has expired." in ended.text
            assert "set-cookie" not in ended.headers


async def test_account_entries_are_not_in_a_tenants_audit(
    joe: BrowserSession, account_service: AccountService
) -> None:
    await create_user(account_service, "hidden")
    assert "hidden@example.com" not in await joe.get_text("/audit")
