"""Browsers of users who sign in with a password or a portal link."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.accounts import PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A browser that keeps cookies and submits the forms of pages."""

    client: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """Request a page without following redirects."""
        return await self.client.get(f"/console{path}", params=query)

    async def get_text(self, path: str, **query: Any) -> str:
        """The text of a page; asserts status 200."""
        page = await self.get(path, **query)
        assert page.status_code == 200, page.text
        return unescape(page.text)

    async def post(self, path: str, *, form_page: str = "/account", **fields: str) -> httpx.Response:
        """Submit a form of the page `on` without following redirects."""
        found = _CSRF.search((await self.get(form_page)).text)
        sent = fields if found is None else {"csrf": found[1], **fields}
        return await self.client.post(f"/console{path}", data=sent)

    async def sign_in(
        self, email: str = "jane@example.com", password: str = PASSWORD, **fields: str
    ) -> httpx.Response:
        """Submit the sign-in form."""
        given = {"email": email, "password": password, **fields}
        return await self.client.post("/console/sign-in", data=given)

    async def is_signed_in(self) -> bool:
        """Whether the browser is signed in."""
        return (await self.get("/deliveries")).status_code == 200


@asynccontextmanager
async def open_browser(
    app: ASGIApp, base: str = "http://waybill", address: str = "127.0.0.1"
) -> AsyncIterator[BrowserSession]:
    """A browser without cookies, at this client address."""
    transport = httpx.ASGITransport(app=app, client=(address, 123))
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield BrowserSession(client)
