"""Whoever is at the console just now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.services.accounts.roles import get_abilities

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.accounts import Actor, Role
    from delivery.domain.ids import TenantId, UserId
    from delivery.services.accounts.roles import Ability


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody with an open session. `tenant_id` None: staff, who see every tenant.

    `actor` is how the audit names them, with the address of this request; `person_id` None: they came by a
    link.
    """

    actor: Actor
    name: str
    role: Role
    tenant_id: TenantId | None
    expires_at: datetime
    user_id: UserId | None = None

    def has_ability(self, ability: Ability) -> bool:
        """Whether they may do this, where they may be at all."""
        return ability in get_abilities(self.role, portal=self.user_id is None)
