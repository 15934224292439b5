"""What each answer means for a batch of an outbox."""

from __future__ import annotations

from datetime import timedelta

import pytest

from waybill_client import ClientError, GaveUp, NotUnderstood, Problem, Unsendable
from waybill_client.errors import build_refused
from waybill_client.outbox.forwarder import (
    ERROR_RETRY_INTERVAL,
    MAX_RETRY_INTERVAL,
    BatchDecision,
    RefuseRows,
    RetryLater,
    SplitBatch,
    decide_batch,
)


def problem(status: int, *errors: dict[str, str]) -> ClientError:
    return build_refused(Problem(status, "/problems/x", "No", "Not so.", errors=errors))


def stranger(status: int) -> ClientError:
    """Answers of a gateway, which does not use Waybill's problem types."""
    return build_refused(Problem(status, "about:blank", "<html>"))


BODY = {"field": "body", "why": "is not JSON"}


@pytest.mark.parametrize("error", [problem(413), problem(400, BODY), problem(422, BODY)])
def test_of_several_that_are_refused_half_are_tried_and_one_is_set_aside(error: ClientError):
    assert decide_batch(error, row_count=2) == SplitBatch()
    assert decide_batch(error, row_count=1) == RefuseRows(str(error))


def test_batch_too_large_for_a_proxy_is_split_and_not_rejected():
    assert decide_batch(stranger(413), row_count=2) == SplitBatch()
    assert decide_batch(stranger(413), row_count=1) == RetryLater(ERROR_RETRY_INTERVAL)


def test_a_row_that_is_no_json_is_set_aside():
    error = Unsendable(ValueError("no JSON"), index=2, idempotency_key="k", accepted=())
    assert decide_batch(error, row_count=3) == RefuseRows("Event 2 cannot be sent: ValueError: no JSON", 2)


@pytest.mark.parametrize("rows", [3, 500])
def test_an_event_that_the_answer_names_is_set_aside_at_once(rows: int):
    error = problem(422, {"field": "events.2.type", "why": "is no type"})
    assert decide_batch(error, row_count=rows) == RefuseRows("type: is no type", 2)
    whole = problem(422, {"field": "events.2", "why": "is not JSON"})
    assert decide_batch(whole, row_count=rows) == RefuseRows("event: is not JSON", 2)


@pytest.mark.parametrize(
    "field", ["events.3.type", "events", "events.x.type", "data.a", "type", "channels.0", "body"]
)
def test_a_fault_that_names_no_event_of_the_batch_is_looked_for(field: str):
    assert decide_batch(problem(422, {"field": field, "why": "is wrong"}), row_count=3) == SplitBatch()


@pytest.mark.parametrize("rows", [1, 9])
def test_a_conflict_is_never_sent_under_another_key(rows: int):
    verdict = decide_batch(problem(409), row_count=rows)
    assert isinstance(verdict, RefuseRows)
    assert "may have been accepted" in verdict.reason


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (problem(422, {"field": "Waybill-Tenant", "why": "is needed"}), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(422, {"field": "Idempotency-Key", "why": "is odd"}), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(422), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(400), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(415), RetryLater(ERROR_RETRY_INTERVAL)),
        *[(stranger(status), RetryLater(ERROR_RETRY_INTERVAL)) for status in (400, 404, 409, 415, 422)],
        (problem(401), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(403), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(404), RetryLater(ERROR_RETRY_INTERVAL)),
        (problem(410), RetryLater(ERROR_RETRY_INTERVAL)),
        (NotUnderstood(200, b"<html>"), RetryLater(ERROR_RETRY_INTERVAL)),
        (GaveUp("cut", tries=9, idempotency_key="k"), RetryLater(timedelta(0))),
        (
            GaveUp("503", tries=1, idempotency_key="k", retry_after=timedelta(hours=1)),
            RetryLater(MAX_RETRY_INTERVAL),
        ),
    ],
)
@pytest.mark.parametrize("rows", [1, 9])
def test_errors_unrelated_to_the_events_are_retried(error: ClientError, verdict: BatchDecision, rows: int):
    assert decide_batch(error, row_count=rows) == verdict
