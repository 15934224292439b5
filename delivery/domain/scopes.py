"""The scopes of API keys. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One kind of request that a key may make. No scope includes another."""

    PUBLISH = "publish"
    """Send events."""
    MANAGE = "manage"
    """Create, change, pause and delete endpoints, rotate their secrets, erase content."""
    READ = "read"
    """Read everything of the tenant: endpoints, events, deliveries, exports, the audit."""
    REPLAY = "replay"
    """Replay one delivery or many."""
    OPERATE = "operate"
    """Manage tenants, their keys and the event catalogue. Only the operator's key has it."""


ALL_SCOPES: Final = frozenset(Scope)
# The scopes that a tenant's key may have, and has by default, in display order.
TENANT_SCOPES: Final = (Scope.PUBLISH, Scope.MANAGE, Scope.READ, Scope.REPLAY)


def sort_scopes(scopes: frozenset[Scope]) -> list[Scope]:
    """These scopes in display order."""
    return [scope for scope in Scope if scope in scopes]
