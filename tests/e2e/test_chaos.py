"""Faults against the whole engine, in their short form: `make chaos` has all of them."""

from __future__ import annotations

from tests.chaos.faults import ALL_FAULTS
from tests.chaos.runner import format_report, make_rng, order_faults, run_faults

SEED = 7


def test_no_event_is_lost_under_any_fault() -> None:
    outcome = run_faults(
        order_faults(ALL_FAULTS, make_rng(SEED), brief=True), seed=SEED, max_minutes=10, print_line=print
    )
    assert not outcome.reconciliation.errors, format_report(outcome)
    assert not [one for one in outcome.fault_reports if one.recovery_seconds is None or one.remark], (
        format_report(outcome)
    )
    assert len(outcome.fault_reports) + len(outcome.skipped) == len(
        order_faults(ALL_FAULTS, make_rng(SEED), brief=True)
    )
