"""A tenant: the owner of every row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.ids import TenantId


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose data it is. `retention` has days by kind of content, where it has less kept than the operator."""

    id: TenantId
    name: str
    created_at: datetime
    retention: Mapping[str, int] = field(default_factory=dict)
