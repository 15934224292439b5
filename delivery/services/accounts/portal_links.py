"""Portal links: a partner sees its own tenant for a while, without an account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.accounts import PortalLink, Role
from delivery.errors import Invalid, NotAuthenticated, NotFound
from delivery.ledger import sessions, tenants
from delivery.ledger.sessions import Session
from delivery.model import LinkId, Prefix, new_id, show_id
from delivery.people import tokens
from delivery.people.addresses import check_name
from delivery.people.sessions import Sessions

if TYPE_CHECKING:
    from delivery.model import Actor, KeyId, TenantId
    from delivery.people.visitors import Visitor

LASTS: Final = timedelta(hours=1)
SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was just made: the only time that its token is told."""

    kept: PortalLink
    token: str

    def url(self, base: str) -> str:
        """Where it leads, at the console of this address."""
        return f"{base.rstrip('/')}/console/portal/{self.token}"


class Links(Sessions):
    """Sessions for whoever comes by a link."""

    async def make_link(
        self,
        tenant_id: TenantId,
        *,
        key_id: KeyId | None,
        role: Role,
        label: str | None = None,
        lasts: timedelta = LASTS,
        actor: Actor,
    ) -> Link:
        """Make a link to a tenant's own part of the console. With the key that made it, it ends.

        Raises NotFound for an unknown tenant, and Invalid, which names `role`, `label` or `lasts`.
        """
        _check(role, lasts)
        now = self._clock()
        link = PortalLink(
            id=LinkId(new_id()),
            tenant_id=tenant_id,
            key_id=key_id,
            role=role,
            label=None if label is None else check_name(label, name="label"),
            made_by=actor.name,
            created_at=now,
            expires_at=now + lasts,
        )
        token = tokens.new_token(tokens.LINK, self._random_bytes)
        told = {
            "link_id": show_id(Prefix.LINK, link.id),
            "role": link.role,
            "label": link.label,
            "until": link.expires_at.isoformat(),
        }
        async with self._ledger.transaction(of=tenant_id) as tx:
            if await tenants.read(tx, tenant_id) is None:
                raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
            await sessions.insert_link(tx, link, token_sha256=tokens.sha256_of(token))
            await self._note(tx, "portal_link.created", actor, told, whose=tenant_id)
        return Link(link, token)

    async def open_link(self, token: str, *, address: str | None) -> tuple[str, Visitor]:
        """Open a session by a link, as often as it works; the session ends when the link does.

        Raises NotAuthenticated for a link that never was, has ended, or whose key was revoked.
        """
        if not tokens.is_token(token, tokens.LINK):
            raise NotAuthenticated
        now = self._clock()
        async with self._ledger.transaction() as tx:
            link = await sessions.find_link(tx, tokens.sha256_of(token), now=now)
            if link is None:
                raise NotAuthenticated
            session = Session(now, link.expires_at, link=link)
            return await self._open(tx, session, "portal_link.opened", address)


def _check(role: Role, lasts: timedelta) -> None:
    if role is Role.ADMIN:
        raise Invalid("role", "must be viewer or support")
    if not SHORTEST <= lasts <= LONGEST:
        raise Invalid("lasts", "must be from 1 minute to 24 hours")
