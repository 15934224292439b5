"""`waybill doctor` beside an engine that runs, as an operator calls it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.stack import WAYBILL, wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def doctor(stack: Stack, *words: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [WAYBILL, "doctor", *words],
        env=stack.environment | environment,
        cwd=stack.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def grades(stack: Stack, **environment: str) -> tuple[int, dict[str, Any]]:
    code, told = doctor(stack, "--json", **environment)
    report = json.loads(told)
    assert report["wrong"] == sum(one["grade"] == "wrong" for one in report["checks"])
    assert code == (1 if report["wrong"] else 0)
    return code, {one["check"]: one["grade"] for one in report["checks"]}


def test_doctor_passes_a_running_engine_and_detects_clock_skew(stack: Stack) -> None:
    stack.serve("web", "relay", "worker")
    live = f"queue {stack.environment['WAYBILL_QUEUE_NAME']}.live"
    wait_until(lambda: grades(stack)[1].get(live) == "ok", "a worker that reads", seconds=60)
    code, found = grades(stack)
    assert code == 0
    assert "wrong" not in found.values()
    assert found["broker"] == found["database"] == found["clock"] == found["partitions"] == "ok"

    assert FAKETIME is not None, "Debian's faketime is not installed: `make faketime`"
    code, found = grades(stack, LD_PRELOAD=str(FAKETIME), FAKETIME="+1h", FAKETIME_DONT_FAKE_MONOTONIC="1")
    assert code == 1
    assert found["clock"] == "wrong"


def test_doctor_explains_findings_in_plain_text(stack: Stack) -> None:
    code, told = doctor(stack, WAYBILL_AMQP_URL="amqp://guest:hush@127.0.0.1:1/%2F", WAYBILL_POOLSIZE="3")
    assert code == 1
    assert "wrong     broker: RabbitMQ cannot be reached (Connection refused)." in told
    assert "Did you mean WAYBILL_POOL_SIZE?" in told
    assert "wrong     partitions: Today has no partitions: no event can be accepted." in told
    assert told.rstrip().splitlines()[-1].startswith("To fix: 2. Warnings: ")
    assert "hush" not in told


def test_settings_that_cannot_be_read_are_a_finding_too(stack: Stack) -> None:
    code, told = doctor(stack, WAYBILL_PORT="eighty")
    assert code == 1
    assert "WAYBILL_PORT" in told
