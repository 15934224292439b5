"""Accept: from a producer's bytes to an event that is owed to every matching endpoint."""

from delivery.accept.accepter import Accepted, Accepter
from delivery.accept.parse import AcceptLimits, NewEvent, endpoint_test, parse_batch, parse_event

__all__ = ["AcceptLimits", "Accepted", "Accepter", "NewEvent", "endpoint_test", "parse_batch", "parse_event"]
