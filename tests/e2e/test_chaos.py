"""Faults against the whole engine, in their short form: `make chaos` has all of them."""

from __future__ import annotations

from tests.chaos.faults import ALL
from tests.chaos.runs import order, report, run, seeded

SEED = 7


def test_nothing_is_lost_whatever_is_struck() -> None:
    outcome = run(order(ALL, seeded(SEED), brief=True), seed=SEED, minutes=10, say=print)
    assert not outcome.account.faults, report(outcome)
    assert not [one for one in outcome.struck if one.recovered is None or one.remark], report(outcome)
    assert len(outcome.struck) + len(outcome.left_out) == len(order(ALL, seeded(SEED), brief=True))
