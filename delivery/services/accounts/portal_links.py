"""Portal links: a partner sees its own tenant for a while, without an account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain import tokens
from delivery.domain.accounts import PortalLink, Role
from delivery.domain.errors import Invalid, NotAuthenticated
from delivery.domain.ids import LinkId, Prefix, format_id, new_id, require_found
from delivery.ledger.records import sessions, tenants
from delivery.ledger.records.sessions import Session
from delivery.services.accounts.email_addresses import check_display_name
from delivery.services.accounts.sessions import SessionService

if TYPE_CHECKING:
    from delivery.domain.accounts import Actor
    from delivery.domain.ids import KeyId, TenantId
    from delivery.services.accounts.roles import Principal

DEFAULT_LIFETIME: Final = timedelta(hours=1)
MIN_LIFETIME: Final = timedelta(minutes=1)
MAX_LIFETIME: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class CreatedPortalLink:
    """A new link with its token, which is returned only here."""

    link: PortalLink
    token: str

    def build_url(self, base: str) -> str:
        """The link's URL at the console of this base URL."""
        return f"{base.rstrip('/')}/console/portal/{self.token}"


class PortalLinkService(SessionService):
    """Creates portal links and opens sessions by them."""

    async def create_link(
        self,
        tenant_id: TenantId,
        *,
        key_id: KeyId | None,
        role: Role,
        label: str | None = None,
        lifetime: timedelta = DEFAULT_LIFETIME,
        actor: Actor,
    ) -> CreatedPortalLink:
        """Create a link to a tenant's part of the console. It ends when the key that made it is revoked.

        Raises NotFound for an unknown tenant, and Invalid for `role`, `label` or `lasts`.
        """
        _validate_link(role, lifetime)
        now = self._clock()
        link = PortalLink(
            id=LinkId(new_id()),
            tenant_id=tenant_id,
            key_id=key_id,
            role=role,
            label=None if label is None else check_display_name(label, field_name="label"),
            made_by=actor.name,
            created_at=now,
            expires_at=now + lifetime,
        )
        token = tokens.generate_token(tokens.LINK_PREFIX, self._random_bytes)
        details = {
            "link_id": format_id(Prefix.LINK, link.id),
            "role": link.role,
            "label": link.label,
            "until": link.expires_at.isoformat(),
        }
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            require_found(await tenants.read(tx, tenant_id), Prefix.TENANT, tenant_id)
            await sessions.insert_link(tx, link, token_sha256=tokens.hash_token(token))
            await self._append_entry(tx, "portal_link.created", actor, details, tenant_id=tenant_id)
        return CreatedPortalLink(link, token)

    async def open_link(self, token: str, *, address: str | None) -> tuple[str, Principal]:
        """Open a session by a link; returns the session's token. A link can be used many times.

        The session ends when the link does. Raises NotAuthenticated for an unknown or expired link, and for
        one whose key was revoked.
        """
        if not tokens.is_well_formed_token(token, tokens.LINK_PREFIX):
            raise NotAuthenticated
        now = self._clock()
        async with self._ledger.transaction() as tx:
            link = await sessions.find_link(tx, tokens.hash_token(token), now=now)
            if link is None:
                raise NotAuthenticated
            session = Session(now, link.expires_at, link=link)
            return await self._insert_session(tx, session, "portal_link.opened", address)


def _validate_link(role: Role, lifetime: timedelta) -> None:
    if role is Role.ADMIN:
        raise Invalid("role", "must be viewer or support")
    if not MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
        raise Invalid("lasts", "must be from 1 minute to 24 hours")
