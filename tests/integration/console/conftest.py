"""Fixtures: the console on a real ledger, called in process by users with different abilities."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from delivery.bootstrap import Services
from delivery.config import parse_settings
from delivery.console.app import create_console
from delivery.domain.accounts import Actor
from delivery.domain.errors import NotAuthenticated
from delivery.domain.secret_box import generate_key
from delivery.domain.tokens import derive_csrf_token
from delivery.services.accounts.roles import Ability
from tests.support.accounts import ManualClock, make_account_service, make_clock
from tests.support.services import replace_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.services.accounts.service import AccountService

SECRET_KEYS = generate_key()
FAR_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
VIEWER = frozenset({Ability.SEE})
SUPPORT = VIEWER | {Ability.REPLAY, Ability.OPERATE}
ADMIN = frozenset(Ability)


@dataclass(frozen=True, slots=True)
class FakePrincipal:
    """A signed-in user."""

    name: str
    abilities: frozenset[Ability]
    tenant_id: TenantId | None
    actor: Actor
    role: str = "guest"
    expires_at: datetime = FAR_FUTURE
    user_id: object = None

    def has_ability(self, ability: Ability) -> bool:
        """Whether the user has this ability."""
        return ability in self.abilities


class FakeAccountService:
    """Accounts that know each user by session token."""

    def __init__(self) -> None:
        self.principals_by_token: dict[str, FakePrincipal] = {}

    async def load_principal(self, token: str, *, address: str | None = None) -> FakePrincipal:
        """The user of this session."""
        if token not in self.principals_by_token:
            raise NotAuthenticated
        guest = self.principals_by_token[token]
        return replace(guest, actor=Actor(guest.name, address))


@dataclass(frozen=True, slots=True)
class FormBrowser:
    """A user's browser: sends forms with the session's CSRF token."""

    client: httpx.AsyncClient
    token: str

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """Request a page."""
        return await self.client.get(f"/console{path}", params=query)

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """Submit a form without following redirects."""
        return await self.client.post(
            f"/console{path}", data={"csrf": derive_csrf_token(self.token), **fields}
        )

    async def get_text(self, path: str, **query: Any) -> str:
        """The text of a page; asserts status 200."""
        page = await self.get(path, **query)
        assert page.status_code == 200, page.text
        return page.text


@pytest.fixture
def services(ledger: Ledger, shared_url: str) -> Services:
    """The services of a web process."""
    settings = parse_settings({"database_url": shared_url, "secret_keys": SECRET_KEYS})
    return replace_services(Services(settings, ledger), accounts=cast("AccountService", FakeAccountService()))


@pytest.fixture
def clock() -> ManualClock:
    """The clock that expires sessions."""
    return make_clock()


@pytest.fixture
def account_service(ledger: Ledger, clock: ManualClock) -> AccountService:
    """Accounts with real sign-in."""
    return make_account_service(ledger, clock)


@pytest.fixture
def app(services: Services, account_service: AccountService) -> ASGIApp:
    """The console with real sign-in."""
    return create_console(replace_services(services, accounts=account_service))


@pytest.fixture
async def sign_in_as(services: Services) -> AsyncIterator[Callable[..., FormBrowser]]:
    """Sign in a user with these abilities: staff, or a user of one tenant."""
    app = create_console(services)
    async with AsyncExitStack() as stack:
        opened: list[httpx.AsyncClient] = []

        def let_in(abilities: frozenset[Ability] = ADMIN, tenant: TenantId | None = None) -> FormBrowser:
            token = f"token-{len(opened)}"
            name = f"guest {len(opened)}"
            doorkeeper = cast("FakeAccountService", services.accounts)
            doorkeeper.principals_by_token[token] = FakePrincipal(name, abilities, tenant, Actor(name))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app),
                base_url="http://waybill",
                cookies={"waybill_session": token},
            )
            opened.append(client)
            stack.push_async_callback(client.aclose)
            return FormBrowser(client, token)

        yield let_in


@pytest.fixture
def staff(sign_in_as: Callable[..., FormBrowser]) -> FormBrowser:
    """Staff with every ability."""
    return sign_in_as()


@pytest.fixture
def viewer(sign_in_as: Callable[..., FormBrowser]) -> FormBrowser:
    """Staff who can only view."""
    return sign_in_as(VIEWER)


@pytest.fixture
def partner(sign_in_as: Callable[..., FormBrowser], tenant: TenantId) -> FormBrowser:
    """A user of this tenant with the abilities of support."""
    return sign_in_as(SUPPORT, tenant)
