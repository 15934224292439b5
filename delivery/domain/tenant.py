"""A tenant, to which every row belongs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.ids import TenantId


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of the platform. `retention` has days by kind of data where shorter than the operator's."""

    id: TenantId
    name: str
    created_at: datetime
    retention: Mapping[str, int] = field(default_factory=dict)
