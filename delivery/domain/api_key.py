"""An API key of a tenant, without its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.scopes import TENANT_SCOPES, Scope

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import KeyId, TenantId


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A tenant's key without its text; `hint` is the beginning of the text.

    `expires_at` None: it does not expire. `last_used_at` is accurate to about a minute. `requests_per_second`
    None: the operator's limit applies. `replaced_by` is the key that a rotation put in its place.
    """

    id: KeyId
    tenant_id: TenantId
    name: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None
    scopes: frozenset[Scope] = frozenset(TENANT_SCOPES)
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    requests_per_second: int | None = None
    replaced_by: KeyId | None = None

    def ended_at(self, now: datetime) -> datetime | None:
        """When the key was revoked or expired, whichever came first; None: it is valid."""
        ends = [end for end in (self.revoked_at, self.expires_at) if end is not None and end <= now]
        return min(ends, default=None)
