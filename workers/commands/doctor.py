"""`waybill doctor`: looks at every part of an installation, and says what to mend."""

import asyncio
import importlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from delivery.bootstrap import clock
from delivery.cli.door import REFUSED, find_settings, keep_quiet
from delivery.cli.options import AsJson, examples
from delivery.cli.screen import print_indented, print_json, print_verdict, say
from delivery.doctor import Finding, Grade, examine
from delivery.doctor.examination import Edge
from delivery.doctor.findings import wrong
from delivery.errors import Misconfigured

EXAMPLES = examples(
    "waybill doctor", "waybill doctor --try https://shop.example/hooks", "waybill doctor --json"
)


def doctor(
    url: Annotated[
        str | None,
        typer.Option("--try", metavar="URL", help="GET this too, on the way that deliveries take."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Look at every part of an installation, and say what to mend.

    Settings, database, schema, walls, partitions, clock, secrets, broker, queues, names and the way out. Run
    it where the processes run, with their environment: it sees what they see. It changes nothing.

    Exit code 1: something has to be mended. Warnings alone are 0.
    """
    findings = _findings(url)
    if json:
        print_json(_shape(findings))
    else:
        _print(findings)
    if any(one.grade is Grade.WRONG for one in findings):
        raise typer.Exit(REFUSED)


def _findings(url: str | None) -> list[Finding]:
    try:
        settings = find_settings()
    except Misconfigured as error:
        return [wrong("settings", str(error), "Correct it, and look again: nothing else was looked at.")]
    keep_quiet(settings)
    # By name: this door stands below the workers, and they alone speak to the queue.
    look_at_broker = importlib.import_module("workers.examining").look_at_broker
    return asyncio.run(examine(settings, Edge(list(os.environ), clock, look_at_broker), url=url))


def _print(findings: Sequence[Finding]) -> None:
    for one in findings:
        print_verdict(one.grade, f"{one.check}: {one.says}")
        if one.mend:
            print_indented(one.mend, by=10, style="dim")
    counts = Counter(one.grade for one in findings)
    if counts[Grade.WRONG] or counts[Grade.WARNING]:
        say(f"To mend: {counts[Grade.WRONG]}. Warnings: {counts[Grade.WARNING]}.", style="bold")
    else:
        say("All is well.", style="bold")


def _shape(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "wrong": sum(one.grade is Grade.WRONG for one in findings),
        "warnings": sum(one.grade is Grade.WARNING for one in findings),
        "checks": [
            {"check": one.check, "grade": one.grade, "says": one.says, "mend": one.mend or None}
            for one in findings
        ],
    }
