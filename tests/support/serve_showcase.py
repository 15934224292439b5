"""Serve a showcase for your own browser: `make showcase`, or `… ARGS=--hostile`; Ctrl-C ends it."""

from __future__ import annotations

import argparse
import signal
import threading
from contextlib import suppress

from tests.support.console_users import CONSOLE_USERS
from tests.support.showcase import FULL_SHOWCASE, SMALL_SHOWCASE, run_showcase
from tests.support.stack import run_servers


def main() -> None:
    """Fill an engine, print how to sign in, and keep running."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are not left behind
    parser = argparse.ArgumentParser(prog="python -m tests.support.serve_showcase", description=__doc__)
    parser.add_argument("--hostile", action="store_true", help="with a hostile tenant, and without a past")
    scale = SMALL_SHOWCASE if parser.parse_args().hostile else FULL_SHOWCASE
    print("Starting an engine and filling it …")  # noqa: T201  a command
    with suppress(KeyboardInterrupt), run_servers() as stack, run_showcase(stack, scale) as shown:
        print(f"{shown.url}/console")  # noqa: T201  the user waits for it
        for one in CONSOLE_USERS:
            print(f"  {one.role:8} {one.email}  {one.password}")  # noqa: T201  likewise
        threading.Event().wait()


if __name__ == "__main__":
    main()
