"""What a proxy can get wrong, told apart from what a receiver does."""

from __future__ import annotations


class ProxyFault(OSError):
    """The proxy did not give us a connection. An OSError: to those who dial, one that failed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
