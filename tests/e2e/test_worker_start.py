"""A worker that cannot use its settings ends: alive, it would take messages and deliver nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.scene import PATIENCE
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack

UNUSABLE = [("WAYBILL_EGRESS_PROXY", "ftp://proxy.example"), ("WAYBILL_EGRESS_ADDRESS", "203.0.113.9")]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_it_says_so_in_one_line(stack: Stack, name: str, value: str) -> None:
    stack.environment[name] = value
    stack.serve("worker")
    wait_until(lambda: stack.ended() != [], "the worker to end", seconds=PATIENCE)
    [line] = stack.log("worker").splitlines()
    assert line.startswith(f"waybill: {name}")


def test_so_does_a_process_of_it_that_finds_out_later(stack: Stack) -> None:
    stack.environment["WAYBILL_EGRESS_ADDRESS"] = "203.0.113.9"
    stack.start(
        "worker",
        sys.executable,
        "-m",
        "dramatiq",
        "workers.worker_process",
        "--processes=1",
        "--skip-logging",
    )
    wait_until(lambda: stack.ended() != [], "the worker to end", seconds=PATIENCE)
    assert "worker.cannot_start" in stack.log("worker")
    assert "WAYBILL_EGRESS_ADDRESS" in stack.log("worker")
