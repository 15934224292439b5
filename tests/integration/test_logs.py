"""The real log configuration, in its own process, with hostile texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys

PROGRAM = """
import json, logging, sys
import structlog
from delivery.config import parse_settings
from delivery.telemetry.logs import configure_logging

configure_logging(parse_settings({"log_format": sys.argv[1]}))
log = structlog.get_logger()
for text in json.load(sys.stdin):
    log.warning("endpoint.unreadable", why=text)
    logging.getLogger("library").warning("%s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("request.failed", path=text)
"""
FORGED = "2026-11-26T00:00:00.000000Z [info     ] delivery.attempted             outcome=delivered"
FORGED_JSON = '{"event": "delivery.attempted", "outcome": "delivered", "level": "info"}'
ENDS_OF_LINES = ("\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
COMMANDS = (
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x1b[31m",
    "\x9b31m",
    "\x08" * 40,
    "\0",
    "\x7f",
    "\u202e",
    "\u2066",
)
HOSTILE = (
    *(f"a{end}{FORGED}" for end in ENDS_OF_LINES),
    *(f'"}}{end}{FORGED_JSON}' for end in ENDS_OF_LINES),
    *(f"a{command}b" for command in COMMANDS),
    "order.created outcome=delivered level=info",
    "%s %d {} {0} %(password)s",
    "[red]x[/red] :smile:",
)
A_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[(warning|error) +\] \S")
COMMANDING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def logged(form: str) -> list[str]:
    """The log lines in this format, after every hostile text was logged in three ways."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, form],
        input=json.dumps(HOSTILE).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    *lines, last = ran.stderr.decode().split("\n")
    assert last == ""
    return lines


def test_text_cannot_forge_log_lines_or_control_the_terminal():
    lines = logged("console")
    begun = [line for line in lines if A_LINE.match(line)]
    assert len(begun) == 3 * len(HOSTILE)
    assert [line for line in lines if not A_LINE.match(line) and not line.startswith("  | ")] == []
    assert [line for line in lines if line.startswith(FORGED[:20])] == []
    assert [line for line in lines if COMMANDING.search(line)] == []


def test_text_cannot_forge_json_log_lines():
    result = [json.loads(line) for line in logged("json")]
    assert len(result) == 3 * len(HOSTILE)
    assert {line["level"] for line in result} == {"warning", "error"}
    assert [line["why"] for line in result if line["event"] == "endpoint.unreadable"] == list(HOSTILE)
    assert [line["path"] for line in result if line["event"] == "request.failed"] == list(HOSTILE)


def test_logging_is_set_up_before_the_first_line() -> None:
    program = """
import logging, sys
from delivery.config import parse_settings
from delivery.log import get_logger, set_up_on_first_line

def set_up():
    from delivery.telemetry.logs import configure_logging
    configure_logging(parse_settings({"log_format": "json", "log_level": "warning"}))

set_up_on_first_line(set_up, "warning")
log = get_logger()
log.info("too.quiet")
before = "structlog" in sys.modules
if sys.argv[1] == "library":
    logging.getLogger("library").warning("lost")
log.info("too.quiet")
log.warning("endpoint.unreadable", before=before)
"""
    for first in ("library", "ours"):
        ran = subprocess.run(
            [sys.executable, "-c", program, first], capture_output=True, check=True, timeout=60
        )
        lines = [json.loads(line) for line in ran.stderr.splitlines()]
        assert [line["event"] for line in lines] == ["lost"] * (first == "library") + ["endpoint.unreadable"]
        assert lines[-1]["before"] is False
