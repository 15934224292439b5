"""A tenant's API key, without its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.scopes import TENANT_SCOPES, Scope

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import KeyId, TenantId


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A tenant's key as it may be shown: never the key itself.

    `expires_at` None: it does not expire. `last_used_at` is true to a minute or so. `requests_per_second`
    None: as many as the operator lets every key ask. `replaced_by` is what a rotation put in its place.
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
        """Since when it is taken no more: revoked, or expired; None: it is good."""
        ends = [end for end in (self.revoked_at, self.expires_at) if end is not None and end <= now]
        return min(ends, default=None)
