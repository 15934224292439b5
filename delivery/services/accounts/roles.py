"""Who may do what. Pure."""

from __future__ import annotations

from enum import StrEnum

from delivery.domain.accounts import Role

__all__ = ["Ability", "Role", "describe_role", "get_abilities"]


class Ability(StrEnum):
    """What one may do. A page or a button asks for one of these, never for a role."""

    SEE = "see"
    """Look at everything that may be shown."""
    REPLAY = "replay"
    """Replay one delivery; start, pause, resume and cancel replays of many."""
    OPERATE = "operate"
    """Pause, resume and enable endpoints, send a test event."""
    SECRETS = "secrets"
    """Rotate an endpoint's secret, and so read the new one."""
    ADMINISTER = "administer"
    """Tenants, keys, people, retention; create, change, disable and delete endpoints."""


_SUPPORT = frozenset({Ability.SEE, Ability.REPLAY, Ability.OPERATE})
_STAFF = {
    Role.VIEWER: frozenset({Ability.SEE}),
    Role.SUPPORT: _SUPPORT,
    Role.ADMIN: frozenset(Ability),
}
# A partner's secrets are its own to rotate. Nobody administers by a link, whatever it says.
_PORTAL = {
    Role.VIEWER: frozenset({Ability.SEE}),
    Role.SUPPORT: _SUPPORT | {Ability.SECRETS},
    Role.ADMIN: _SUPPORT | {Ability.SECRETS},
}


def get_abilities(role: Role, *, portal: bool) -> frozenset[Ability]:
    """What this role may do: of staff, or of a visitor who came by a link and is bound to its tenant."""
    return (_PORTAL if portal else _STAFF)[role]


def describe_role(role: Role) -> str:
    """What staff of this role may do, as people say it."""
    may = get_abilities(role, portal=False)
    return "everything" if may == set(Ability) else ", ".join(_WORDS[one] for one in Ability if one in may)


_WORDS = {
    Ability.SEE: "look",
    Ability.REPLAY: "replay",
    Ability.OPERATE: "pause and resume endpoints",
    Ability.SECRETS: "rotate secrets",
    Ability.ADMINISTER: "administer",
}
