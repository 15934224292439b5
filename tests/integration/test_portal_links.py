"""Portal links: a partner's access to its own tenant, while link and key are valid."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.accounts import Actor, Role
from delivery.domain.errors import Invalid, NotAuthenticated, NotFound
from delivery.domain.ids import Prefix, TenantId, format_id, new_id
from delivery.services.accounts.roles import Ability
from delivery.services.api_keys.service import ApiKeyService
from delivery.services.api_keys.validation import ApiKeyConfig, NewApiKey
from tests.support import ledger_builders as build
from tests.support.accounts import (
    ADA,
    HOME_ADDRESS,
    PASSWORD,
    ManualClock,
    create_user,
    make_account_service,
    make_clock,
)

if TYPE_CHECKING:
    from delivery.domain.api_key import ApiKey
    from delivery.ledger.db.session import Ledger
    from delivery.services.accounts.portal_links import CreatedPortalLink
    from delivery.services.accounts.service import AccountService

OPERATOR = Actor("operator", HOME_ADDRESS)
AWAY = "198.51.100.1"


@pytest.fixture
def clock() -> ManualClock:
    return make_clock()


@pytest.fixture
def accounts(ledger: Ledger, clock: ManualClock) -> AccountService:
    return make_account_service(ledger, clock)


@pytest.fixture
def keys(ledger: Ledger, clock: ManualClock) -> ApiKeyService:
    return ApiKeyService(ledger, ApiKeyConfig(), clock=clock, random_bytes=lambda count: b"k" * count)


async def made(
    accounts: AccountService,
    tenant: TenantId,
    key: ApiKey | None = None,
    *,
    role: Role = Role.VIEWER,
    label: str | None = None,
    lasts: timedelta = timedelta(hours=1),
) -> CreatedPortalLink:
    """A link created with this key, or by the operator."""
    actor = OPERATOR if key is None else Actor(format_id(Prefix.KEY, key.id), HOME_ADDRESS)
    key_id = None if key is None else key.id
    return await accounts.create_link(
        tenant, key_id=key_id, role=role, label=label, lifetime=lasts, actor=actor
    )


async def refused(accounts: AccountService, link: CreatedPortalLink) -> None:
    with pytest.raises(NotAuthenticated):
        await accounts.open_link(link.token, address=AWAY)


async def test_a_link_opens_only_its_own_tenant(
    accounts: AccountService, keys: ApiKeyService, tenant: TenantId
) -> None:
    key = (await keys.create(tenant, NewApiKey("shop"), actor=ADA)).key
    link = await made(accounts, tenant, key, role=Role.SUPPORT, label="Joe of Acme")
    token, visitor = await accounts.open_link(link.token, address=AWAY)
    named = f"portal:{format_id(Prefix.KEY, key.id)} (Joe of Acme)"
    assert visitor.actor == Actor(named, AWAY)
    assert (visitor.tenant_id, visitor.role, visitor.user_id) == (tenant, Role.SUPPORT, None)
    assert visitor.has_ability(Ability.SECRETS)
    assert await accounts.load_principal(token, address=AWAY) == visitor


async def test_a_link_names_its_creator_without_a_key(accounts: AccountService, tenant: TenantId) -> None:
    _, visitor = await accounts.open_link((await made(accounts, tenant)).token, address=AWAY)
    assert visitor.actor.name == "portal:operator"


async def test_a_link_and_its_sessions_end_at_its_expiry(
    accounts: AccountService, clock: ManualClock, tenant: TenantId
) -> None:
    link = await made(accounts, tenant, lasts=timedelta(minutes=30))
    token, _ = await accounts.open_link(link.token, address=AWAY)
    clock.advance(minutes=29)
    later, visitor = await accounts.open_link(link.token, address=AWAY)
    assert visitor.expires_at == link.link.expires_at
    clock.advance(minutes=1)
    await refused(accounts, link)
    for opened in (token, later):
        with pytest.raises(NotAuthenticated):
            await accounts.load_principal(opened)


async def test_revoking_the_key_ends_a_link_and_its_sessions(
    accounts: AccountService, keys: ApiKeyService, tenant: TenantId
) -> None:
    key = (await keys.create(tenant, NewApiKey("shop"), actor=ADA)).key
    link, of_operator = await made(accounts, tenant, key), await made(accounts, tenant)
    token, _ = await accounts.open_link(link.token, address=AWAY)
    await keys.revoke(tenant, key.id, actor=ADA)
    with pytest.raises(NotAuthenticated):
        await accounts.load_principal(token)
    await refused(accounts, link)
    await accounts.open_link(of_operator.token, address=AWAY)


async def test_a_link_and_its_sessions_end_when_its_key_expires(
    accounts: AccountService, keys: ApiKeyService, clock: ManualClock, tenant: TenantId
) -> None:
    new = NewApiKey("shop", lifetime=timedelta(minutes=10))
    link = await made(accounts, tenant, (await keys.create(tenant, new, actor=ADA)).key)
    token, _ = await accounts.open_link(link.token, address=AWAY)
    clock.advance(minutes=10)
    with pytest.raises(NotAuthenticated):
        await accounts.load_principal(token)
    await refused(accounts, link)


async def test_link_and_session_tokens_are_not_interchangeable(
    accounts: AccountService, tenant: TenantId
) -> None:
    link = await made(accounts, tenant)
    token, _ = await accounts.open_link(link.token, address=AWAY)
    with pytest.raises(NotAuthenticated):
        await accounts.load_principal(link.token)
    with pytest.raises(NotAuthenticated):
        await accounts.open_link(token, address=AWAY)


async def test_a_portal_visitor_cannot_change_a_password(accounts: AccountService, tenant: TenantId) -> None:
    token, _ = await accounts.open_link((await made(accounts, tenant)).token, address=AWAY)
    with pytest.raises(NotAuthenticated):
        await accounts.change_own_password(token, PASSWORD, "another horse battery", address=AWAY)


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("role", {"role": Role.ADMIN}),
        ("label", {"label": ""}),
        ("label", {"label": "a\x1b[2J"}),
        ("label", {"label": "x" * 101}),
        ("lasts", {"lasts": timedelta(hours=24, seconds=1)}),
        ("lasts", {"lasts": timedelta(0)}),
        ("lasts", {"lasts": timedelta(days=-1)}),
    ],
)
async def test_an_invalid_link_is_refused_with_its_field(
    accounts: AccountService, tenant: TenantId, field: str, terms: dict[str, Any]
) -> None:
    with pytest.raises(Invalid) as refusal:
        await made(accounts, tenant, **terms)
    assert refusal.value.field == field


async def test_a_link_needs_an_existing_tenant(accounts: AccountService) -> None:
    with pytest.raises(NotFound):
        await made(accounts, TenantId(new_id()))


async def test_link_and_session_tokens_are_not_stored(
    ledger: Ledger, accounts: AccountService, tenant: TenantId
) -> None:
    link = await made(accounts, tenant)
    token, _ = await accounts.open_link(link.token, address=AWAY)
    for table in ("portal_links", "sessions", "journal"):
        for found in await build.fetch_rows(ledger, f"select t::text as whole from {table} t"):  # noqa: S608  our own names
            for secret in (token, link.token, link.token.removeprefix("wbl_")):
                assert secret not in found.whole
                assert secret.encode().hex() not in found.whole


async def test_a_tenants_journal_has_its_links_but_not_staff(
    ledger: Ledger, accounts: AccountService, tenant: TenantId
) -> None:
    await create_user(accounts)
    await accounts.open_link((await made(accounts, tenant, label="Joe")).token, address=AWAY)
    result = await build.fetch_rows(
        ledger,
        "select what, actor, address from journal where tenant_id = :tenant order by id",
        tenant=tenant,
    )
    assert [tuple(item) for item in result] == [
        ("portal_link.created", "operator", HOME_ADDRESS),
        ("portal_link.opened", "portal:operator (Joe)", AWAY),
    ]
