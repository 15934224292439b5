"""Unit tests are pure: a socket in one of them is a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_socket
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    pytest_socket.disable_socket(allow_unix_socket=True)  # an event loop wakes itself through one
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo process-wide settings of command line tests."""
    yield
    structlog.reset_defaults()
