"""The examples of docs/send.md, as they are printed, against a real engine, database and broker."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.amqp_publisher import Publisher
from tests.support.stack import ROOT, WAYBILL, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api import Api
    from tests.support.stack import Stack

_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_on_sending_run_as_they_are_printed(
    stack: Stack, operator: Api, empty_database_url: str, tmp_path: Path
) -> None:
    # The page names the default exchange.
    stack.environment["WAYBILL_QUEUE_NAME"] = "waybill"
    stack.serve("web", "ingest")
    wait_until(lambda: "ingest.consuming" in stack.read_log("ingest"), "the exchange", seconds=60)
    tenant = operator.create_tenant()
    environment = stack.environment | {
        "PATH": f"{WAYBILL.parent}:{stack.environment['PATH']}",
        "WAYBILL_URL": operator.url,
        "WAYBILL_KEY": tenant.key,
        "SHOP_DATABASE": empty_database_url,
    }
    blocks = _BLOCK.findall((ROOT / "docs/send.md").read_text())
    assert [language for language, _ in blocks] == ["sh", "sh", "python", "python", "python", "sh", "python"]
    stack.environment |= environment
    for number, (language, program) in enumerate(blocks):
        path = tmp_path / f"{number}.{language}"
        path.write_text(program)
        command = [sys.executable if language == "python" else "bash", str(path)]
        if "outbox forward" in program:
            stack.start("forward", *command)
            continue
        told = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert told.returncode == 0, (program, told.stderr)

    def orders(type_: str) -> list[int]:
        listed = tenant.list_all(f"/v1/events?type={type_}")
        if type_ == "order.paid":
            return [0] * len(listed)
        return sorted(tenant.get(f"/v1/events/{event['id']}")["body"]["data"]["order"] for event in listed)

    wait_until(lambda: len(orders("order.created")) == 6, "all of them", seconds=60)
    assert orders("order.created") == [1042, 1043, 1044, 1045, 1046, 1047]
    assert len(orders("order.paid")) == 1_201
    with Publisher(stack.environment["WAYBILL_AMQP_URL"], "waybill.ingest") as publisher:
        stack.stop()
        publisher.delete()
