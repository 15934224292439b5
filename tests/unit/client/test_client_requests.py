"""The exchanges that both clients drive: requests, retries and results."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill_client import (
    ClientError,
    Conflict,
    Event,
    GaveUp,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotUnderstood,
    Refused,
    Retries,
    TooLarge,
    Unsendable,
)
from waybill_client.events import Accepted
from waybill_client.exchanges import ClientDeps, NoResponse, Wait, send_in_batches, send_one
from waybill_client.wire import ApiRequest, Response, encode_event, split_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from waybill_client.exchanges import Steps

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CUT = NoResponse(httpx.ReadError("cut"))
HEADERS = {"content-type": "application/json"}


class World:
    """A clock that advances by each wait, and the recorded steps."""

    def __init__(self, received: Sequence[Response | NoResponse]) -> None:
        self.seconds = 0.0
        self.came = list(received)
        self.asked: list[ApiRequest] = []
        self.waited: list[timedelta] = []
        self.edge = ClientDeps(lambda: self.seconds, lambda: NOW, lambda: 1.0)

    def drive(self, steps: Steps) -> list[Accepted]:
        came: Response | NoResponse | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as done:
                return list(done.value)
            came = None
            if isinstance(step, Wait):
                self.waited.append(step.duration)
                self.seconds += step.duration.total_seconds()
            else:
                self.asked.append(step)
                came = self.came.pop(0)


def make_answer(number: int = 1) -> dict[str, Any]:
    return {"id": f"evt_{number}", "type": "a", "created_at": "2026-11-26T12:00:00.123Z", "deliveries": 2}


def accepted(body: Any = None, **headers: str) -> Response:
    return Response(202, HEADERS | headers, json.dumps(body or make_answer()).encode())


def problem(status: int, kind: str = "x", **headers: str) -> Response:
    message = {"type": f"/problems/{kind}", "title": "No", "status": status, "detail": "Not so."}
    result = {"content-type": "application/problem+json", **headers}
    return Response(status, result, json.dumps(message | {"request_id": "r1"}).encode())


def send(*received: Response | NoResponse, retries: Retries | None = None) -> tuple[World, list[Accepted]]:
    world = World(received)
    return world, world.drive(send_one(Event("a", {"n": 1}), "key", retries or Retries(), world.edge))


def test_an_accepted_event_is_parsed_from_the_response():
    world, (event,) = send(accepted())
    assert world.asked == [ApiRequest("/v1/events", b'{"type":"a","data":{"n":1}}', "key")]
    assert event == Accepted("evt_1", "a", NOW + timedelta(milliseconds=123), 2, replayed=False)


def test_a_repeated_event_is_marked_as_replayed():
    _, (event,) = send(accepted(**{"idempotency-replayed": "true"}))
    assert event.replayed


@pytest.mark.parametrize(
    "passing", [CUT, *map(problem, (408, 425, 429, 500, 501, 502, 503, 504, 505, 520, 599))]
)
def test_a_transient_error_is_retried_with_the_same_key_and_bytes(passing: Response | NoResponse):
    world, _ = send(passing, passing, accepted())
    assert len(world.asked) == 3
    assert len(set(world.asked)) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, NotAuthenticated),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (415, Invalid),
        (422, Invalid),
        (410, Refused),
    ],
)
def test_a_refusal_raises_its_error_without_retries(status: int, kind: type[Refused]):
    with pytest.raises(kind) as caught:
        send(problem(status, "why"), accepted())
    error = caught.value
    assert (error.status, error.type, error.title) == (status, "/problems/why", "No")
    assert (error.problem.detail, error.problem.request_id) == ("Not so.", "r1")


def test_waits_double_up_to_the_maximum():
    retries = Retries(max_tries=6, first_wait=SECOND, max_wait=5 * SECOND)
    world, _ = send(*[CUT] * 5, accepted(), retries=retries)
    assert world.waited == [seconds * SECOND for seconds in (1, 2, 4, 5, 5)]


@given(tries=st.integers(1, 10**6), jitter=st.floats(0, 1))
def test_jitter_keeps_a_wait_between_half_and_the_maximum(tries: int, jitter: float):
    retries = Retries(first_wait=SECOND, max_wait=8 * SECOND)
    assert SECOND / 2 <= retries.wait(tries, jitter=jitter) <= 8 * SECOND


@pytest.mark.parametrize("asked_for", ["7", "Thu, 26 Nov 2026 12:00:07 GMT"])
def test_retry_after_is_respected_as_seconds_and_as_a_date(asked_for: str):
    world, _ = send(problem(429, **{"retry-after": asked_for}), accepted())
    assert world.waited == [7 * SECOND]


def test_a_retry_after_beyond_the_time_limit_is_not_waited_for():
    with pytest.raises(GaveUp) as caught:
        send(problem(503, **{"retry-after": "3600"}), accepted())
    error = caught.value
    assert error.retry_after == timedelta(hours=1)
    assert error.problem is not None
    assert (error.tries, error.problem.status, error.idempotency_key) == (1, 503, "key")


def test_giving_up_keeps_the_last_error_as_cause():
    with pytest.raises(GaveUp, match="No final answer after 3 tries: ReadError: cut") as caught:
        send(CUT, CUT, CUT, accepted(), retries=Retries(max_tries=3))
    assert caught.value.__cause__ is CUT.error
    assert caught.value.problem is None


@pytest.mark.parametrize(
    "answer",
    [
        Response(202, HEADERS, b"<html>Welcome to our network</html>"),
        Response(200, HEADERS, json.dumps(make_answer()).encode()),
        Response(301, {"location": "https://elsewhere.example"}, b""),
        Response(202, HEADERS, b'{"id": "evt_1"}'),
        Response(202, HEADERS, b"[1]"),
        accepted({"events": [make_answer(1), make_answer(2)]}),
    ],
)
def test_an_unexpected_response_is_an_error(answer: Response):
    with pytest.raises(NotUnderstood):
        send(answer)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"title":', b'{"errors": 3}'])
@pytest.mark.parametrize("media_type", ["text/html", "application/problem+json"])
def test_a_refusal_without_a_problem_document_has_its_status(body: bytes, media_type: str):
    with pytest.raises(NotFound) as caught:
        send(Response(404, {"content-type": media_type}, body))
    assert caught.value.status == 404


def test_unknown_problem_fields_become_text_or_are_left_out():
    message = {"type": "x", "title": "No", "errors": ["text", {"field": 1, "why": None}, 7]}
    answer = Response(422, {"content-type": "application/problem+json"}, json.dumps(message).encode())
    with pytest.raises(Invalid) as caught:
        send(answer)
    assert caught.value.problem.errors == ({"field": "1", "why": "None"},)


def many(count: int, *received: Response | NoResponse, most: int = 2) -> tuple[World, list[Accepted]]:
    world = World(received)
    events = [Event("a", n) for n in range(count)]
    return world, world.drive(send_in_batches(events, "key", most, Retries(), world.edge))


def test_many_events_are_sent_in_batches_with_derived_keys():
    first, second = (
        accepted({"events": [make_answer(1), make_answer(2)]}),
        accepted({"events": [make_answer(3)]}),
    )
    world, result = many(3, first, CUT, second)
    assert [ask.idempotency_key for ask in world.asked] == ["key.0", "key.1", "key.1"]
    assert world.asked[0].body == b'{"events":[{"type":"a","data":0},{"type":"a","data":1}]}'
    assert [event.id for event in result] == ["evt_1", "evt_2", "evt_3"]


def test_an_error_in_a_later_batch_reports_what_was_accepted():
    with pytest.raises(ClientError) as caught:
        many(3, accepted({"events": [make_answer(1), make_answer(2)]}), problem(422))
    assert [event.id for event in caught.value.accepted] == ["evt_1", "evt_2"]


@pytest.mark.parametrize("wrong", [{1, 2}, float("nan"), b"{", b'1},{"type":"b","data":2'])
def test_an_unserializable_event_is_named_after_reporting_accepted_ones(wrong: Any):
    world = World([accepted({"events": [make_answer(1), make_answer(2)]})])
    events = [Event("a", data) for data in (1, 2, 3, wrong, 5)]
    with pytest.raises(Unsendable, match="Event 3 cannot be sent") as caught:
        world.drive(send_in_batches(events, "key", 2, Retries(), world.edge))
    error = caught.value
    assert (error.index, error.idempotency_key) == (3, "key")
    assert [event.id for event in error.accepted] == ["evt_1", "evt_2"]
    assert isinstance(error.__cause__, TypeError | ValueError)
    assert len(world.asked) == 1


def test_a_failing_iterable_reports_what_was_accepted():
    def events() -> Iterator[Event]:
        yield from (Event("a", 1), Event("a", 2), Event("a", 3))
        raise OSError("the file ends")

    world = World([accepted({"events": [make_answer(1), make_answer(2)]})])
    with pytest.raises(Unsendable, match="OSError: the file ends") as caught:
        world.drive(send_in_batches(events(), "key", 2, Retries(), world.edge))
    assert (caught.value.index, len(caught.value.accepted)) == (3, 2)


def test_giving_up_in_a_later_batch_names_the_common_key():
    with pytest.raises(GaveUp) as caught:
        many(
            3, accepted({"events": [make_answer(1), make_answer(2)]}), problem(503, **{"retry-after": "3600"})
        )
    assert caught.value.idempotency_key == "key"


def test_no_events_send_no_request():
    world, result = many(0)
    assert (world.asked, result) == ([], [])


@given(st.lists(st.integers(0, 200), max_size=60), st.integers(1, 20))
def test_batches_keep_the_order_and_both_limits(sizes: list[int], most: int):
    cut = list(split_batches([Event("a", "x" * size) for size in sizes], batch_size=most, max_bytes=300))
    assert all(len(batch) <= most for batch in cut)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= 300 for batch in cut)
    assert [len(json.loads(event)["data"]) for batch in cut for event in batch] == sizes


def test_bytes_are_sent_unchanged_and_unserializable_data_is_refused():
    world = World([accepted()])
    world.drive(send_one(Event("a", b'{"n": 1e2}'), "key", Retries(), world.edge))
    assert world.asked[0].body == b'{"type":"a","data":{"n": 1e2}}'
    deep = b"[" * 100_000 + b"]" * 100_000
    for data in (float("nan"), {1, 2}, "\ud800", b"NaN", b"", b"1 2", b'"\xff"', "1".encode("utf-16"), deep):
        with pytest.raises((TypeError, ValueError)):
            send_one(Event("a", data), "key", Retries(), world.edge)


@pytest.mark.parametrize("data", [b" [1, 2.50]\n", b"9" * 5_000, b"1e999", b'"\\ud800"', '"Zoë"'.encode()])
def test_raw_json_is_not_limited_by_python_numbers(data: bytes):
    assert encode_event(Event("a", data)) == b'{"type":"a","data":' + data + b"}"


def test_channels_are_sent_only_if_set() -> None:
    assert encode_event(Event("a", 1)) == b'{"type":"a","data":1}'
    assert encode_event(Event("a", 1, ["eu", "us"])) == b'{"type":"a","data":1,"channels":["eu","us"]}'
