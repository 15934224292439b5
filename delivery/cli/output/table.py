"""Print tables and facts for humans, JSON for machines.

Text of others (names, URLs, responses of receivers) may contain control characters that the terminal would
obey. They are escaped before printing.

Rich lays out the output for terminals. Its import is a tenth of a command, so pipes and files do without.
"""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from delivery.domain.sanitize import escape_control_chars, escape_control_chars_in_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

COLUMN_GAP = 2
# Not a terminal: there is no width to fit into, so nothing is cut.
_PIPE_WIDTH = 500
_MIN_COLUMN_WIDTH = 8
# Rich obeys these also where there is no terminal.
_LAYOUT_VARIABLES = ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")

STYLES = {
    "succeeded": "green",
    "delivered": "green",
    "active": "green",
    "failed": "red",
    "disabled": "red",
    "in_flight": "cyan",
    "pending": "yellow",
    "paused": "yellow",
    "cancelled": "dim",
    "ok": "green",
    "warning": "yellow",
    "wrong": "red",
}
_COLOURED = frozenset({"status", "state", "outcome"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `optional`: left out when there is no room; `shrinkable`: cut then."""

    title: str
    optional: bool = False
    shrinkable: bool = False
    numeric: bool = False


def make_console(*, stderr: bool = False) -> Console:
    """Make a console. It uses colours on a terminal only, and none under NO_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def is_interactive() -> bool:
    """Whether a user can be prompted."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_json(document: Any) -> None:
    """Print one JSON document. Models are written as the API writes them, raw parts byte for byte."""
    text = msgspec.json.format(msgspec.json.encode(document, enc_hook=to_json), indent=2).decode()
    print(escape_control_chars_in_json(text))


def to_json(model: BaseModel) -> dict[str, Any]:
    """Convert a model of `delivery.schemas` as the API does."""
    return model.model_dump(mode="json", by_alias=True)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty_message: str) -> None:
    """Print rows under their titles, one line each, or `empty_message` when there are none."""
    if not rows:
        print_text(empty_message)
        return
    escaped = [[escape_control_chars(cell) for cell in row] for row in rows]
    titles = [column.title for column in columns]
    widths = _measure_columns([titles, *escaped])
    if _is_plain(sys.stdout, widths):
        _print_plain([titles, *escaped], widths, [column.numeric for column in columns])
    else:
        _print_rich_table(columns, escaped, widths)


def _print_rich_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    from rich.table import Table
    from rich.text import Text

    out = make_console()
    table = Table(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0), header_style="bold")
    shown = _choose_columns(columns, widths, out.width)
    spare = out.width - sum(widths[index] + COLUMN_GAP for index in shown)
    for index in shown:
        column = columns[index]
        width = max(_MIN_COLUMN_WIDTH, widths[index] + min(0, spare)) if column.shrinkable else widths[index]
        table.add_column(
            column.title,
            no_wrap=True,
            overflow="ellipsis",
            width=width,
            justify="right" if column.numeric else "left",
        )
    for row in rows:
        table.add_row(*(Text(row[index], style=STYLES.get(row[index], "")) for index in shown))
    _print_trimmed(out, table)


def print_facts(facts: Sequence[tuple[str, str]], *, title: str = "") -> None:
    """Print names and values, one line each, without empty values."""
    rows = [
        (f"  {escape_control_chars(name)}", escape_control_chars(value)) for name, value in facts if value
    ]
    widths = _measure_columns([("", ""), *rows])
    if _is_plain(sys.stdout, widths):
        if title:
            print_text(title)
        _print_plain(rows, widths, (False, False))
    else:
        _print_rich_facts(rows, title)


def _print_rich_facts(rows: Sequence[tuple[str, str]], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    out = make_console()
    if title:
        out.print(Text(escape_control_chars(title), style="bold"), soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        first = value.replace(":", " ").split(" ", 1)[0] if name.strip() in _COLOURED else ""
        table.add_row(name, Text(value, style=STYLES.get(first, "")))
    _print_trimmed(out, table)


def print_indented(text: str, *, indent: int, style: str = "") -> None:
    """Print lines with an indent, also where a terminal's width wraps them."""
    from rich.text import Text

    out = make_console()
    for line in escape_control_chars(text, keep_newlines=True).expandtabs(4).splitlines():
        for part in textwrap.wrap(line, out.width - indent) or [""]:
            out.print(Text(" " * indent + part, style=style), soft_wrap=True)


def print_grade(grade: str, sentence: str) -> None:
    """Print a coloured grade before a sentence, which is indented when it wraps."""
    from rich.text import Text

    out = make_console()
    line = Text.assemble((f"{grade:<10}", STYLES.get(grade, "")), escape_control_chars(sentence))
    first, *rest = line.wrap(out, out.width) if out.is_terminal else [line]
    for part in (first, *(Text(" " * 10) + line for line in rest)):
        out.print(part, soft_wrap=True)


def print_text(sentence: str, *, style: str = "") -> None:
    """Print a sentence: wrapped between words on a terminal, otherwise in one line."""
    _print_sentence(sentence, style, stderr=False)


def print_note(sentence: str) -> None:
    """Print a note to stderr, so that piped output stays clean."""
    _print_sentence(sentence, "dim", stderr=True)


def _print_sentence(sentence: str, style: str, *, stderr: bool) -> None:
    stream = sys.stderr if stderr else sys.stdout
    if _is_plain(stream):
        print(escape_control_chars(sentence), file=stream)
        return
    from rich.text import Text

    out = make_console(stderr=stderr)
    out.print(Text(escape_control_chars(sentence), style=style), soft_wrap=not out.is_terminal)


def _is_plain(stream: TextIO, widths: Sequence[int] = ()) -> bool:
    """Whether there is no width to fit into and no colour to show, so that nothing needs Rich."""
    is_short = sum(widths) + COLUMN_GAP * len(widths) <= _PIPE_WIDTH
    return is_short and not stream.isatty() and os.environ.keys().isdisjoint(_LAYOUT_VARIABLES)


def _measure_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _print_plain(rows: Sequence[Sequence[str]], widths: Sequence[int], is_numeric: Sequence[bool]) -> None:
    from rich.cells import cell_len

    for row in rows:
        line = ""
        for cell, width, numeric in zip(row, widths, is_numeric, strict=True):
            space = " " * (width - cell_len(cell))
            line += (space + cell if numeric else cell + space) + " " * COLUMN_GAP
        print(line.rstrip())


def _print_trimmed(out: Console, table: Table) -> None:
    """Print a table without trailing spaces."""
    with out.capture() as lines:
        out.print(table)
    print("\n".join(line.rstrip() for line in lines.get().splitlines()))


def _choose_columns(columns: Sequence[Column], widths: Sequence[int], available_width: int) -> list[int]:
    """The indexes of the columns to print: optional columns only where there is room."""
    used = sum(w + COLUMN_GAP for c, w in zip(columns, widths, strict=True) if not c.optional)
    shown = []
    for index, column in enumerate(columns):
        if column.optional:
            if used + widths[index] + COLUMN_GAP > available_width:
                continue
            used += widths[index] + COLUMN_GAP
        shown.append(index)
    return shown
