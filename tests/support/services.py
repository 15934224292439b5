"""The engine's use cases with some of them replaced, at the seam that `Services` is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from delivery.bootstrap import Services


def replace_services(services: Services, **replacements: Any) -> Services:
    """The same services, but for these attributes."""
    changed = copy.copy(services)
    vars(changed).update(replacements)
    return changed
