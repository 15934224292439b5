"""README's five minutes with curl, as they are printed, against `make up`'s engine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.stack import ROOT, find_free_port, wait_until

_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TOUR = re.compile(r"^## Five minutes with curl\n(.*?)^## ", re.MULTILINE | re.DOTALL)


def tour(readme: str, *, api_port: int, receiver_port: int) -> str:
    told = _TOUR.search(readme)
    assert told is not None
    script = "\n".join(_SHELL.findall(told[1]))
    # The tour speaks of the checkout it stands in, of the default port and of one for its receiver.
    return (
        script.replace('PATH="$PWD/.venv/bin:$PATH"', f'PATH="{Path(sys.executable).parent}:$PATH"')
        .replace("docs/examples/receiver.py", str(ROOT / "docs/examples/receiver.py"))
        .replace(":8080", f":{api_port}")
        .replace("9000", str(receiver_port))
    )


def test_the_tour_of_the_readme_works_as_it_is_printed(tmp_path: Path) -> None:
    port = find_free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    waybill = Path(sys.executable).with_name("waybill")
    with (tmp_path / "engine.log").open("wb") as log:
        engine = subprocess.Popen(
            [waybill, "dev"],
            cwd=tmp_path,
            env=environment | {"WAYBILL_PORT": str(port)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until((tmp_path / ".waybill/running.json").exists, "the engine", seconds=60)
        told = subprocess.run(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                tour((ROOT / "README.md").read_text(), api_port=port, receiver_port=find_free_port()),
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(40)
    assert told.returncode == 0, told.stderr
    # Sent once for the event, and once for the replay.
    received = (tmp_path / "received.log").read_text()
    assert received.count('"data":{"order": 1042}') == 2
    assert "succeeded" in told.stdout
