"""Why a delivery is where it is, and why an event went where it went: told from what the ledger keeps."""

from delivery.tracing.of_delivery import DeliveryTrace
from delivery.tracing.of_event import EventTrace, Fate, Verdict
from delivery.tracing.sentences import of_entry as said_of
from delivery.tracing.steps import Step, What
from delivery.tracing.traces import Traces

__all__ = ["DeliveryTrace", "EventTrace", "Fate", "Step", "Traces", "Verdict", "What", "said_of"]
