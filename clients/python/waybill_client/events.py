"""An event, and the result of sending it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Event:
    """An event. `data` is any JSON value, or the exact JSON as bytes.

    With `channels` it is sent to endpoints with one of these channels, and to endpoints without channels.
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
