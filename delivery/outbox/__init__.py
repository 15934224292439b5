"""Deprecated: `waybill_client.outbox` under its old name, for one release."""

import warnings

try:
    from waybill_client.outbox import Event, Outbox
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"delivery.outbox is waybill_client.outbox now: pip install 'waybill-client[outbox]' ({error})",
        name=error.name,
    ) from None

__all__ = ["Event", "Outbox"]

warnings.warn("delivery.outbox is now waybill_client.outbox", DeprecationWarning, stacklevel=2)
