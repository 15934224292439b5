"""Every exception to a rule has its reason on its line."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "delivery", "docs", "migrations", "retries", "signing", "tests", "workers")
_OPT_OUT = re.compile(r"# [n]oqa\b(?P<rest>.*)")
_REASONED = re.compile(r": [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*\s{2,}\S+")


def test_every_opt_out_tells_its_reason():
    silent = [
        f"{path.relative_to(REPOSITORY)}:{number}"
        for folder in FOLDERS
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (found := _OPT_OUT.search(line)) and not _REASONED.match(found["rest"])
    ]
    assert silent == []
