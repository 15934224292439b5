from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.destinations.http.url_policy import (
    BadDestination,
    BadHeader,
    check_headers,
    check_url,
    find_literal_refusal,
)
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.networks import AllowList

GOOD = {
    "https://example.com": "https://example.com/",
    "https://example.com/a?b=c": "https://example.com/a?b=c",
    "HTTPS://EXAMPLE.com:443/A": "https://example.com/A",
    "https://example.com:8443/": "https://example.com:8443/",
    "https://example.com./x": "https://example.com/x",
    "https://bücher.example/ü": "https://xn--bcher-kva.example/%C3%BC",
    "https://my_service.internal/": "https://my_service.internal/",
    "https://[2606:4700::1111]:8443/x": "https://[2606:4700::1111]:8443/x",
    "https://[2606:4700:0:0:0:0:0:1111]/": "https://[2606:4700::1111]/",
    "https://93.184.216.34/": "https://93.184.216.34/",
    "https://127。0。0。1/": "https://127.0.0.1/",  # ideographic full stops; left to the guard
    "https://h?x=1": "https://h/?x=1",
    "https://example.com/a/../b": "https://example.com/b",
    "https://example.com/a%2Fb%00": "https://example.com/a%2Fb%00",
    "https://example.com/a@b?c@d": "https://example.com/a@b?c@d",
}
BAD = {
    "": "begin with",
    "example.com/hook": "begin with",
    "//example.com/": "begin with",
    "http://example.com/": "begin with https://",
    "ftp://example.com/": "begin with",
    "file:///etc/passwd": "begin with",
    "gopher://example.com/": "begin with",
    "javascript:alert(1)": "begin with",
    "https:": "host",
    "https://": "host",
    "https:///127.0.0.1": "host",
    "https:127.0.0.1": "host",
    "https://?x": "host",
    "https://user@example.com/": "user name",
    "https://user:secret@example.com/": "user name",
    "https://@example.com/": "user name",
    "https://:@example.com/": "user name",
    "https://x\\@127.0.0.1/": "backslash",
    "https://127.0.0.1:80\\@example.com/": "backslash",
    "https://example.com/#top": "fragment",
    "https://example.com/#": "fragment",
    "https://127.0.0.1#@example.com/": "fragment",
    "https://example.com/a b": "spaces",
    " https://example.com/": "spaces",
    "https://example.com/\n": "spaces",
    "https://example.com/\r\nHost: x": "spaces",
    "https://example.com/\x00": "control",
    "https://exam\tple.com/": "control",
    "https://example.com/\u2028": "control",
    "https://example.com/\u00a0": "control",
    "https://example.com:0/": "port",
    "https://example.com:65536/": "port",
    "https://example.com:99999/": "port",
    "https://example.com:abc/": "read",
    "https://example.com:-1/": "port",
    "https://a..b/": "host",
    "https://.a/": "host",
    "https://-a.example/": "host",
    "https://a-.example/": "host",
    f"https://{'a' * 64}.example/": "host",
    f"https://{'a.' * 127}example/": "host",
    "https://ex%61mple.com/": "host",
    "https://127.0.0.1%2e/": "host",
    "https://x%00y/": "host",
    "https://a,b/": "host",
    "https://2130706433/": "host",
    "https://127.1/": "host",
    "https://0x7f.1/": "host",
    "https://0/": "host",
    "https://0177.0.0.1/": "read",
    "https://1.2.3.4.5/": "host",
    "https://①②7.0.0.1/": "read",
    "https://[fe80::1%25lo]/": "host",
    "https://[fe80::1%lo]/": "host",
    "https://[::1/": "read",
    "https://[]/": "read",
    "https://\ud800.example/": "read",
    f"https://example.com/{'a' * 2048}": "longer",
    f"https://example.com/{'ü' * 500}": "longer",
}


@pytest.mark.parametrize(("url", "normal"), GOOD.items())
def test_a_good_url_is_normalised(url: str, normal: str):
    assert check_url(url, allow_http=False) == normal


@pytest.mark.parametrize(("url", "why"), BAD.items(), ids=ascii)
def test_a_bad_url_is_refused_with_the_reason(url: str, why: str):
    with pytest.raises(BadDestination, match=why):
        check_url(url, allow_http=False)


