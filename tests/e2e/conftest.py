"""The Procfile's processes, as processes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.api import Api
from tests.support.stack import OPERATOR_KEY, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import DatabaseServer

# Short leases: a worker that was killed is missed after seconds, not after three quarters of a minute.
SHORT_LEASE_SETTINGS = {
    "WAYBILL_LEASE_SECONDS": "5",
    "WAYBILL_QUEUE_LEASE_SECONDS": "4",
    "WAYBILL_ATTEMPT_TIMEOUT": "3",
    "WAYBILL_DETACH_SECONDS": "0.5",
    "WAYBILL_POLL_SECONDS": "0.5",
    "WAYBILL_RETRY_SCHEDULE": "0,0.5,1,1,2,2",
    "WAYBILL_LOG_LEVEL": "info",
    "WAYBILL_LOG_FORMAT": "json",
    # Each process is an interpreter to start; tests of several worker processes say so.
    "WAYBILL_WORKER_PROCESSES": "1",
}


def _stack(folder: Path, database_url: str, amqp_url: str) -> Stack:
    stack = Stack(folder, database_url, amqp_url)
    stack.environment |= SHORT_LEASE_SETTINGS | {"WAYBILL_QUEUE_NAME": f"test-{folder.name[:40]}"}
    return stack


@pytest.fixture
def stack(tmp_path: Path, database_url: str, amqp_url: str) -> Iterator[Stack]:
    """Nothing of the engine runs yet, and the test may kill what it starts; all is stopped after it."""
    stack = _stack(tmp_path, database_url, amqp_url)
    yield stack
    stack.stop()
    _show_logs(tmp_path)


@pytest.fixture
def operator(stack: Stack) -> Api:
    """The operator at the API of this test's `web`."""
    return Api(f"http://127.0.0.1:{stack.port}", OPERATOR_KEY)


@pytest.fixture(scope="session")
def engine_stack(
    tmp_path_factory: pytest.TempPathFactory,
    database_server: DatabaseServer,
    migrated_template: str,
    amqp_url: str,
) -> Iterator[Stack]:
    """The processes of `engine`."""
    with ExitStack() as exits:
        url = exits.enter_context(database_server.database(template=migrated_template))
        stack = _stack(tmp_path_factory.mktemp("engine"), url, amqp_url)
        exits.callback(stack.stop)
        stack.serve("web", "relay", "worker")
        yield stack


@pytest.fixture(scope="session")
def engine(engine_stack: Stack) -> Api:
    """A whole engine that tests share and leave alone, each with tenants of its own: its operator."""
    return Api(f"http://127.0.0.1:{engine_stack.port}", OPERATOR_KEY)


@pytest.fixture(scope="module")
def module_stack(
    tmp_path_factory: pytest.TempPathFactory,
    database_server: DatabaseServer,
    migrated_template: str,
    amqp_url: str,
) -> Iterator[Stack]:
    """Nothing of the engine runs yet. A module's fixture sets what its tests share, and starts it once."""
    folder = tmp_path_factory.mktemp("module")
    with database_server.database(template=migrated_template) as url:
        stack = _stack(folder, url, amqp_url)
        yield stack
        stack.stop()
        _show_logs(folder)


def _show_logs(folder: Path) -> None:
    """Print what the processes said; pytest shows it when the test has failed."""
    for log in sorted(folder.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()[-4000:]}")  # noqa: T201  see above
