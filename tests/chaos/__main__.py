"""`python -m tests.chaos`: faults against the whole engine, and the account at the end."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys

from tests.chaos.faults import ALL_FAULTS
from tests.chaos.runner import format_report, make_rng, order_faults, run_faults


def main() -> int:
    """Run what was asked for; 0 if nothing was lost and everything was well again in time."""
    asked = _parse_arguments()
    if asked.list:
        for fault in ALL_FAULTS:
            print(f"{fault.area:<12} {'brief' if fault.is_in_short_run else '     '} {fault.name}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = order_faults(ALL_FAULTS, make_rng(asked.seed), brief=asked.brief, only=asked.only)
    if not chosen:
        print(f"No fault is called or belongs to “{asked.only}”: --list names them.", file=sys.stderr)
        return 2
    print(f"Seed {asked.seed}: {len(chosen)} faults to come. Servers and processes start …", flush=True)
    outcome = run_faults(
        chosen, seed=asked.seed, max_minutes=asked.minutes, print_line=_print_line, with_overload=asked.flood
    )
    print(format_report(outcome))
    print(json.dumps(outcome.to_json()), flush=True)
    return 0 if outcome.is_well else 1


def _print_line(line: str) -> None:
    print(line, flush=True)


def _parse_arguments() -> argparse.Namespace:
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
