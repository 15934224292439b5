"""A whole run: which faults, in which order, and what is said of it in the end."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.chaos_run import ChaosRun
from tests.chaos.environment import start_environment
from tests.chaos.overload import run_overload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.chaos_run import PrintLine, RunReport
    from tests.chaos.fault import Fault


def order_faults(faults: Sequence[Fault], rng: Random, *, brief: bool, only: str = "") -> list[Fault]:
    """The faults in the order in which they strike; each once, and the change of the database last."""
    chosen = [one for one in faults if only in one.name or only == one.area]
    chosen = [one for one in chosen if one.is_in_short_run or not brief]
    last = [one for one in chosen if one.name.startswith("failover")]
    others = [one for one in chosen if one not in last]
    rng.shuffle(others)
    return others + last


def run_faults(
    chosen: Sequence[Fault],
    *,
    seed: int,
    max_minutes: float,
    print_line: PrintLine,
    with_overload: bool = False,
) -> RunReport:
    """Inject one fault after another, for at most this many minutes, and reconcile.

    With `floods` there is a flood at the end.
    """
    rng = make_rng(seed)
    until = time.monotonic() + max_minutes * 60
    with start_environment() as made, ChaosRun(made, seed=seed, say=print_line) as under_way:
        for fault in chosen:
            if time.monotonic() > until:
                under_way.outcome.skipped.append((fault, "there was no time left"))
                continue
            under_way.inject(fault, rng)
        outcome = under_way.finish()
        if with_overload:
            print_line("A flood …")
            outcome.overload = run_overload(made, under_way.operator)
        return outcome


def format_report(outcome: RunReport) -> str:
    """Everything that a person wants to know of a run."""
    account = outcome.reconciliation
    lines = ["", f"{account.accepted:,} events accepted, {account.delivered:,} deliveries succeeded."]
    lines += [f"Producers: {outcome.producer_summary}."]
    lines += [f"{account.duplicates:,} came more than once:"]
    lines += [f"  {count:,} {why}" for why, count in account.duplicate_reasons.items() if count]
    lines += ["Receivers who are unwell:"]
    lines += [f"  {where:<32}{what:<36}{count:>6,}" for where, what, count in outcome.bad_receiver_outcomes]
    lines += [f"Left out: {fault.name} ({why})." for fault, why in outcome.skipped]
    lines += [f"WRONG: {sentence}." for sentence in account.errors]
    lines += [
        f"WRONG: “{one.fault.name}” {_format_recovery(one.recovery_seconds)}, "
        f"{one.fault.max_recovery_seconds:.0f} s allowed. {one.remark}"
        for one in outcome.fault_reports
        if not one.is_well
    ]
    if outcome.overload is not None:
        lines += [f"Flood: {outcome.overload}."]
        lines += [f"WRONG: {sentence}." for sentence in outcome.overload.errors]
    return "\n".join(lines)


def make_rng(seed: int) -> Random:
    """Choices that are the same for the same seed."""
    return Random(seed)  # noqa: S311  to be repeated, not to be secret


def _format_recovery(recovered: float | None) -> str:
    return "never well again" if recovered is None else f"well again after {recovered:.1f} s"
