"""The console on a real ledger, called in process, by visitors who may do different things."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from delivery.bootstrap import services as wire
from delivery.config import Settings
from delivery.console import create_console
from delivery.errors import NotAuthenticated
from delivery.model import Actor
from delivery.people import Ability, csrf
from delivery.secrets import generate_key
from tests.support.people import Clock, clock_now, people_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp

    from delivery.bootstrap import Services
    from delivery.ledger import Ledger
    from delivery.model import TenantId
    from delivery.people import People

SECRET_KEYS = generate_key()
FAR = datetime(2100, 1, 1, tzinfo=UTC)
VIEWER = frozenset({Ability.SEE})
SUPPORT = VIEWER | {Ability.REPLAY, Ability.OPERATE}
ADMIN = frozenset(Ability)


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who is signed in, as pages meet them."""

    name: str
    abilities: frozenset[Ability]
    tenant_id: TenantId | None
    actor: Actor
    role: str = "guest"
    expires_at: datetime = FAR
    person_id: object = None

    def may(self, ability: Ability) -> bool:
        """Whether they may do this."""
        return ability in self.abilities


class Doorkeeper:
    """Knows everybody by their token."""

    def __init__(self) -> None:
        self.guests: dict[str, Guest] = {}

    async def visitor(self, token: str, *, address: str | None = None) -> Guest:
        """Whose session this is."""
        if token not in self.guests:
            raise NotAuthenticated
        guest = self.guests[token]
        return replace(guest, actor=Actor(guest.name, address))


@dataclass(frozen=True, slots=True)
class Browser:
    """A visitor's browser: it sends forms as the pages have them, with the session's own secret."""

    client: httpx.AsyncClient
    token: str

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """Ask for a page."""
        return await self.client.get(f"/console{path}", params=query)

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form; nothing is followed."""
        return await self.client.post(f"/console{path}", data={"csrf": csrf(self.token), **fields})

    async def text(self, path: str, **query: Any) -> str:
        """What a page says that is there."""
        page = await self.get(path, **query)
        assert page.status_code == 200, page.text
        return page.text


@pytest.fixture
def services(ledger: Ledger, shared_url: str) -> Services:
    """The use cases of a web process."""
    settings = Settings.model_validate({"database_url": shared_url, "secret_keys": SECRET_KEYS})
    return replace(wire(settings, ledger), people=cast("People", Doorkeeper()))


@pytest.fixture
def clock() -> Clock:
    """The clock by which sessions end."""
    return clock_now()


@pytest.fixture
def people(ledger: Ledger, clock: Clock) -> People:
    """People who sign in for real."""
    return people_of(ledger, clock)


@pytest.fixture
def app(services: Services, people: People) -> ASGIApp:
    """The console with a real door."""
    return create_console(replace(services, people=people))


@pytest.fixture
async def enter(services: Services) -> AsyncIterator[Callable[..., Browser]]:
    """Let somebody in who may do this: staff, or a visitor who sees one tenant alone."""
    app = create_console(services)
    async with AsyncExitStack() as stack:
        opened: list[httpx.AsyncClient] = []

        def let_in(abilities: frozenset[Ability] = ADMIN, tenant: TenantId | None = None) -> Browser:
            token = f"token-{len(opened)}"
            name = f"guest {len(opened)}"
            doorkeeper = cast("Doorkeeper", services.people)
            doorkeeper.guests[token] = Guest(name, abilities, tenant, Actor(name))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app),
                base_url="http://waybill",
                cookies={"waybill_session": token},
            )
            opened.append(client)
            stack.push_async_callback(client.aclose)
            return Browser(client, token)

        yield let_in


@pytest.fixture
def staff(enter: Callable[..., Browser]) -> Browser:
    """Staff who may do everything."""
    return enter()


@pytest.fixture
def viewer(enter: Callable[..., Browser]) -> Browser:
    """Staff who may look."""
    return enter(VIEWER)


@pytest.fixture
def partner(enter: Callable[..., Browser], tenant: TenantId) -> Browser:
    """A visitor of this tenant, with the abilities of support."""
    return enter(SUPPORT, tenant)
