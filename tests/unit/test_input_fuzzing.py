"""Nonsense for every reader of words: each refuses with the error that it documents, and with no other.

Verifier, Retry-After, filters, cursors, URLs and ids have tests of this kind beside their own.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from delivery.api.http.cursors import Cursors
from delivery.bootstrap import build_guard
from delivery.cli.options.common import read_time
from delivery.cli.options.endpoints import (
    read_breaker_value,
    read_header,
    read_hours,
    read_in_flight,
    read_rate_limit,
    read_schedule,
    read_status,
    read_timeout,
)
from delivery.config import parse_settings
from delivery.console.forms.replay import parse_rate as read_replay_rate
from delivery.console.views.body import format_body, format_json
from delivery.destinations.http.oauth import parse_token_response
from delivery.destinations.http.request import encode_request
from delivery.destinations.http.url_policy import BadDestination, check_headers, check_url
from delivery.destinations.ssrf_guard import find_refusal
from delivery.domain.client_network import get_client_network
from delivery.domain.delivery_filter import check_http_status, check_outcome
from delivery.domain.errors import Invalid, MalformedId, Misconfigured, TooLarge
from delivery.domain.event_patterns import check_event_type, check_pattern, matches_any_pattern
from delivery.domain.ids import Prefix, format_id, parse_id
from delivery.domain.inbound_message import check_idempotency_key, sanitize_text
from delivery.domain.networks import AllowList, BadAllowList
from delivery.domain.payload_path import PayloadEquals
from delivery.domain.sanitize import escape_control_chars
from delivery.pipeline.parsing import IntakeLimits, parse_batch, parse_event
from delivery.services.accounts.email_addresses import check_display_name, check_email
from retries.backoff import parse_schedule
from retries.retry_after import parse_retry_after
from signing import MalformedSecret, VerificationError, generate_hmac, parse_public_key, parse_secret, verify

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LIMITS = IntakeLimits(event_bytes=100_000)
SECRET = generate_hmac(b"n" * 32)
CURSORS = Cursors.from_keys("a key")
PIECES = (
    "0", "1", "9" * 20, "9" * 5_000, "-", "+", ".", "..", ",", ":", "/", "//", "@", "[", "]", "::", "%",
    "%25", "\\", "=", "*", "$", "'", '"', "e400", "NaN", "inf", "s", "m", "h", "d", "Z", "T", "default",
    "none", "\0", "\n", "\r\n", "\t", " ", "\u2028", "\ud800", "\U0001f388", "٣", "\uff11", "²", "é", "_",
    "evt_", "whsec_", "whsk_", "whpk_", "127.0.0.1", "10.0.0.0/8", "::1", "http", "https://", "localhost",
    "2026-11-26", "12:00:00",
)  # fmt: skip


def token_for(term: str) -> bytes:
    """A token server's answer, were it not for how long the token is to last."""
    return json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": term}).encode()


