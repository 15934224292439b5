"""A showcase to look at with one's own browser: `make showcase`, or `… ARGS=--hostile`; Ctrl-C ends it."""

from __future__ import annotations

import argparse
import signal
import threading
from contextlib import suppress

from tests.support.showcase import FULL, SMALL, showing
from tests.support.stack import running_servers
from tests.support.staff import STAFF


def main() -> None:
    """Fill an engine, say how to get in, and stay."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are not left behind
    parser = argparse.ArgumentParser(prog="python -m tests.support.exhibition", description=__doc__)
    parser.add_argument("--hostile", action="store_true", help="with a hostile tenant, and without a past")
    scale = SMALL if parser.parse_args().hostile else FULL
    print("Starting an engine and filling it …")  # noqa: T201  a command
    with suppress(KeyboardInterrupt), running_servers() as stack, showing(stack, scale) as shown:
        print(f"{shown.url}/console")  # noqa: T201  somebody waits for it
        for one in STAFF:
            print(f"  {one.role:8} {one.email}  {one.password}")  # noqa: T201  likewise
        threading.Event().wait()


if __name__ == "__main__":
    main()
