"""The transactional outbox: an event commits with the change it reports, or not at all.

It is a table in the application's own PostgreSQL. The application writes events through `Outbox`, and
`waybill outbox forward` sends them to Waybill. Needs the extra `outbox`.
"""

from waybill_client import Event
from waybill_client.outbox.table import Outbox

__all__ = ["Event", "Outbox"]
