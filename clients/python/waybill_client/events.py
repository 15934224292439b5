"""What goes out and what comes back: an event, and an event that Waybill has accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Event:
    """An event. `data` is any JSON value, or the exact JSON as bytes.

    With `channels` it goes to endpoints that ask for one of them, and to those that ask for none.
    """

    type: str
    data: Any
    channels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted event and the number of its deliveries. `replayed`: it had been accepted before."""

    id: str
    type: str
    created_at: datetime
    deliveries: int
    replayed: bool = False
