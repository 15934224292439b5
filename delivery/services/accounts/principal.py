"""Whoever is at the console just now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.people.roles import abilities_of

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.accounts import Role
    from delivery.model import Actor, PersonId, TenantId
    from delivery.people.roles import Ability


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with an open session. `tenant_id` None: staff, who see every tenant.

    `actor` is how the audit names them, with the address of this request; `person_id` None: they came by a
    link.
    """

    actor: Actor
    name: str
    role: Role
    tenant_id: TenantId | None
    expires_at: datetime
    person_id: PersonId | None = None

    def may(self, ability: Ability) -> bool:
        """Whether they may do this, where they may be at all."""
        return ability in abilities_of(self.role, portal=self.person_id is None)