def test_http_passes_where_it_is_allowed():
    assert check_url("http://example.com:80/a", allow_http=True) == "http://example.com/a"


def test_a_reason_does_not_quote_the_url():
    with pytest.raises(BadDestination) as caught:
        check_url("https://user:secret@example.com/", allow_http=False)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@given(st.text() | st.builds("https://{}/{}".format, st.text(), st.text()))
def test_url_check_raises_only_refusals(text: str):
    with suppress(BadDestination):
        check_url(text, allow_http=True)


@given(
    st.builds("https://{}{}{}".format, st.sampled_from(["a.example", "[::1]", "Ä.de"]), st.text(), st.text())
)
def test_a_checked_url_is_ascii_and_stays_the_same(text: str):
    with suppress(BadDestination):
        once = check_url(text, allow_http=True)
        assert once.isascii()
        assert once.isprintable()
        assert check_url(once, allow_http=True) == once


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1/", "loopback"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://169.254.169.254/latest", "metadata"),
        ("https://8.8.8.8/", None),
        ("https://localhost/", None),
    ],
)
def test_a_literal_internal_address_is_refused_early(url: str, reason: str | None):
    assert find_literal_refusal(url, Guard()) == reason


def test_a_literal_allowed_address_passes():
    assert find_literal_refusal("http://127.0.0.1:8080/", Guard(AllowList.parse("127.0.0.0/8"))) is None


@pytest.mark.parametrize(
    ("url", "reason"), [("https://a.example:25/", "port 25"), ("https://a.example/", None)]
)
def test_a_forbidden_port_is_refused_early(url: str, reason: str | None):
    assert find_literal_refusal(url, Guard(ports=frozenset({443}))) == reason


def test_valid_headers_are_returned_unchanged():
    headers = {"Authorization": "Bearer abc def", "X-Team": "42", "x-empty": "", "Accept": "*/*"}
    assert check_headers(headers) == headers


@pytest.mark.parametrize(
    "names",
    [
        "Host content-length Content-Type CONTENT-ENCODING Transfer-Encoding te Trailer Connection Cookie",
        "Keep-Alive Upgrade Expect Accept-Encoding User-Agent Proxy-Authorization proxy-connection",
        "webhook-id Webhook-Signature webhook-anything waybill-sequence Waybill-Anything",
        "Content_Length transfer_encoding Transfer.Encoding Webhook_Id HTTP2_Settings Waybill_Sequence",
    ],
)
def test_a_header_of_the_engine_cannot_be_set(names: str):
    for name in names.split():
        with pytest.raises(BadHeader, match="set by the engine") as caught:
            check_headers({name: "x"})
        assert caught.value.name == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:", "a\r\nb", "a\x00", "ä", "Host\u200b", "(a)", 'a"', "a\n"]
)
def test_a_header_name_must_be_a_token(name: str):
    with pytest.raises(BadHeader, match="name must be"):
        check_headers({name: "x"})


@pytest.mark.parametrize(
    "value", ["a\r\nX: y", "a\n", "a\r", "\x00", "ü", " a", "a ", "a\tb", "\x7f", "\u2028"]
)
def test_a_header_value_must_be_visible_ascii(value: str):
    with pytest.raises(BadHeader, match="value must be") as caught:
        check_headers({"X-A": value})
    assert caught.value.name == "X-A"


def test_the_same_header_twice_is_refused():
    with pytest.raises(BadHeader, match="twice"):
        check_headers({"X-A": "1", "x-a": "2"})


def test_more_than_twenty_headers_are_refused():
    assert len(check_headers({f"X-{n}": "" for n in range(20)})) == 20
    with pytest.raises(BadHeader, match="more than 20") as caught:
        check_headers({f"X-{n}": "" for n in range(21)})
    assert caught.value.name is None


def test_more_than_4_kib_of_headers_are_refused():
    assert check_headers({"X": "a" * 4091})
    with pytest.raises(BadHeader, match="4096 bytes"):
        check_headers({"X": "a" * 4092})


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_header_check_raises_only_refusals(headers: dict[str, str]):
    with suppress(BadHeader):
        checked = check_headers(headers)
        assert checked == headers
        assert all(text.isascii() and text.isprintable() for pair in checked.items() for text in pair)
