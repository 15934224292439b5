"""Errors of a proxy, separate from those of a receiver."""

from __future__ import annotations


class ProxyFault(OSError):
    """The proxy did not give us a connection. An OSError, so that it counts as a failed dial."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
