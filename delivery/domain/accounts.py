"""Actors, the users of the console with their roles, and portal links. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import KeyId, LinkId, TenantId, UserId


ENGINE_ACTOR = "waybill"  # the actor of the engine's own actions


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor of a journal entry: a user, an API key, the CLI or the engine.

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
    """A console account. `disabled_at`: when it was disabled; None: it can sign in.

    `has_password` False: the user signs in through an external authentication.
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
    """A partner's temporary link to its own tenant. `key_id` None: created by the operator."""

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
