"""Portal links: a partner is let in to its own tenant, for as long as link and key hold."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.errors import Invalid, NotAuthenticated, NotFound
from delivery.keys import Keys, KeyTerms, NewKey
from delivery.model import Actor, Prefix, TenantId, new_id, show_id
from delivery.people import Ability, People, Role
from tests.support import ledger as on
from tests.support.people import ADA, HOME, RIGHT, Clock, clock_now, people_of, somebody

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import ApiKey
    from delivery.people import Link

OPERATOR = Actor("operator", HOME)
AWAY = "198.51.100.1"


@pytest.fixture
def clock() -> Clock:
    return clock_now()


@pytest.fixture
def people(ledger: Ledger, clock: Clock) -> People:
    return people_of(ledger, clock)


@pytest.fixture
def keys(ledger: Ledger, clock: Clock) -> Keys:
    return Keys(ledger, KeyTerms(), clock=clock, random_bytes=lambda count: b"k" * count)


async def made(
    people: People,
    tenant: TenantId,
    key: ApiKey | None = None,
    *,
    role: Role = Role.VIEWER,
    label: str | None = None,
    lasts: timedelta = timedelta(hours=1),
) -> Link:
    """A link as the key's owner, or the operator, makes it."""
    actor = OPERATOR if key is None else Actor(show_id(Prefix.KEY, key.id), HOME)
    key_id = None if key is None else key.id
    return await people.make_link(tenant, key_id=key_id, role=role, label=label, lasts=lasts, actor=actor)


async def refused(people: People, link: Link) -> None:
    with pytest.raises(NotAuthenticated):
        await people.open_link(link.token, address=AWAY)


async def test_whoever_has_a_link_is_let_in_to_its_tenant_alone(
    people: People, keys: Keys, tenant: TenantId
) -> None:
    key = (await keys.create(tenant, NewKey("shop"), actor=ADA)).kept
    link = await made(people, tenant, key, role=Role.SUPPORT, label="Joe of Acme")
    token, visitor = await people.open_link(link.token, address=AWAY)
    named = f"portal:{show_id(Prefix.KEY, key.id)} (Joe of Acme)"
    assert visitor.actor == Actor(named, AWAY)
    assert (visitor.tenant_id, visitor.role, visitor.person_id) == (tenant, Role.SUPPORT, None)
    assert visitor.may(Ability.SECRETS)
    assert await people.visitor(token, address=AWAY) == visitor


async def test_a_link_says_who_made_it_when_no_key_did(people: People, tenant: TenantId) -> None:
    _, visitor = await people.open_link((await made(people, tenant)).token, address=AWAY)
    assert visitor.actor.name == "portal:operator"


async def test_a_link_works_until_it_ends_and_its_sessions_end_with_it(
    people: People, clock: Clock, tenant: TenantId
) -> None:
    link = await made(people, tenant, lasts=timedelta(minutes=30))
    token, _ = await people.open_link(link.token, address=AWAY)
    clock.on(minutes=29)
    later, visitor = await people.open_link(link.token, address=AWAY)
    assert visitor.expires_at == link.kept.expires_at
    clock.on(minutes=1)
    await refused(people, link)
    for opened in (token, later):
        with pytest.raises(NotAuthenticated):
            await people.visitor(opened)


async def test_with_its_key_a_link_and_its_sessions_end_at_once(
    people: People, keys: Keys, tenant: TenantId
) -> None:
    key = (await keys.create(tenant, NewKey("shop"), actor=ADA)).kept
    link, of_operator = await made(people, tenant, key), await made(people, tenant)
    token, _ = await people.open_link(link.token, address=AWAY)
    await keys.revoke(tenant, key.id, actor=ADA)
    with pytest.raises(NotAuthenticated):
        await people.visitor(token)
    await refused(people, link)
    await people.open_link(of_operator.token, address=AWAY)


async def test_a_link_and_its_sessions_end_when_its_key_expires(
    people: People, keys: Keys, clock: Clock, tenant: TenantId
) -> None:
    new = NewKey("shop", lasts=timedelta(minutes=10))
    link = await made(people, tenant, (await keys.create(tenant, new, actor=ADA)).kept)
    token, _ = await people.open_link(link.token, address=AWAY)
    clock.on(minutes=10)
    with pytest.raises(NotAuthenticated):
        await people.visitor(token)
    await refused(people, link)


async def test_a_session_token_opens_no_link_and_a_link_is_no_session(
    people: People, tenant: TenantId
) -> None:
    link = await made(people, tenant)
    token, _ = await people.open_link(link.token, address=AWAY)
    with pytest.raises(NotAuthenticated):
        await people.visitor(link.token)
    with pytest.raises(NotAuthenticated):
        await people.open_link(token, address=AWAY)


async def test_a_visitor_of_the_portal_has_no_password_to_renew(people: People, tenant: TenantId) -> None:
    token, _ = await people.open_link((await made(people, tenant)).token, address=AWAY)
    with pytest.raises(NotAuthenticated):
        await people.renew_password(token, RIGHT, "another horse battery", address=AWAY)


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
async def test_a_link_that_cannot_be_is_refused_by_field(
    people: People, tenant: TenantId, field: str, terms: dict[str, Any]
) -> None:
    with pytest.raises(Invalid) as refusal:
        await made(people, tenant, **terms)
    assert refusal.value.field == field


async def test_a_link_needs_a_tenant_that_exists(people: People) -> None:
    with pytest.raises(NotFound):
        await made(people, TenantId(new_id()))


async def test_neither_a_links_token_nor_its_sessions_is_in_the_database(
    ledger: Ledger, people: People, tenant: TenantId
) -> None:
    link = await made(people, tenant)
    token, _ = await people.open_link(link.token, address=AWAY)
    for table in ("portal_links", "sessions", "journal"):
        for found in await on.rows(ledger, f"select t::text as whole from {table} t"):  # noqa: S608  our own names
            for secret in (token, link.token, link.token.removeprefix("wbl_")):
                assert secret not in found.whole
                assert secret.encode().hex() not in found.whole


async def test_a_tenants_journal_tells_of_its_links_and_not_of_staff(
    ledger: Ledger, people: People, tenant: TenantId
) -> None:
    await somebody(people)
    await people.open_link((await made(people, tenant, label="Joe")).token, address=AWAY)
    told = await on.rows(
        ledger,
        "select what, actor, address from journal where tenant_id = :tenant order by id",
        tenant=tenant,
    )
    assert [tuple(one) for one in told] == [
        ("portal_link.created", "operator", HOME),
        ("portal_link.opened", "portal:operator (Joe)", AWAY),
    ]
