from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.cli.output.table import (
    Column,
    print_facts,
    print_grade,
    print_indented,
    print_json,
    print_table,
    print_text,
)
from delivery.domain.sanitize import escape_control_chars

if TYPE_CHECKING:
    from collections.abc import Callable

    Terminal = Callable[[int], None]

COLUMNS = [
    Column("DELIVERY"),
    Column("TYPE", shrinkable=True),
    Column("TRIES", numeric=True),
    Column("ENDPOINT", optional=True),
]
LONG = "order." + "x" * 90
ROWS = [("dlv_" + "0" * 26, LONG, "3", "ep_" + "0" * 26)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make the terminal this many columns wide."""
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


@given(st.text())
def test_nothing_that_commands_a_terminal_is_left(text: str) -> None:
    assert all(
        letter.isprintable() or letter == " " or ord(letter) > 159 for letter in escape_control_chars(text)
    )
    assert all(
        ord(letter) >= 32 or letter in "\n\t" for letter in escape_control_chars(text, keep_newlines=True)
    )


def test_an_escape_sequence_is_written_out() -> None:
    assert escape_control_chars("\x1b[31mred\x9b\n") == "\\x1b[31mred\\x9b\\n"


def test_a_narrow_table_cuts_only_what_may_be_cut(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(80)
    print_table(COLUMNS, ROWS, empty_message="")
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["DELIVERY", "TYPE", "TRIES"]
    assert row.startswith(ROWS[0][0])
    assert "…" in row
    assert len(row) <= 80


def test_a_wide_table_has_the_extra_columns(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(200)
    print_table(COLUMNS, ROWS, empty_message="")
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["DELIVERY", "TYPE", "TRIES", "ENDPOINT"]
    assert LONG in row


def test_in_a_pipe_nothing_is_cut_and_nothing_is_coloured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(COLUMNS, [(ROWS[0][0], LONG * 2, "failed", ROWS[0][3])], empty_message="")
    out = capsys.readouterr().out
    assert LONG * 2 in out
    assert "\x1b" not in out


def test_a_pipe_and_a_wide_terminal_show_the_same_table(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*ROWS, (ROWS[0][0], "漢字 é\t", "failed", "12", "")]

    def print_all() -> str:
        print_table(COLUMNS, [row[: len(COLUMNS)] for row in rows], empty_message="")
        print_table(
            [Column("COUNT", numeric=True), Column("NAME")], [("7", "a"), ("1000", "")], empty_message=""
        )
        print_facts([("state", "active: now"), ("long name", "w" * 200), ("none", "")], title="Endpoint ep_1")
        print_text("A sentence.  \x1b[31m")
        return capsys.readouterr().out

    terminal(500)
    laid_out = print_all()
    monkeypatch.delenv("COLUMNS")
    assert print_all() == laid_out


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [], empty_message="No delivery matches.")
    assert capsys.readouterr().out == "No delivery matches.\n"


def test_json_is_one_document_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Börse \x1b[31m \x9b \x7f", "items": [1.5, None]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": "Börse \x1b[31m \x9b \x7f", "items": [1.5, None]}
    assert not {"\x1b", "\x9b", "\x7f"} & set(out)


def test_facts_leave_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts([("url", "https://a.example"), ("reason", "")], title="Endpoint ep_1")
    assert capsys.readouterr().out.splitlines() == ["Endpoint ep_1", "  url  https://a.example"]


def test_a_paragraph_keeps_its_distance_on_every_line(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(40)
    print_indented("word " * 20 + "\nsecond\tline", indent=4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(line.startswith("    ") and len(line) <= 40 for line in lines)


def test_brackets_are_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_text("[red]not red[/red] :smile:")
    assert capsys.readouterr().out == "[red]not red[/red] :smile:\n"


def test_a_verdict_is_one_line_in_a_pipe_and_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_grade("wrong", "broker: " + "it is gone. " * 20 + "\x1b[2J")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("wrong     broker: it is gone.")
    assert line.endswith("\\x1b[2J")
