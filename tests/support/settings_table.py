"""`python -m tests.support.settings_table` writes README's table of settings from `delivery.config`."""

from __future__ import annotations

import re
from pathlib import Path

from delivery.config import list_settings

README = Path(__file__).parent.parent.parent / "README.md"
_TABLE_PATTERN = re.compile(r"(<!-- settings: [^\n]*-->\n).*?(<!-- /settings -->)", re.DOTALL)


def render_settings_table() -> str:
    """The table as README has it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for info in list_settings():
        default = f"`{info.default}`" if info.default else ""
        rows.append(f"| `{info.variable}` | {default} | {info.description} |")
    return "\n".join(rows)


def replace_table(readme: str) -> str:
    """The text with its table replaced."""
    return _TABLE_PATTERN.sub(lambda place: f"{place[1]}\n{render_settings_table()}\n\n{place[2]}", readme)


if __name__ == "__main__":
    README.write_text(replace_table(README.read_text()))
