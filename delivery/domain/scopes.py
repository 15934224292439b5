"""What a key may do. Pure words, which routes, keys and documents share."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One kind of thing that a key may be for. None of them includes another one."""

    PUBLISH = "publish"
    """Send events."""
    MANAGE = "manage"
    """Make, change, pause and delete endpoints, rotate their secrets, erase content."""
    READ = "read"
    """Look at everything of the tenant: endpoints, events, deliveries, exports, the audit."""
    REPLAY = "replay"
    """Send again what was sent before, one or many."""
    OPERATE = "operate"
    """Tenants and their keys, the catalogue of event types. Only the operator's own key has it."""


ALL_SCOPES: Final = frozenset(Scope)
# What a key of a tenant may be given, and gets when nobody says anything, in the order in which it is shown.
TENANT_SCOPES: Final = (Scope.PUBLISH, Scope.MANAGE, Scope.READ, Scope.REPLAY)


def sort_scopes(scopes: frozenset[Scope]) -> list[Scope]:
    """These scopes in the order in which they are always shown."""
    return [scope for scope in Scope if scope in scopes]
