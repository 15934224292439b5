"""The numbers on the page of attacks are those of the tests."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.support.ssrf_corpus import CORPUS
from tests.unit.test_input_fuzzing import READERS

PAGE = Path(__file__).parent.parent.parent / "docs" / "security.md"
ROW = re.compile(r"^\| ([^|]+) \| (\d+) \|", re.MULTILINE)
BEGINS = {
    "address": "addresses of",
    "number": "numeric addresses",
    "no host": "invalid hosts",
    "unreadable": "unparsable URLs",
    "authority": "ambiguous hosts",
    "name": "names that",
}


def counted(beginning: str) -> int:
    """The number in the row with this beginning."""
    (found,) = [int(count) for words, count in ROW.findall(PAGE.read_text()) if words.startswith(beginning)]
    return found


def test_the_page_counts_the_destinations_of_the_corpus_as_they_are():
    kinds = Counter(attack.kind for attack in CORPUS)
    assert {kind: counted(BEGINS[kind]) for kind in kinds} == kinds
    assert counted("redirects to") == len(CORPUS)


def test_security_page_counts_the_fuzzed_readers():
    assert counted("random input for every parser") == len(READERS)
