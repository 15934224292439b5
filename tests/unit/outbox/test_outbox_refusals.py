"""What an answer means for a batch of an outbox."""

from __future__ import annotations

from datetime import timedelta

import pytest

from delivery.client import ClientError, GaveUp, NotUnderstood, Problem, Unsendable
from delivery.client.errors import refused
from delivery.outbox.forward import LONGEST, TROUBLE, Aside, Halve, Later, Verdict, judge


def problem(status: int, *errors: dict[str, str]) -> ClientError:
    return refused(Problem(status, "/problems/x", "No", "Not so.", errors=errors))


def stranger(status: int) -> ClientError:
    """What a gateway says, which knows nothing of Waybill's problems."""
    return refused(Problem(status, "about:blank", "<html>"))


BODY = {"field": "body", "why": "is not JSON"}


@pytest.mark.parametrize("error", [problem(413), problem(400, BODY), problem(422, BODY)])
def test_of_several_that_are_refused_half_are_tried_and_one_is_set_aside(error: ClientError):
    assert judge(error, rows=2) == Halve()
    assert judge(error, rows=1) == Aside(str(error))


def test_what_a_stranger_finds_too_large_is_halved_and_never_condemned():
    assert judge(stranger(413), rows=2) == Halve()
    assert judge(stranger(413), rows=1) == Later(TROUBLE)


def test_a_row_that_is_no_json_is_set_aside():
    error = Unsendable(ValueError("no JSON"), place=2, idempotency_key="k", accepted=())
    assert judge(error, rows=3) == Aside("Event 2 cannot be sent: ValueError: no JSON", 2)


@pytest.mark.parametrize("rows", [3, 500])
def test_an_event_that_the_answer_names_is_set_aside_at_once(rows: int):
    error = problem(422, {"field": "events.2.type", "why": "is no type"})
    assert judge(error, rows=rows) == Aside("type: is no type", 2)
    whole = problem(422, {"field": "events.2", "why": "is not JSON"})
    assert judge(whole, rows=rows) == Aside("event: is not JSON", 2)


@pytest.mark.parametrize(
    "field", ["events.3.type", "events", "events.x.type", "data.a", "type", "channels.0", "body"]
)
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
        (problem(422, {"field": "Waybill-Tenant", "why": "is needed"}), Later(TROUBLE)),
        (problem(422, {"field": "Idempotency-Key", "why": "is odd"}), Later(TROUBLE)),
        (problem(422), Later(TROUBLE)),
        (problem(400), Later(TROUBLE)),
        (problem(415), Later(TROUBLE)),
        *[(stranger(status), Later(TROUBLE)) for status in (400, 404, 409, 415, 422)],
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