SIGNED = {"webhook-id": "a", "webhook-timestamp": "1795694400"}
REFUSED = VerificationError
TEXTS = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
# What reads, and the one error that it may refuse with; None: it never raises.
READERS: dict[str, tuple[Callable[[str], object], type[Exception] | None]] = {
    "retry-after": (lambda text: parse_retry_after(text, now=NOW), None),
    "retry-after in bytes": (lambda text: parse_retry_after(text.encode(errors="replace"), now=NOW), None),
    "event type": (check_event_type, ValueError),
    "filter": (check_pattern, ValueError),
    "cursor": (lambda text: CURSORS.read_cursor(text, ("a",)), Invalid),
    "url": (lambda text: check_url(text, allow_http=True), BadDestination),
    "host": (lambda text: check_url(f"https://{text}/", allow_http=True), BadDestination),
    "id": (lambda text: parse_id(Prefix.EVENT, text), MalformedId),
    "suffix of an id": (lambda text: parse_id(Prefix.EVENT, f"evt_{text:>26.26}"), MalformedId),
    "payload": (PayloadEquals.parse, ValueError),
    "path of a payload": (lambda text: PayloadEquals.parse(f"${text}=1"), ValueError),
    "address": (find_refusal, None),
    "network": (get_client_network, None),
    "allow-list": (AllowList.parse, BadAllowList),
    "secret": (parse_secret, MalformedSecret),
    "public key": (parse_public_key, MalformedSecret),
    "outcome": (check_outcome, ValueError),
    "status of a response": (check_http_status, ValueError),
    "message-id": (lambda text: check_idempotency_key("message-id", text), Invalid),
    "token": (lambda text: parse_token_response(text.encode(errors="surrogatepass"), 0.0), None),
    "term of a token": (lambda text: parse_token_response(token_for(text), 0.0), None),
    "email": (check_email, Invalid),
    "name": (check_display_name, Invalid),
    "moment": (read_time, typer.BadParameter),
    "delays": (read_schedule, typer.BadParameter),
    "header": (read_header, typer.BadParameter),
    "hours": (read_hours, typer.BadParameter),
    "in flight": (read_in_flight, typer.BadParameter),
    "rate": (read_rate_limit, typer.BadParameter),
    "status": (read_status, typer.BadParameter),
    "term": (read_breaker_value, typer.BadParameter),
    "timeout": (read_timeout, typer.BadParameter),
    "rate of a replay": (read_replay_rate, Invalid),
    "schedule": (lambda text: parse_schedule(text.split(",")), ValueError),
    "layout": (format_json, None),
    "body": (lambda text: format_body(text.encode(errors="surrogatepass")), None),
    "signature": (lambda text: verify(SIGNED | {"webhook-signature": text}, b"", SECRET, now=NOW), REFUSED),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@given(text=TEXTS)
def test_nonsense_is_refused_with_the_documented_error_alone(reader: str, text: str):
    read, documented = READERS[reader]
    with suppress(*([documented] if documented else [])):
        read(text)


@pytest.mark.parametrize("setting", ["trusted_proxies", "retry_schedule", "public_url", "amqp_url"])
@given(text=TEXTS)
def test_a_setting_of_nonsense_is_a_plain_fault_of_that_setting(setting: str, text: str):
    fault = named = f"WAYBILL_{setting.upper()}: "
    try:
        assert parse_settings({setting: text}).base_url
    except Misconfigured as error:
        fault = str(error)
    assert fault.startswith(named)


@pytest.mark.parametrize("setting", ["allow_ports", "allow_networks"])
@given(text=TEXTS)
@example(text="9" * 5_000)
@example(text="0")
@example(text="65536")
@example(text="443;80")
@example(text="٤٤٣")
@example(text="4 43")
def test_allow_lists_are_parsed_or_refused_by_entry(setting: str, text: str):
    fault = named = f"WAYBILL_{setting.upper()}: "
    try:
        allowed = build_guard(parse_settings({setting: text}))
        assert allowed.ports is None or all(0 < port < 65_536 for port in allowed.ports)
    except Misconfigured as error:
        fault = str(error)
    assert fault.startswith(named)


@given(value=JSON_VALUES, indent=st.sampled_from([None, 0, 1, "\t"]), ascii_only=st.booleans())
def test_the_data_of_an_event_keeps_its_bytes(value: object, indent: int | str | None, *, ascii_only: bool):
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert parse_event(b'{"type":"a.b","data":' + data + b"}", LIMITS).data == data
    first, second = parse_batch(
        b'{"events":[{"data":%b,"type":"a"},{"type":"b","data":%b}]}' % (data, data), LIMITS
    )
    assert (first.data, second.data) == (data, data)


@given(st.binary(max_size=60) | TEXTS.map(lambda text: text.encode(errors="surrogatepass")))
def test_no_bytes_break_the_parser_of_events(body: bytes):
    for whole in (body, b'{"type":"a","data":' + body + b"}", b'{"type":' + body + b',"data":1}'):
        with suppress(Invalid, TooLarge):
            assert json.loads(parse_event(whole, LIMITS).data, parse_int=str, parse_float=str) is not Ellipsis
        with suppress(Invalid, TooLarge):
            parse_batch(b'{"events":[' + whole + b"]}", LIMITS)


@given(opening=st.sampled_from(["[", '{"a":', '[{"a":']), levels=st.integers(1, 60_000), closed=st.booleans())
def test_no_depth_breaks_the_parser_of_events(opening: str, levels: int, *, closed: bool):
    closing = {"[": "]", '{"a":': "}", '[{"a":': "}]"}[opening]
    data = opening * levels + ("1" + closing * levels if closed else "")
    with suppress(Invalid, TooLarge):
        assert parse_event(b'{"type":"a","data":%b}' % data.encode(), LIMITS).data == data.encode()


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii"), min_size=1, max_size=12),
        st.text(st.characters(codec="latin-1"), max_size=12),
        max_size=4,
    )
)
def test_headers_that_pass_are_on_the_wire_as_they_are_and_no_other(headers: dict[str, str]):
    with suppress(ValueError):
        checked = check_headers(headers)
        request = httpx.Request("POST", "https://a.example/", headers=checked, stream=httpx.ByteStream(b""))
        (head,) = encode_request(request, b"").chunks
        lines = head.decode("ascii").split("\r\n")
        assert lines[4:] == [*(f"{name}: {value}" for name, value in checked.items()), "", ""]


@given(TEXTS, TEXTS)
def test_a_condition_that_was_read_never_fails_on_any_body(condition: str, body: str):
    with suppress(ValueError):
        asked = PayloadEquals.parse(f"${condition}=1")
        for raw in (
            body.encode(errors="surrogatepass"),
            b'{"data":' + body.encode(errors="surrogatepass") + b"}",
        ):
            assert asked.matches(raw) in {True, False}


@given(st.lists(TEXTS, max_size=3), TEXTS)
def test_matching_never_fails(patterns: list[str], event_type: str):
    assert matches_any_pattern(patterns, event_type) in {True, False}


@given(TEXTS)
def test_sanitized_text_is_one_line_and_idempotent(text: str):
    tamed = escape_control_chars(text)
    assert len(tamed.splitlines()) <= 1
    assert escape_control_chars(tamed) == tamed
    assert escape_control_chars(escape_control_chars(text, keep_newlines=True)) == tamed


@given(TEXTS)
def test_what_a_stranger_wrote_can_be_stored(text: str):
    kept = sanitize_text(text) or ""
    assert kept.encode().decode() == kept
    assert "\0" not in kept
    assert len(kept) <= 500


@given(st.uuids(), st.sampled_from(Prefix), st.integers(0, 30), st.sampled_from(PIECES))
def test_an_id_with_something_in_it_is_no_id(id_: Any, prefix: Prefix, place: int, piece: str):
    told = format_id(prefix, id_)
    with pytest.raises(MalformedId):
        parse_id(prefix, told[:place] + piece + told[place:])
