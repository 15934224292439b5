from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from delivery.destinations.http.exchange import AttemptLimits
from delivery.destinations.http.request import encode_request


def encode(request: httpx.Request) -> bytes:
    return b"".join(encode_request(request, request.content).chunks)


def test_a_request_is_written_with_our_own_framing():
    request = httpx.Request("POST", "https://a.example/x?y=1", headers={"webhook-id": "evt_1"}, content=b"{}")
    assert encode(request) == (
        b"POST /x?y=1 HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: identity\r\nContent-Length: 2\r\n"
        b"webhook-id: evt_1\r\n\r\n{}"
    )


def test_no_other_header_is_added():
    head = encode(httpx.Request("POST", "https://a.example/", content=b"")).lower()
    assert not any(
        name in head for name in (b"user-agent", b"accept:", b"content-type", b"cookie", b"connection")
    )


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Accept-Encoding",
        "Connection",
        "Expect",
        "Upgrade",
        "TE",
    ],
)
def test_framing_headers_of_a_request_are_dropped(name: str):
    head = encode(httpx.Request("POST", "https://a.example/", headers={name: "evil"}, content=b"{}"))
    assert b"evil" not in head
    assert head.count(b"Host: a.example\r\n") == 1
    assert head.count(b"Content-Length: 2\r\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X", b"a\r\nY: b"),
        (b"X", b"a\n"),
        (b"X", b"\0"),
        (b"X\r\nY", b"a"),
        (b"X Y", b"a"),
        (b"", b"a"),
        (b"X:", b"a"),
    ],
)
def test_a_header_that_would_change_the_request_is_refused(name: bytes, value: bytes):
    request = httpx.Request("POST", "https://a.example/", headers=[(name, value)], content=b"{}")
    with pytest.raises(httpx.LocalProtocolError):
        encode_request(request, b"{}")


def test_a_method_that_would_change_the_request_is_refused():
    request = httpx.Request("POST / HTTP/1.1\r\nX: y\r\n\r\nGET", "https://a.example/", content=b"")
    with pytest.raises(httpx.LocalProtocolError):
        encode_request(request, b"")


def test_bytes_beyond_ascii_in_a_value_are_sent_as_they_are():
    request = httpx.Request("POST", "https://a.example/", headers=[(b"X", b"\xff\xe4")], content=b"")
    assert b"X: \xff\xe4\r\n" in encode(request)


def test_credentials_in_a_url_are_refused():
    with pytest.raises(httpx.LocalProtocolError, match="Credentials"):
        encode_request(httpx.Request("POST", "https://user:secret@a.example/"), b"")


@pytest.mark.parametrize(
    "url", ["ftp://a.example/", "file:///etc/passwd", "https://", "/hook", "ws://a.example/"]
)
def test_only_http_urls_with_a_host_can_be_sent(url: str):
    with pytest.raises(httpx.UnsupportedProtocol):
        encode_request(httpx.Request("POST", url), b"")


def test_an_ipv6_literal_has_brackets_in_the_host_header_only():
    question = encode_request(httpx.Request("POST", "http://[::1]:81/", content=b""), b"")
    assert (question.pool_key.host, question.pool_key.port, question.pool_key.is_ssl) == ("::1", 81, False)
    assert b"\r\nHost: [::1]:81\r\n" in question.chunks[0]


def test_a_large_body_is_not_copied_into_the_head():
    body = b"x" * 100_000
    pieces = encode_request(httpx.Request("POST", "https://a.example/", content=body), body).chunks
    assert pieces[1] is body


def test_attempt_limits_are_validated():
    AttemptLimits(total_timeout=timedelta(seconds=30))
    for wrong in (
        {"total_timeout": timedelta(seconds=30, microseconds=1)},
        {"total_timeout": timedelta(0)},
        {"connect_timeout": timedelta(0)},
        {"max_body_bytes": -1},
    ):
        with pytest.raises(ValueError, match="must"):
            AttemptLimits(**wrong)
