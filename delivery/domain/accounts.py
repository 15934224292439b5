"""Actors, the users of the console with their roles, and portal links. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import KeyId, LinkId, TenantId, UserId


ENGINE_ACTOR = "waybill"  # the actor of what the engine does by itself


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, as the journal names them: a user, an API key, the CLI or the engine.

    `address` is the client's address or host name; None: not known.
    """

    name: str
    address: str | None = None


class Role(StrEnum):
    """The role of a user; `delivery.services.accounts.roles` says which abilities it gives."""

    VIEWER = "viewer"
    SUPPORT = "support"
    ADMIN = "admin"


class PortalRole(StrEnum):
    """The role of a portal link: view, or also replay, pause and rotate secrets."""

    VIEWER = "viewer"
    SUPPORT = "support"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account. `disabled_at`: they cannot sign in since then; None: they can.

    `has_password` False: they sign in through something else that authenticates them.
    """

    id: UserId
    email: str
    name: str
    role: Role
    has_password: bool
    created_at: datetime
    disabled_at: datetime | None = None

    @property
    def full_name(self) -> str:
        """The name in the audit: `Jane Doe <jane@example.com>`."""
        return f"{self.name} <{self.email}>"


@dataclass(frozen=True, slots=True)
class PortalLink:
    """A link by which a partner sees its own tenant for a while. `key_id` None: the operator made it."""

    id: LinkId
    tenant_id: TenantId
    key_id: KeyId | None
    role: Role
    label: str | None
    made_by: str
    created_at: datetime
    expires_at: datetime

    @property
    def full_name(self) -> str:
        """The name of its visitors in the audit: `portal:key_… (label)`."""
        return f"portal:{self.made_by}" + (f" ({self.label})" if self.label else "")
