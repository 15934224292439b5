"""The transactional outbox: an event is written with the change that it tells of, or not at all.

It lives in the application's own PostgreSQL. `Outbox` is what the application uses; `waybill outbox forward`
is the small program that carries rows to Waybill.
"""

from delivery.client import Event
from delivery.outbox.table import Outbox

__all__ = ["Event", "Outbox"]
