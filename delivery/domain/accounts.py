"""Users and their roles, portal links, and the actor that an audit entry names."""

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
    """Who asks for something, and from which address or machine; None: not known."""

    name: str
    address: str | None = None


class Role(StrEnum):
    """What somebody is here: which abilities follow from it is said in `delivery.services.accounts.roles`."""

    VIEWER = "viewer"
    SUPPORT = "support"
    ADMIN = "admin"


class PortalRole(StrEnum):
    """What whoever comes by a link may do: look, or also replay, pause and rotate secrets."""

    VIEWER = "viewer"
    SUPPORT = "support"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account. `disabled_at`: since then they cannot sign in; None: they can.

    `has_password` False: another door has to prove who they are.
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
        """How the audit names them: `Jane Doe <jane@example.com>`."""
        return f"{self.name} <{self.email}>"


@dataclass(frozen=True, slots=True)
class PortalLink:
    """What lets a partner see its own tenant for a while. `key_id` None: the operator made it."""

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
        """How the audit names whoever came by it: `portal:key_… (label)`."""
        return f"portal:{self.made_by}" + (f" ({self.label})" if self.label else "")
