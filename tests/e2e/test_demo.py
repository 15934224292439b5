"""`make demo`, as a newcomer runs it; fewer events, so that it is over sooner."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYBILL = Path(sys.executable).with_name("waybill")
EVENTS = 60


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has just been started; its temporary folder is made in the test's own."""
    with subprocess.Popen(
        [WAYBILL, "demo", "--events", str(EVENTS)],
        env=os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "100"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        if process.poll() is None:
            process.kill()


def numbers(said: str, receiver: str) -> list[int]:
    """The counts of a receiver in the summary: owed, succeeded, held, attempts, verified."""
    line = re.search(rf"^{receiver} +\d.*$", said, re.MULTILINE)
    assert line is not None, said
    return [int(number) for number in re.findall(r"\d+", line[0])[:5]]


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_the_demo_delivers_verifies_and_leaves_nothing_behind(demo: subprocess.Popen[str], tmp_path: Path):
    wait_until(lambda: len(descendants(demo)) > 1, "the engine and its PostgreSQL", seconds=60)
    started = descendants(demo)
    said, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, said
    assert numbers(said, "warehouse") == [EVENTS, EVENTS, 0, EVENTS, EVENTS]
    owed, succeeded, held, attempts, verified = numbers(said, "billing")
    assert (owed, succeeded, held, verified) == (EVENTS, EVENTS, 0, EVENTS)
    # Ten open its breaker; after that only probes go out until it is well.
    assert EVENTS + 10 < attempts < 2 * EVENTS
    owed, succeeded, held, attempts, verified = numbers(said, "crm")
    assert (owed, succeeded, held, verified) == (EVENTS, 0, EVENTS, 0)
    assert 10 < attempts < EVENTS
    assert "breaker open" in said
    assert "The endpoint refused the connection" in said
    assert "Everything that had to be delivered was delivered and verified" in said
    assert not any(process.is_running() for process in started)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_its_engine_and_removes_its_folder(
    demo: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
):
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("Publishing"):
            break
    started = descendants(demo)
    assert len(started) > 1
    demo.send_signal(number)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, said
    assert not any(process.is_running() for process in started)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_engine_dies_says_so(demo: subprocess.Popen[str], tmp_path: Path):
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("Publishing"):
            break
    started = descendants(demo)
    demo_engine = psutil.Process(demo.pid).children()[0]
    demo_engine.kill()
    said, _ = demo.communicate(timeout=120)
    assert demo.returncode == 3, said
    assert "The demo's engine does not answer" in said
    psutil.wait_procs(started, timeout=30)
    assert list(tmp_path.iterdir()) == []
