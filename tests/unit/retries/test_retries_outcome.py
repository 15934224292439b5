"""Every outcome has a closed label and a sentence that support staff can read out."""

from datetime import timedelta

import pytest

from retries.outcome import (
    Blocked,
    CutShort,
    Delivered,
    Fault,
    Interrupted,
    Outcome,
    Phase,
    ProxyFailed,
    Refused,
    TimedOut,
    Unreachable,
    classify_status,
    describe_outcome,
    label_outcome,
)

SENTENCES: list[tuple[Outcome, str]] = [
    (Delivered(204), "The endpoint answered 204 No Content."),
    (Refused(503), "The endpoint answered 503 Service Unavailable."),
    (Refused(599), "The endpoint answered 599."),
    (
        Refused(429, timedelta(minutes=2)),
        "The endpoint answered 429 Too Many Requests and asked us to wait 120 s.",
    ),
    (TimedOut(Phase.DNS), "The attempt timed out before the endpoint's name was resolved."),
    (TimedOut(Phase.FIRST_BYTE), "The attempt timed out before the endpoint began to answer."),
    (Unreachable(Fault.REFUSED), "The endpoint refused the connection."),
    (
        Unreachable(Fault.TLS, "certificate has expired"),
        "No trusted TLS connection to the endpoint could be made (certificate has expired).",
    ),
    (
        Blocked("receiver.example.com", "10.0.0.7", "private"),
        "The address 10.0.0.7 of receiver.example.com may not be dialled: private.",
    ),
    (Blocked("", None, "The URL must name a host."), "Nothing was dialled: The URL must name a host."),
    (CutShort(200), "The endpoint answered 200 OK, but the response broke off before its end."),
    (Interrupted(), "The attempt was stopped on our side before it ended."),
]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int):
    assert classify_status(status, None) == Delivered(status)


@pytest.mark.parametrize("status", [100, 199, 300, 301, 308, 400, 410, 429, 500, 503, 599, 999])
def test_any_other_status_is_a_refusal(status: int):
    assert classify_status(status, None) == Refused(status, None)


def test_a_refusal_has_the_requested_wait():
    assert classify_status(503, timedelta(seconds=7)) == Refused(503, timedelta(seconds=7))


def test_retry_after_is_ignored_on_success():
    assert classify_status(200, timedelta(seconds=7)) == Delivered(200)


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (Delivered(200), "delivered"),
        (Refused(500), "refused"),
        (TimedOut(Phase.TOTAL), "timed_out"),
        (Unreachable(Fault.DNS), "unreachable"),
        (Blocked("a.example", "::1", "loopback"), "blocked"),
        (CutShort(200), "cut_short"),
        (Interrupted(), "interrupted"),
        (ProxyFailed(), "proxy_failed"),
    ],
)
def test_every_outcome_has_a_closed_label(outcome: Outcome, label: str):
    assert label_outcome(outcome) == label


@pytest.mark.parametrize(("outcome", "sentence"), SENTENCES)
def test_every_outcome_reads_as_one_plain_sentence(outcome: Outcome, sentence: str):
    assert describe_outcome(outcome) == sentence


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_sentence(phase: Phase):
    assert describe_outcome(TimedOut(phase)).startswith("The attempt timed out before the ")


@pytest.mark.parametrize("kind", Fault)
def test_every_fault_has_a_sentence(kind: Fault):
    assert describe_outcome(Unreachable(kind)).endswith(".")


def test_a_detail_stays_on_one_line_and_short():
    sentence = describe_outcome(Unreachable(Fault.PROTOCOL, "bad\r\nheader " + "x" * 10_000))
    assert "bad header x" in sentence
    assert len(sentence) < 300


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\0", "\x9b", "\u202e", "\u2028", "\ud800", "a\rb"])
def test_a_detail_cannot_control_a_terminal(hostile: str):
    for outcome in (
        Unreachable(Fault.PROTOCOL, f"bad {hostile}"),
        Blocked(f"a{hostile}", "::1", "loopback"),
        Blocked("", None, f"bad {hostile}"),
    ):
        assert describe_outcome(outcome).isprintable()
