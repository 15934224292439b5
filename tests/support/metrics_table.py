"""`python -m tests.support.metrics_table` writes the table of docs/metrics.md from the instruments."""

from __future__ import annotations

from pathlib import Path

from delivery.telemetry.metrics import instruments

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_HEAD = "| metric | type | label | meaning |\n|---|---|---|---|\n"


def render_metrics_table() -> str:
    """The rows, one per metric."""
    values = {}
    for metric, labels in instruments.LABEL_VALUES:
        name = metric._labelnames[0]  # noqa: SLF001  no public way
        values[metric] = f"`{name}`: {', '.join(labels)}"
    rows = []
    for metric in instruments.ALL_METRICS:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append(f"| `{name}` | {family.type} | {values.get(metric, '')} | {family.documentation} |\n")
    return "".join(rows)


def replace_table(text: str) -> str:
    """The page with its table replaced. Raises ValueError if the page has none."""
    before, head, after = text.partition(_HEAD)
    if not head:
        raise ValueError(f"{PAGE} has no table that begins with {_HEAD!r}")
    rest = after.lstrip("|").split("\n\n", 1)
    return before + head + render_metrics_table() + ("\n" + rest[1] if len(rest) > 1 else "")


if __name__ == "__main__":
    PAGE.write_text(replace_table(PAGE.read_text()))
