"""The Procfile's processes, as processes, on a database and a broker of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.api import Api
from tests.support.stack import OPERATOR_KEY, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Short leases: a worker that was killed is missed after seconds, not after three quarters of a minute.
SHORT = {
    "WAYBILL_LEASE_SECONDS": "5",
    "WAYBILL_QUEUE_LEASE_SECONDS": "4",
    "WAYBILL_ATTEMPT_TIMEOUT": "3",
    "WAYBILL_DETACH_SECONDS": "0.5",
    "WAYBILL_POLL_SECONDS": "0.5",
    "WAYBILL_RETRY_SCHEDULE": "0,0.5,1,1,2,2",
    "WAYBILL_LOG_LEVEL": "info",
    "WAYBILL_LOG_FORMAT": "json",
}


@pytest.fixture
def stack(
    tmp_path: Path, database_url: str, amqp_url: str, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    """Nothing of the engine runs yet; what the test starts is stopped after it."""
    stack = Stack(tmp_path, database_url, amqp_url)
    stack.environment |= SHORT | {"WAYBILL_QUEUE_NAME": f"test-{tmp_path.name[:40]}"}
    yield stack
    stack.stop()
    if getattr(request.node, "failed", True):
        for log in sorted(tmp_path.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-6000:]}")  # noqa: T201  pytest shows it with the failure


@pytest.fixture
def operator(stack: Stack) -> Api:
    """The operator at the API of this test's `web`."""
    return Api(f"http://127.0.0.1:{stack.port}", OPERATOR_KEY)
