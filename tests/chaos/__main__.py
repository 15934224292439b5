"""`python -m tests.chaos`: faults against the whole engine, and the account at the end."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import time
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.faults import ALL
from tests.chaos.ground import ground
from tests.chaos.run import Outcome, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.fault import Fault


def main() -> int:
    """Run what was asked for; 0 if nothing was lost and everything was well again in time."""
    asked = _arguments()
    if asked.list:
        for fault in ALL:
            print(f"{fault.part:<12} {'brief' if fault.brief else '     '} {fault.name}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = order(ALL, seeded(asked.seed), brief=asked.brief, only=asked.only)
    print(f"Seed {asked.seed}: {len(chosen)} faults to come. Servers and processes start …", flush=True)
    outcome = run(chosen, seed=asked.seed, minutes=asked.minutes)
    print(report(outcome))
    print(json.dumps(outcome.line()), flush=True)
    return 0 if outcome.is_well else 1


def order(faults: Sequence[Fault], rng: Random, *, brief: bool, only: str) -> list[Fault]:
    """The faults in the order in which they strike; each once, and the change of the database last."""
    chosen = [one for one in faults if only in one.name or only == one.part]
    chosen = [one for one in chosen if one.brief or not brief]
    last = [one for one in chosen if one.name.startswith("failover")]
    others = [one for one in chosen if one not in last]
    rng.shuffle(others)
    return others + last


def run(chosen: Sequence[Fault], *, seed: int, minutes: float) -> Outcome:
    """Strike with one after the other for so many minutes at most, and settle the account."""
    rng = seeded(seed)
    until = time.monotonic() + minutes * 60
    with ground() as made, Run(made, seed=seed, say=_say) as under_way:
        for fault in chosen:
            if time.monotonic() > until:
                under_way.outcome.left_out.append((fault, "there was no time left"))
                continue
            under_way.strike(fault, rng)
        return under_way.finish()


def report(outcome: Outcome) -> str:
    """Everything that a person wants to know of a run."""
    account = outcome.account
    lines = ["", f"{account.accepted:,} events accepted, {account.delivered:,} deliveries succeeded."]
    lines += [f"Producers: {outcome.answers}."]
    lines += [f"{account.duplicates:,} came more than once:"]
    lines += [f"  {count:,} {why}" for why, count in account.explained.items() if count]
    lines += ["Receivers who are unwell:"]
    lines += [f"  {where:<32}{what:<36}{count:>6,}" for where, what, count in outcome.unwell]
    lines += [f"Left out: {fault.name} ({why})." for fault, why in outcome.left_out]
    lines += [f"WRONG: {sentence}." for sentence in account.faults]
    lines += [
        f"WRONG: “{one.fault.name}” {_time(one.recovered)}, {one.fault.within:.0f} s allowed. {one.remark}"
        for one in outcome.struck
        if not one.is_well
    ]
    return "\n".join(lines)


def seeded(seed: int) -> Random:
    """Choices that are the same for the same seed."""
    return Random(seed)  # noqa: S311  to be repeated, not to be secret


def _time(recovered: float | None) -> str:
    return "never well again" if recovered is None else f"well again after {recovered:.1f} s"


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="repeats a run's choices"
    )
    parser.add_argument("--brief", action="store_true", help="the short form, of two minutes")
    parser.add_argument("--only", default="", help="a part, or a piece of a fault's name")
    parser.add_argument("--minutes", type=float, default=14.0, help="strike no more after so many minutes")
    parser.add_argument("--list", action="store_true", help="list the faults")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Interrupted: everything is stopped and removed.", file=sys.stderr)
        sys.exit(130)
