"""How rows of an export are written."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.services.exports.rows import ExportFormat, encode_header, encode_rows

TEXTS = st.text(st.characters(codec="utf-8"))
COLUMNS = ("a", "b")


def read_csv(written: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written.decode(), newline="")))


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_csv_reads_back_as_written_with_formulas_guarded(rows: list[tuple[str, str]]) -> None:
    written = encode_header(ExportFormat.CSV, COLUMNS) + encode_rows(ExportFormat.CSV, COLUMNS, rows)
    titles, *found = read_csv(written)
    assert titles == ["a", "b"]
    assert found == [[guarded(cell) for cell in row] for row in rows]


def guarded(cell: str) -> str:
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert read_csv(encode_rows(ExportFormat.CSV, ("a",), [(cell,)])) == [[f"'{cell}"]]


def test_csv_ends_its_lines_as_rfc_4180_says_and_quotes_what_would_break_them() -> None:
    written = encode_rows(ExportFormat.CSV, COLUMNS, [('say "no"', "a\r\nb"), (None, True)])
    assert written == b'"say ""no""","a\r\nb"\r\n,true\r\n'


def test_csv_holds_lists_and_mappings_as_json() -> None:
    ((mapping, pairs),) = read_csv(encode_rows(ExportFormat.CSV, COLUMNS, [({"x": "1"}, [("y", "2")])]))
    assert json.loads(mapping) == {"x": "1"}
    assert json.loads(pairs) == [["y", "2"]]


@given(st.lists(st.tuples(TEXTS, st.none() | st.integers(-(1 << 63), 1 << 63) | st.booleans() | TEXTS)))
def test_each_line_of_jsonl_is_a_document(rows: list[tuple[str, Any]]) -> None:
    written = encode_header(ExportFormat.JSONL, COLUMNS) + encode_rows(ExportFormat.JSONL, COLUMNS, rows)
    found = [json.loads(line) for line in written.split(b"\n")[:-1]]
    assert found == [{"a": a, "b": b} for a, b in rows]
