"""Dispatch: a claim's deliveries are loaded, signed, sent, judged and recorded."""

from delivery.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
