"""The corpus of destinations against the URL check, before any name is resolved."""

from __future__ import annotations

import pytest

from delivery.destinations.http.url_policy import BadDestination, check_url, find_literal_refusal
from delivery.destinations.ssrf_guard import Guard, find_refusal
from tests.support.ssrf_corpus import CORPUS, NAMES

PORT = 8123


def find_refusal_reason(url: str, guard: Guard) -> str:
    """Return why a URL is refused; None if it is accepted."""
    try:
        return find_literal_refusal(check_url(url, allow_http=True), guard) or ""
    except BadDestination as error:
        return error.why


def test_the_corpus_holds_more_than_two_hundred_destinations():
    assert len({attack.url_template for attack in CORPUS}) == len(CORPUS) >= 390


def test_url_check_passes_only_names_and_explains_refusals():
    message = {attack: find_refusal_reason(attack.url(PORT), Guard()) for attack in CORPUS}
    assert [
        attack for attack, why in message.items() if attack.reason not in why and attack.kind != "name"
    ] == []


def test_every_name_has_an_answer_that_the_guard_refuses():
    requested = {name: answers for name, answers in NAMES.items() if answers}
    assert [name for name, answers in requested.items() if not any(map(find_refusal, answers))] == []


def test_no_refusal_quotes_the_url():
    for attack in CORPUS:
        why = find_refusal_reason(attack.url(PORT), Guard())
        assert attack.url(PORT) not in why or not attack.url_template
        assert why.isprintable()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://a.example/", 80),
        ("https://a.example/", 443),
        ("http://a.example:443/", 443),
        ("https://a.example:80/", 80),
        ("https://a.example:443/", 443),
        ("http://a.example:22/", 22),
        ("http://8.8.8.8:6379/", 6379),
        ("https://[2606:4700::1111]:65535/", 65535),
    ],
)
def test_ports_are_allowed_by_number_in_any_notation(url: str, port: int):
    checked = check_url(url, allow_http=True)
    assert find_literal_refusal(checked, Guard(ports=frozenset({port}))) is None
    assert find_literal_refusal(checked, Guard(ports=frozenset({port - 1, port + 1}))) == f"port {port}"
