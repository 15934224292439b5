"""A whole run: which faults, in which order, and what is said of it in the end."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.flood import flood
from tests.chaos.ground import ground
from tests.chaos.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.fault import Fault
    from tests.chaos.run import Outcome, Say


def order(faults: Sequence[Fault], rng: Random, *, brief: bool, only: str = "") -> list[Fault]:
    """The faults in the order in which they strike; each once, and the change of the database last."""
    chosen = [one for one in faults if only in one.name or only == one.part]
    chosen = [one for one in chosen if one.brief or not brief]
    last = [one for one in chosen if one.name.startswith("failover")]
    others = [one for one in chosen if one not in last]
    rng.shuffle(others)
    return others + last


def run(chosen: Sequence[Fault], *, seed: int, minutes: float, say: Say, floods: bool = False) -> Outcome:
    """Strike with one after the other for so many minutes at most, and settle the account.

    With `floods` there is a flood at the end.
    """
    rng = seeded(seed)
    until = time.monotonic() + minutes * 60
    with ground() as made, Run(made, seed=seed, say=say) as under_way:
        for fault in chosen:
            if time.monotonic() > until:
                under_way.outcome.left_out.append((fault, "there was no time left"))
                continue
            under_way.strike(fault, rng)
        outcome = under_way.finish()
        if floods:
            say("A flood …")
            outcome.flooded = flood(made, under_way.operator)
        return outcome


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
    if outcome.flooded is not None:
        lines += [f"Flood: {outcome.flooded}."]
        lines += [f"WRONG: {sentence}." for sentence in outcome.flooded.faults]
    return "\n".join(lines)


def seeded(seed: int) -> Random:
    """Choices that are the same for the same seed."""
    return Random(seed)  # noqa: S311  to be repeated, not to be secret


def _time(recovered: float | None) -> str:
    return "never well again" if recovered is None else f"well again after {recovered:.1f} s"
