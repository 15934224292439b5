"""A worker that cannot use its settings ends: alive, it would take messages and deliver nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.scenario import TIMEOUT_SECONDS
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack

UNUSABLE = [("WAYBILL_EGRESS_PROXY", "ftp://proxy.example"), ("WAYBILL_EGRESS_ADDRESS", "203.0.113.9")]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_worker_with_invalid_settings_exits_with_one_line(stack: Stack, name: str, value: str) -> None:
    stack.environment[name] = value
    stack.serve("worker")
    wait_until(lambda: stack.list_crashed() != [], "the worker to end", seconds=TIMEOUT_SECONDS)
    [line] = stack.read_log("worker").splitlines()
    assert line.startswith(f"waybill: {name}")


def test_worker_subprocess_with_invalid_settings_exits_with_one_line(stack: Stack) -> None:
    stack.environment["WAYBILL_EGRESS_ADDRESS"] = "203.0.113.9"
    stack.start(
        "worker",
        sys.executable,
        "-m",
        "dramatiq",
        "workers.processes.worker",
        "--processes=1",
        "--skip-logging",
    )
    wait_until(lambda: stack.list_crashed() != [], "the worker to end", seconds=TIMEOUT_SECONDS)
    assert "worker.cannot_start" in stack.read_log("worker")
    assert "WAYBILL_EGRESS_ADDRESS" in stack.read_log("worker")
