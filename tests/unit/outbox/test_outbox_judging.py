"""What an answer means for a batch of an outbox."""

from __future__ import annotations

from datetime import timedelta

import pytest

from delivery.client import ClientError, GaveUp, NotUnderstood, Problem
from delivery.client.errors import refused
from delivery.outbox.forward import LONGEST, TROUBLE, Aside, Halve, Later, Verdict, judge


def problem(status: int, *errors: dict[str, str]) -> ClientError:
    return refused(Problem(status, "/problems/x", "No", "Not so.", errors=errors))


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_of_several_that_are_refused_half_are_tried_and_one_is_set_aside(status: int):
    assert judge(problem(status), rows=2) == Halve()
    assert judge(problem(status), rows=1) == Aside(f"{status} No: Not so.")


@pytest.mark.parametrize("rows", [3, 500])
def test_an_event_that_the_answer_names_is_set_aside_at_once(rows: int):
    error = problem(422, {"field": "events.2.type", "why": "is no type"})
    assert judge(error, rows=rows) == Aside("type: is no type", 2)
    whole = problem(422, {"field": "events.2", "why": "is not JSON"})
    assert judge(whole, rows=rows) == Aside("event: is not JSON", 2)


@pytest.mark.parametrize("field", ["events.3.type", "events", "Idempotency-Key", "events.x.type"])
def test_a_fault_that_names_no_event_of_the_batch_is_looked_for(field: str):
    assert judge(problem(422, {"field": field, "why": "is wrong"}), rows=3) == Halve()


@pytest.mark.parametrize("rows", [1, 9])
def test_a_conflict_is_never_sent_under_another_key(rows: int):
    verdict = judge(problem(409), rows=rows)
    assert isinstance(verdict, Aside)
    assert "may have been accepted" in verdict.reason


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (problem(401), Later(TROUBLE)),
        (problem(403), Later(TROUBLE)),
        (problem(404), Later(TROUBLE)),
        (problem(410), Later(TROUBLE)),
        (NotUnderstood(200, b"<html>"), Later(TROUBLE)),
        (GaveUp("cut", tries=9, idempotency_key="k"), Later(timedelta(0))),
        (GaveUp("503", tries=1, idempotency_key="k", retry_after=timedelta(hours=1)), Later(LONGEST)),
    ],
)
@pytest.mark.parametrize("rows", [1, 9])
def test_what_is_nothing_about_the_events_is_sent_again_later(
    error: ClientError, verdict: Verdict, rows: int
):
    assert judge(error, rows=rows) == verdict
