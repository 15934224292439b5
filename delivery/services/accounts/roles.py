"""Roles, the abilities they give, and the principal who uses them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.domain.accounts import Role

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.ids import TenantId, UserId

__all__ = ["Ability", "Principal", "Role", "describe_role", "get_abilities"]


class Ability(StrEnum):
    """One thing a user may do. Pages and buttons ask for an ability, never for a role."""

    SEE = "see"
    """View everything that may be shown."""
    REPLAY = "replay"
    """Replay one delivery; start, pause, resume and cancel replay jobs."""
    OPERATE = "operate"
    """Pause, resume and enable endpoints, send a test event."""
    SECRETS = "secrets"
    """Rotate an endpoint's secret, which shows the new one."""
    ADMINISTER = "administer"
    """Tenants, API keys, users, retention; create, change, disable and delete endpoints."""


_SUPPORT: Final = frozenset({Ability.SEE, Ability.REPLAY, Ability.OPERATE})
_STAFF: Final = {
    Role.VIEWER: frozenset({Ability.SEE}),
    Role.SUPPORT: _SUPPORT,
    Role.ADMIN: frozenset(Ability),
}
# A partner may rotate its own secrets. A portal link never allows to administer, whatever its role.
_PORTAL: Final = {
    Role.VIEWER: frozenset({Ability.SEE}),
    Role.SUPPORT: _SUPPORT | {Ability.SECRETS},
    Role.ADMIN: _SUPPORT | {Ability.SECRETS},
}
_VERBS: Final = {
    Ability.SEE: "look",
    Ability.REPLAY: "replay",
    Ability.OPERATE: "pause and resume endpoints",
    Ability.SECRETS: "rotate secrets",
    Ability.ADMINISTER: "administer",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """The user or partner of an open session. `tenant_id` None: staff, who see every tenant.

    `actor` is the name in the audit, with the address of this request. `user_id` None: a portal link.
    """

    actor: Actor
    name: str
    role: Role
    tenant_id: TenantId | None
    expires_at: datetime
    user_id: UserId | None = None

    def has_ability(self, ability: Ability) -> bool:
        """Whether this principal may do it, within the tenants it may see."""
        return ability in get_abilities(self.role, portal=self.user_id is None)


def get_abilities(role: Role, *, portal: bool) -> frozenset[Ability]:
    """The abilities of a role: of staff, or of a portal link, which is bound to its tenant."""
    return (_PORTAL if portal else _STAFF)[role]


def describe_role(role: Role) -> str:
    """Write what staff of this role may do: `look, replay, pause and resume endpoints`."""
    abilities = get_abilities(role, portal=False)
    if abilities == set(Ability):
        return "everything"
    return ", ".join(_VERBS[ability] for ability in Ability if ability in abilities)
