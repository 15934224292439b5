"""`python -m tests.chaos`: faults against the whole engine, and the account at the end."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys

from tests.chaos.faults import ALL
from tests.chaos.runs import order, report, run, seeded


def main() -> int:
    """Run what was asked for; 0 if nothing was lost and everything was well again in time."""
    asked = _arguments()
    if asked.list:
        for fault in ALL:
            print(f"{fault.part:<12} {'brief' if fault.brief else '     '} {fault.name}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = order(ALL, seeded(asked.seed), brief=asked.brief, only=asked.only)
    if not chosen:
        print(f"No fault is called or belongs to “{asked.only}”: --list names them.", file=sys.stderr)
        return 2
    print(f"Seed {asked.seed}: {len(chosen)} faults to come. Servers and processes start …", flush=True)
    outcome = run(chosen, seed=asked.seed, minutes=asked.minutes, say=_say, floods=asked.flood)
    print(report(outcome))
    print(json.dumps(outcome.line()), flush=True)
    return 0 if outcome.is_well else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="repeats a run's choices"
    )
    parser.add_argument("--brief", action="store_true", help="the short form, of two minutes")
    parser.add_argument("--only", default="", help="a part, or a piece of a fault's name")
    parser.add_argument("--minutes", type=float, default=10.0, help="strike no more after so many minutes")
    parser.add_argument("--flood", action="store_true", help="at the end, twice what can be sustained")
    parser.add_argument("--list", action="store_true", help="list the faults")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Interrupted: everything is stopped and removed.", file=sys.stderr)
        sys.exit(130)
