"""The curl command of an attempt."""

from __future__ import annotations

import shlex
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from delivery.console.views.curl import build_curl_command
from tests.unit.cli.records import ATTEMPT as ANY

ATTEMPT = replace(ANY, request_headers={"content-type": "application/json", "webhook-id": "evt_1"})


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_shell_parses_the_body_unchanged(text: str):
    line = build_curl_command(ATTEMPT, text.encode())
    assert line is not None
    words = shlex.split(line)
    assert words[words.index("--data-binary") + 1] == text


def test_hostile_url_is_quoted_as_one_word():
    attempt = replace(ATTEMPT, url="https://x.example/'; rm -rf ~; '")
    line = build_curl_command(attempt, b"{}")
    assert line is not None
    assert attempt.url in shlex.split(line)


def test_curl_command_needs_the_body():
    assert build_curl_command(ATTEMPT, None) is None
    assert build_curl_command(ATTEMPT, b"\xff") is None
